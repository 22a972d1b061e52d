// The rasteriser on the CPU.
//
// A band of rows of one image at a time: its samples' depths and triangles are kept in the second-level cache. The
// mesh's triangles are set up a vector at a time, and go by the number of samples in their bounding boxes: up to
// kMostLaneSamples they wait in a queue until there is one for every lane, and each lane walks through its own box;
// above that a triangle's rows are walked a vector of samples at a time. The winner of a sample does not depend on the
// order, so neither bands nor threads change anything. Then weights and attributes of the winners alone are computed.
//   traffic: reads three vertices per triangle and band, and per seen sample; writes every output once
//
// This file is compiled without fused multiply-adds: its results are those of csrc/cuda to the last bit.

#include "cpu/rasterize.h"

#include <cstdint>
#include <limits>

#include "cpu/raster_corners.h"
#include "cpu/raster_pixels.h"
#include "cpu/vec.h"
#include "math/conv_index.h"
#include "math/rasterize.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

constexpr int kL = kRasterLanes;

// Samples of a band: 8 bytes each, in half of a second-level cache of 2 MB.
constexpr int64_t kBandSamples = 128 * 1024;
// Shares of the bands, which threads take: a scratch for each that may be at work.
constexpr int64_t kMostShares = 64;
// Samples of a bounding box up to which a triangle is one lane's: beyond it most of them lie outside the triangle's
// rows.
constexpr int kMostLaneSamples = 16;

struct Plan {
  int64_t columns, pitch;    // samples; values from a row of samples to the next
  int64_t band_rows, bands;  // rows of pixels; bands of an image
  int64_t items, shares;     // bands of all images

  explicit Plan(const RasterizeArgs& a) {
    columns = a.width * a.samples;
    pitch = (math::ceil_div(columns, int64_t{kL}) + 1) * kL;  // a vector may begin at the last sample
    band_rows = min(a.height, max(kBandSamples / (max(columns, 1) * a.samples), 1));
    bands = a.height == 0 ? 0 : math::ceil_div(a.height, band_rows);
    items = a.width == 0 ? 0 : a.batch * bands;
    shares = min(items, kMostShares);
  }

  // Vertices on the grid; depths and triangles of a band; weights and depths of the samples of a row of pixels.
  size_t scratch_bytes(const RasterizeArgs& a) const {
    return static_cast<size_t>(a.vertex_count) * sizeof(GridVertex) +
           static_cast<size_t>((2 * band_rows + SampleRow::kArrays) * a.samples * pitch) * sizeof(float);
  }
};

// Triangles that wait for others with about as many samples.
struct Queue {
  int32_t triangle[kL] = {};
  int count = 0;
};
constexpr int kQueues = 5;
constexpr int kQueueSamples[kQueues] = {1, 2, 4, 8, 16};
static_assert(kQueueSamples[kQueues - 1] == kMostLaneSamples);

// The queue of a number of samples.
constexpr uint8_t kQueueOf[kMostLaneSamples + 1] = {0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4};

// One narrow triangle in each of the first count lanes, none with more than most_samples samples.
void draw_lanes(const RasterImage& image, const Band& band, const int32_t* triangles, int count, int most_samples) {
  const Ints used = lane_numbers() < count;
  RasterCorners corners(image, load_ints(triangles));
  for (int i = 0; i < 3; ++i) {  // no overflow where nobody looks
    corners.x[i] &= used;
    corners.y[i] &= used;
  }
  const math::SampleBox<Ints> box(corners.x, corners.y, band.columns, band.first_row, band.last_row);
  const Floats near[3] = {image.nearness(corners.vertex[0]), image.nearness(corners.vertex[1]),
                          image.nearness(corners.vertex[2])};

  math::Edges<Ints> edges(corners.x, corners.y);
  Ints area = edges.at(0, corners.x[0], corners.y[0]);
  edges.orient(area < 0 ? Ints{} - 1 : Ints{} + 1);
  area = area < 0 ? -area : area;
  const Floats whole = to_floats(area);

  // Of each edge: its function at the lane's sample, and what a step to the right or to the next row adds.
  Ints e[3], right[3], next_row[3], bias[3];
  for (int i = 0; i < 3; ++i) {
    bias[i] = edges.owns(i) ? Ints{} : Ints{} - 1;
    e[i] = edges.at(i, box.left * math::kSteps, box.top * math::kSteps);
    right[i] = edges.dy[i] * -math::kSteps;
    next_row[i] = edges.dx[i] * math::kSteps - (box.right - box.left) * right[i];
  }
  Ints column = box.left, row = box.top;
  const auto pitch = static_cast<int32_t>(band.pitch);
  for (int i = 0; i < most_samples; ++i) {
    const Ints inside = used & (row <= box.bottom) & (((e[0] + bias[0]) | (e[1] + bias[1]) | (e[2] + bias[2])) >= 0);
    uint32_t bits = lane_bits(inside);
    if (bits != 0) {
      Floats w[3];
      math::corner_weights({to_floats(e[0]), to_floats(e[1]), to_floats(e[2])}, whole, w);
      alignas(kVectorBytes) float depth[kL];
      alignas(kVectorBytes) int32_t place[kL];
      store(depth, math::interpolate(near[0], near[1], near[2], w[1], w[2]));
      store_ints(place, (row - band.first_row) * pitch + column);
      for (; bits != 0; bits &= bits - 1) {
        const int lane = __builtin_ctz(bits);
        band.offer(place[lane], depth[lane], triangles[lane]);
      }
    }
    const Ints at_end = column == box.right;
    column = at_end ? box.left : column + 1;
    row -= at_end;
    for (int k = 0; k < 3; ++k) e[k] += at_end ? next_row[k] : right[k];
  }
}

// A narrow triangle with many samples.
void draw_rows(const RasterImage& image, const Band& band, int32_t triangle) {
  const Corners<int32_t> corners(image, triangle);
  const math::SampleBox<int32_t> box(corners.x, corners.y, band.columns, band.first_row, band.last_row);
  math::Edges<int32_t> edges(corners.x, corners.y);
  const int32_t area = edges.at(0, corners.x[0], corners.y[0]);
  edges.orient(area < 0 ? -1 : 1);
  const Floats whole = to_floats(Ints{} + (area < 0 ? -area : area));
  const Floats near[3] = {broadcast(corners.near[0]), broadcast(corners.near[1]), broadcast(corners.near[2])};
  Ints first[3], right[3];  // functions at the first vector of a row; what the next vector adds
  int32_t bias[3];
  for (int i = 0; i < 3; ++i) {
    bias[i] = edges.owns(i) ? 0 : -1;
    const int32_t step = edges.dy[i] * -math::kSteps;
    first[i] = edges.at(i, box.left * math::kSteps, box.top * math::kSteps) + lane_numbers() * step;
    right[i] = Ints{} + step * kL;
  }
  for (int32_t row = box.top; row <= box.bottom; ++row) {
    Ints e[3] = {first[0], first[1], first[2]};
    for (int32_t column = box.left; column <= box.right; column += kL) {
      const Ints inside = ((e[0] + bias[0]) | (e[1] + bias[1]) | (e[2] + bias[2])) >= 0;
      if (lane_bits(inside) != 0) {
        Floats w[3];
        math::corner_weights({to_floats(e[0]), to_floats(e[1]), to_floats(e[2])}, whole, w);
        band.offer(band.at(row, column), math::interpolate(near[0], near[1], near[2], w[1], w[2]), triangle, inside);
      }
      for (int i = 0; i < 3; ++i) e[i] += right[i];
    }
    for (int i = 0; i < 3; ++i) first[i] += edges.dx[i] * math::kSteps;
  }
}

void draw_wide(const RasterImage& image, const Band& band, int32_t triangle, const math::SampleBox<int32_t>& box,
               bool cull) {
  const Corners<double> corners(image, triangle);
  const WideTriangle wide(corners);
  if (!(cull ? wide.area < 0 : wide.area != 0)) return;
  const Floats near[3] = {broadcast(corners.near[0]), broadcast(corners.near[1]), broadcast(corners.near[2])};
  for (int32_t row = box.top; row <= box.bottom; ++row) {
    for (int32_t column = box.left; column <= box.right; column += kL) {
      Floats w[3];
      const Ints inside = wide.at(column, row, w);
      if (lane_bits(inside) == 0) continue;
      band.offer(band.at(row, column), math::interpolate(near[0], near[1], near[2], w[1], w[2]), triangle, inside);
    }
  }
}

// Finds the triangle that is seen at each sample of a band.
void draw(const RasterizeArgs& a, const RasterImage& image, const Band& band) {
  Queue queues[kQueues];
  for (int64_t first = 0; first < a.triangle_count; first += kL) {
    const Ints t =
        math::least(lane_numbers() + static_cast<int32_t>(first), Ints{} + static_cast<int32_t>(a.triangle_count - 1));
    RasterCorners corners(image, t);
    const math::SampleBox<Ints> box(corners.x, corners.y, band.columns, band.first_row, band.last_row);
    const Ints candidates = ~box.empty() & (lane_numbers() + static_cast<int32_t>(first) == t);
    if (lane_bits(candidates) == 0) continue;
    const Ints narrow = math::is_narrow(corners.x, corners.y);
    for (int i = 0; i < 3; ++i) {
      corners.x[i] &= narrow;
      corners.y[i] &= narrow;
    }
    const Ints area = math::Edges<Ints>(corners.x, corners.y).at(0, corners.x[0], corners.y[0]);
    const Ints facing = a.cull ? area < 0 : area != 0;
    alignas(kVectorBytes) int32_t samples[kL];
    store_ints(samples, ((box.right - box.left + 1) & candidates) * ((box.bottom - box.top + 1) & candidates));
    for (uint32_t bits = lane_bits(candidates & narrow & facing); bits != 0; bits &= bits - 1) {
      const int lane = __builtin_ctz(bits);
      const auto triangle = static_cast<int32_t>(first + lane);
      if (samples[lane] > kMostLaneSamples) {
        draw_rows(image, band, triangle);
        continue;
      }
      const int q = kQueueOf[samples[lane]];
      Queue& queue = queues[q];
      queue.triangle[queue.count++] = triangle;
      if (queue.count == kL) {
        draw_lanes(image, band, queue.triangle, kL, kQueueSamples[q]);
        queue.count = 0;
      }
    }
    for (uint32_t bits = lane_bits(candidates & ~narrow); bits != 0; bits &= bits - 1) {
      const int lane = __builtin_ctz(bits);
      draw_wide(image, band, static_cast<int32_t>(first + lane),
                {box.left[lane], box.right[lane], box.top[lane], box.bottom[lane]}, a.cull);
    }
  }
  for (int q = 0; q < kQueues; ++q) {
    if (queues[q].count > 0) draw_lanes(image, band, queues[q].triangle, queues[q].count, kQueueSamples[q]);
  }
}

}  // namespace

size_t rasterize_workspace(const RasterizeArgs& args) {
  const Plan plan(args);
  return static_cast<size_t>(plan.shares) * plan.scratch_bytes(args);
}

void rasterize(const RasterizeArgs& args, const Parallel& parallel) {
  const Plan plan(args);
  parallel(plan.shares, 1, [&](int64_t begin, int64_t end) {
    char* const scratch = static_cast<char*>(args.workspace) + static_cast<size_t>(begin) * plan.scratch_bytes(args);
    auto* const grid = reinterpret_cast<GridVertex*>(scratch);
    auto* const samples = reinterpret_cast<float*>(grid + args.vertex_count);
    const int64_t first_item = begin * plan.items / plan.shares;
    for (int64_t item = first_item; item < end * plan.items / plan.shares; ++item) {
      const int64_t n = item / plan.bands;
      if (item == first_item || item % plan.bands == 0) place_vertices(args, n, grid);
      const RasterImage image(args, n, grid);
      const int64_t first = item % plan.bands * plan.band_rows;
      const int64_t last = min(first + plan.band_rows, args.height) - 1;
      const int64_t values = (last - first + 1) * args.samples * plan.pitch;
      const Band band{static_cast<int32_t>(plan.columns),
                      static_cast<int32_t>(first * args.samples),
                      static_cast<int32_t>((last + 1) * args.samples - 1),
                      plan.pitch,
                      samples,
                      reinterpret_cast<int32_t*>(samples + values)};
      for (int64_t i = 0; i < values; ++i) {
        band.nearness[i] = -std::numeric_limits<float>::infinity();
        band.triangle[i] = -1;
      }
      draw(args, image, band);
      for (int64_t y = first; y <= last; ++y) {
        kResolveRow[args.samples - 1](args, image, band, y, (n * args.height + y) * args.width, samples + 2 * values);
      }
    }
  });
}

}  // namespace frnet::cpu::FRNET_ISA
