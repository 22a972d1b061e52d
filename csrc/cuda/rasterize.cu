// The rasteriser: winners of all samples by an atomic maximum, then weights and attributes of the winners alone.
//   draw    : block: 128 triangles of one image; a thread tests the samples in its triangle's bounding box, those of
//   boxes
//             of more than kLaneSamples are shared by the warp
//   resolve : block: kResolveWarps x 32 pixels; a thread weighs the samples of its pixel, the warp interpolates the
//             channels of its pixels side by side
//   shared  : resolve: corners and weights of every sample of the block's pixels
//   traffic : draw reads three vertices per triangle, and writes 8 bytes for each sample that comes nearer; resolve
//             reads 8 bytes per sample and three vertices with their attributes per seen sample, and writes every
//             output once
//
// The atomic maximum is of one word, nearness above and index below, so that the order of the threads does not show. A
// second way than this one would be a list of triangles per tile; the meshes here have a triangle a pixel.
#include "frnet/rasterize.h"

#include "cuda/launch.cuh"
#include "math/conv_index.h"
#include "math/rasterize.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kDrawThreads = 128;
constexpr int kClearThreads = 256;
constexpr int kResolveWarps = 4;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
// Samples in a bounding box up to which one thread tests them all. (Faces have fewer; a row of a larger box keeps a
// quarter of a warp busy.)
constexpr int kLaneSamples = 32;

using Key = unsigned long long;

// ------------------------------------------------------------------------------------------------------ keys

// Greater for what is nearer, then for the lower index. No triangle has key 0.
__device__ __forceinline__ Key make_key(float nearness, int32_t triangle) {
  const auto bits = math::reinterpret<uint32_t>(nearness + 0.0f);  // one zero, not two
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<Key>(ordered) << 32 | ~static_cast<uint32_t>(triangle);
}

__device__ __forceinline__ int32_t triangle_of(Key key) {
  return key == 0 ? -1 : static_cast<int32_t>(~static_cast<uint32_t>(key));
}

// --------------------------------------------------------------------------------------------------- corners

struct RasterCorners {
  int32_t vertex[3];
  float x[3], y[3];  // steps
  float near[3];
  bool visible;

  __device__ __forceinline__ RasterCorners(const RasterizeArgs& a, int64_t image, int32_t triangle) : visible(true) {
    const float scale = math::steps_scale(a.samples), offset = math::steps_offset(a.samples);
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      vertex[i] = a.triangles[int64_t{3} * triangle + i];
      if (static_cast<uint32_t>(vertex[i]) >= static_cast<uint64_t>(a.vertex_count)) {
        visible = false;
        vertex[i] = 0;
        if (a.vertex_count == 0) break;
      }
      const int64_t at = image * a.vertex_count + vertex[i];
      const float* const v = a.vertices + 3 * at;
      x[i] = math::whole_steps(v[0], scale, offset);
      y[i] = math::whole_steps(v[1], scale, offset);
      const float z = v[2];
      // Zero times what is not finite is not zero.
      visible = visible && v[0] * 0.0f + v[1] * 0.0f == 0.0f && z <= math::kMostDepth && z >= -math::kMostDepth;
      near[i] = z;
      if (a.inverse_depth != nullptr) {
        near[i] = a.inverse_depth[at];
        visible = visible && near[i] > 0 && near[i] <= math::kMostDepth;
      }
    }
  }

  __device__ __forceinline__ void whole(int32_t (&to_x)[3], int32_t (&to_y)[3]) const {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      to_x[i] = static_cast<int32_t>(math::most(math::least(x[i], math::kMostSteps), -math::kMostSteps));
      to_y[i] = static_cast<int32_t>(math::most(math::least(y[i], math::kMostSteps), -math::kMostSteps));
    }
  }
};

// A triangle of an image, as seen from its samples. I is int32_t or double.
template <typename I>
struct SampledTriangle {
  math::Edges<I> edges;
  I area;
  bool owns[3];

  __device__ __forceinline__ SampledTriangle(const I (&x)[3], const I (&y)[3]) : edges(x, y) {
    area = edges.at(0, x[0], y[0]);
    edges.orient(area < 0 ? I(-1) : I(1));
#pragma unroll
    for (int i = 0; i < 3; ++i) owns[i] = edges.owns(i);
  }

  // Whether the sample lies inside, and the weights of the corners there.
  __device__ __forceinline__ bool at(int32_t column, int32_t row, float (&w)[3]) const {
    using F = std::conditional_t<std::is_same_v<I, double>, double, float>;
    I e[3];
    bool inside = true;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      e[i] = edges.at(i, static_cast<I>(column * math::kSteps), static_cast<I>(row * math::kSteps));
      inside = inside && (e[i] > 0 || (e[i] == 0 && owns[i]));
    }
    if (!inside) return false;
    const F functions[3] = {static_cast<F>(e[0]), static_cast<F>(e[1]), static_cast<F>(e[2])};
    F weights[3];
    math::corner_weights(functions, static_cast<F>(math::add(math::add(e[0], e[1]), e[2])), weights);
#pragma unroll
    for (int i = 0; i < 3; ++i) w[i] = static_cast<float>(weights[i]);
    return true;
  }
};

// Calls use(triangle as SampledTriangle<int32_t> or <double>).
template <typename F>
__device__ __forceinline__ void with_triangle(const RasterCorners& corners, const F& use) {
  int32_t x[3], y[3];
  corners.whole(x, y);
  if (math::is_narrow(x, y)) {
    use(SampledTriangle<int32_t>(x, y));
  } else {
    const double wide_x[3] = {corners.x[0], corners.x[1], corners.x[2]};
    const double wide_y[3] = {corners.y[0], corners.y[1], corners.y[2]};
    use(SampledTriangle<double>(wide_x, wide_y));
  }
}

// ----------------------------------------------------------------------------------------------- draw kernel

// Offers a triangle to every step-th sample of its box from first on.
template <typename I>
__device__ __forceinline__ void draw_samples(const RasterizeArgs& a, const SampledTriangle<I>& sampled,
                                             const RasterCorners& corners, const math::SampleBox<int32_t>& box,
                                             int32_t triangle, int first, int step, Key* keys) {
  if (!(a.cull ? sampled.area < 0 : sampled.area != 0)) return;
  const int columns = box.right - box.left + 1, count = box.count();
  const int64_t pitch = a.width * a.samples;
  int row = first / columns, column = first - row * columns;
  for (int i = first; i < count; i += step) {
    float w[3];
    if (sampled.at(box.left + column, box.top + row, w)) {
      const Key key =
          make_key(math::interpolate(corners.near[0], corners.near[1], corners.near[2], w[1], w[2]), triangle);
      Key* const at = keys + (box.top + row) * pitch + box.left + column;
      // Most are farther than what is there: a read is cheaper than the atomic maximum, and may be late.
      if (key > *static_cast<volatile const Key*>(at)) atomicMax(at, key);
    }
    for (column += step; column >= columns; column -= columns) ++row;
  }
}

__global__ void __launch_bounds__(kClearThreads) rasterize_clear_kernel(Key* __restrict__ keys, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kClearThreads + threadIdx.x;
  if (i < count) keys[i] = 0;
}

__global__ void __launch_bounds__(kDrawThreads) rasterize_draw_kernel(RasterizeArgs a,
                                                                      Key* keys,  // [batch, rows, columns] of samples
                                                                      int64_t tiles) {
  const int64_t image = blockIdx.x / tiles;
  const int64_t t = (blockIdx.x - image * tiles) * kDrawThreads + threadIdx.x;
  const auto rows = static_cast<int32_t>(a.height * a.samples), columns = static_cast<int32_t>(a.width * a.samples);
  keys += image * rows * columns;

  bool many = false;  // more samples than one thread takes, or wide
  if (t < a.triangle_count) {
    const auto own = static_cast<int32_t>(t);
    const RasterCorners corners(a, image, own);
    int32_t x[3], y[3];
    corners.whole(x, y);
    const math::SampleBox<int32_t> box(x, y, columns, 0, rows - 1);
    if (corners.visible && !box.empty()) {
      many = box.count() > kLaneSamples || !math::is_narrow(x, y);
      if (!many) draw_samples(a, SampledTriangle<int32_t>(x, y), corners, box, own, 0, 1, keys);
    }
  }
  for (unsigned left = __ballot_sync(kAllLanes, many); left != 0; left &= left - 1) {
    const int lane = threadIdx.x % kWarp;
    const auto shared = static_cast<int32_t>(t - lane + __ffs(left) - 1);
    const RasterCorners corners(a, image, shared);
    int32_t x[3], y[3];
    corners.whole(x, y);
    const math::SampleBox<int32_t> box(x, y, columns, 0, rows - 1);
    with_triangle(corners,
                  [&](const auto& sampled) { draw_samples(a, sampled, corners, box, shared, lane, kWarp, keys); });
  }
}

// -------------------------------------------------------------------------------------------- resolve kernel

// What the lanes of a warp tell each other of a sample.
struct SharedSample {
  int32_t vertex[3];  // the first is -1 where nothing is seen
  float w1, w2;
};

__global__ void __launch_bounds__(kResolveWarps* kWarp)
    rasterize_resolve_kernel(RasterizeArgs a, const Key* __restrict__ keys, int64_t pixels) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int per_pixel = a.samples * a.samples;
  SharedSample* const shared = shared_memory<SharedSample>() + warp * kWarp * per_pixel;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kResolveWarps + warp) * kWarp;
  const int64_t pixel = first + lane;
  const int64_t plane = a.height * a.width;

  if (pixel < pixels) {
    const int64_t image = pixel / plane;
    const auto y = static_cast<int32_t>((pixel - image * plane) / a.width);
    const auto x = static_cast<int32_t>(pixel - image * plane - y * a.width);
    const Key* const of_image = keys + image * plane * per_pixel;
    int seen = 0;
    Key nearest = 0;
    float depth = 0, barycentrics[3] = {};
    for (int k = 0; k < per_pixel; ++k) {
      const int32_t row = y * a.samples + k / a.samples, column = x * a.samples + k % a.samples;
      const Key key = of_image[row * a.width * a.samples + column];
      SharedSample& sample = shared[k * kWarp + lane];
      sample.vertex[0] = -1;
      if (key == 0) continue;
      ++seen;
      const RasterCorners corners(a, image, triangle_of(key));
      float w[3] = {};
      with_triangle(corners, [&](const auto& sampled) { sampled.at(column, row, w); });
      if (a.inverse_depth != nullptr) math::perspective_weights(corners.near[0], corners.near[1], corners.near[2], w);
#pragma unroll
      for (int i = 0; i < 3; ++i) sample.vertex[i] = corners.vertex[i];
      sample.w1 = w[1];
      sample.w2 = w[2];
      if (key <= nearest) continue;  // of equal ones the first
      nearest = key;
      const float* const z = a.vertices + 3 * image * a.vertex_count + 2;
      depth = math::interpolate(z[int64_t{3} * corners.vertex[0]], z[int64_t{3} * corners.vertex[1]],
                                z[int64_t{3} * corners.vertex[2]], w[1], w[2]);
#pragma unroll
      for (int i = 0; i < 3; ++i) barycentrics[i] = w[i];
    }
    if (a.triangle != nullptr) a.triangle[pixel] = triangle_of(nearest);
    if (a.depth != nullptr) a.depth[pixel] = depth;
    if (a.coverage != nullptr) a.coverage[pixel] = math::div(static_cast<float>(seen), static_cast<float>(per_pixel));
    if (a.barycentrics != nullptr) {
#pragma unroll
      for (int i = 0; i < 3; ++i) a.barycentrics[3 * pixel + i] = barycentrics[i];
    }
  }
  if (a.attribute_image == nullptr) return;  // the same for all
  __syncwarp();

  const int64_t values = math::least(pixels - first, int64_t{kWarp}) * a.channels;
  float* const out = a.attribute_image + first * a.channels;
  for (int64_t i = lane; i < values; i += kWarp) {
    const auto at = static_cast<int>(i / a.channels);
    const int64_t channel = i - at * a.channels;
    const int64_t image = a.shared_attributes ? 0 : (first + at) / plane;
    const float* const attributes = a.attributes + image * a.vertex_count * a.channels + channel;
    float sum = 0;
    int seen = 0;
    for (int k = 0; k < per_pixel; ++k) {
      const SharedSample sample = shared[k * kWarp + at];
      if (sample.vertex[0] < 0) continue;
      ++seen;
      sum = math::add(
          sum, math::interpolate(attributes[sample.vertex[0] * a.channels], attributes[sample.vertex[1] * a.channels],
                                 attributes[sample.vertex[2] * a.channels], sample.w1, sample.w2));
    }
    out[i] = seen > 1 ? math::div(sum, static_cast<float>(seen)) : sum;
  }
}

// ------------------------------------------------------------------------------------------------- launchers

namespace {

constexpr const char* kOp = "rasterize";

int64_t sample_count(const RasterizeArgs& a) { return a.batch * a.height * a.width * a.samples * a.samples; }

}  // namespace

size_t rasterize_workspace(const RasterizeArgs& args) { return static_cast<size_t>(sample_count(args)) * sizeof(Key); }

void rasterize(const RasterizeArgs& args, void* stream) {
  const int64_t samples = sample_count(args), pixels = args.batch * args.height * args.width;
  if (samples == 0) return;
  auto* const keys = static_cast<Key*>(args.workspace);
  launch(rasterize_clear_kernel, grid_of_blocks(math::ceil_div(samples, int64_t{kClearThreads}), kOp),
         dim3(kClearThreads), 0, stream, keys, samples);
  const int64_t tiles = math::ceil_div(args.triangle_count, int64_t{kDrawThreads});
  if (tiles > 0) {
    launch(rasterize_draw_kernel, grid_of_blocks(args.batch * tiles, kOp), dim3(kDrawThreads), 0, stream, args, keys,
           tiles);
  }
  constexpr int kThreads = kResolveWarps * kWarp;
  launch(rasterize_resolve_kernel, grid_of_blocks(math::ceil_div(pixels, int64_t{kThreads}), kOp), dim3(kThreads),
         sizeof(SharedSample) * kThreads * args.samples * args.samples, stream, args, keys, pixels);
}

}  // namespace cuda
}  // namespace frnet
