// Spatial group-wise enhance and its gradient; formulas in math/sge.h.
//   block  : one or several neighbouring groups of one image;  team of whole warps: one group
//   shared : the block's x (backward: and grad_y) as T, per group m and t (backward: and the two terms of grad_x)
//   traffic: reads x (backward: and grad_y) once, writes y (grad_x) once -> bandwidth bound
// Where the data of a single group does not fit into shared memory the block reads it again for each of its sums:
// x three times forward; x four times and grad_y twice backward, from the L2 cache where that holds it. Where not even
// m and t fit they lie in the workspace.
#include "frnet/sge_gate.h"

#include <stdexcept>

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/sge.cuh"
#include "cuda/team.cuh"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kMaxThreads = 512;
// Small groups are put together up to so many elements, and channels_last up to so many bytes of each pixel, which is
// two sectors of memory.
constexpr int64_t kWantedElements = 2048;
constexpr int64_t kWantedRowBytes = 64;
// As long as at least so many blocks remain: about two for each of 132 multiprocessors.
constexpr int64_t kWantedBlocks = 264;

struct SgeGrid {
  SgeSizes sizes;
  int groups;
  int groups_per_block;  // and teams
  int blocks_per_image;
  int64_t channels;  // of the image
  int pitch;         // of the staged boxes
  FastDivide by_units;
  bool staged;
};

// A block's share of the tensor, and its teams' arrays, arrays_per_group values each.
template <typename T>
struct SgeBlock {
  using A = accumulator_t<T>;
  Team team;
  int64_t n;
  int first_group;
  int64_t offset;
  Box box;
  A* scratch;
  A* arrays;  // [groups_per_block, arrays_per_group]
  T* staged;

  __device__ SgeBlock(const SgeGrid& grid, int arrays_per_group, A* workspace)
      : team(make_team(grid.groups_per_block)) {
    const SgeSizes& s = grid.sizes;
    n = blockIdx.x / grid.blocks_per_image;
    first_group = (blockIdx.x - static_cast<int>(n) * grid.blocks_per_image) * grid.groups_per_block;
    const int left = grid.groups - first_group;
    const int width = (left < grid.groups_per_block ? left : grid.groups_per_block) * s.channels;
    const int64_t first_channel = static_cast<int64_t>(first_group) * s.channels;
    if (s.channels_last) {
      offset = n * s.pixels * grid.channels + first_channel;
      box = Box{s.pixels, width, grid.channels};
    } else {
      offset = (n * grid.channels + first_channel) * s.pixels;
      box = Box{1, width * s.pixels, 0};
    }
    scratch = shared_memory<A>();
    A* const behind = scratch + blockDim.x;
    const int count = grid.groups_per_block * arrays_per_group;
    arrays = workspace ? workspace + static_cast<int64_t>(blockIdx.x) * count : behind;
    constexpr int kUnit = Pack<A>::kSize;
    staged = reinterpret_cast<T*>(behind + (workspace ? 0 : (count + kUnit - 1) / kUnit * kUnit));
  }

  __device__ SgeGroup<A> group(const SgeGrid& grid, int arrays_per_group, const A* weight, const A* bias) const {
    const int g = first_group + team.index;
    const bool active = g < grid.groups;
    A* const mine = arrays + static_cast<int64_t>(team.index) * arrays_per_group;
    return SgeGroup<A>{active, active ? weight[g] : A(0), active ? bias[g] : A(0), mine, mine + grid.sizes.channels};
  }
};

// Element (c, p) of a group whose first one lies at `at`.
template <typename T>
struct SgeElements {
  const T* at;
  int64_t c_stride;
  int64_t p_stride;
  __device__ __forceinline__ accumulator_t<T> operator()(int c, int p) const {
    return math::widen(at[c * c_stride + p * p_stride]);
  }
};

// Of the team's group, in a box that starts at `at` and whose rows are pitch apart.
template <typename T>
__device__ __forceinline__ SgeElements<T> elements_of(const T* at, int64_t pitch, const Team& team,
                                                      const SgeSizes& sizes) {
  if (sizes.channels_last) return SgeElements<T>{at + team.index * sizes.channels, 1, pitch};
  return SgeElements<T>{at + static_cast<int64_t>(team.index) * sizes.channels * sizes.pixels, sizes.pixels, 1};
}

// ------------------------------------------------------------------------------------------- forward kernel

// x may be y: a block reads and writes nothing but its own elements, and each of those for the last time before it is
// written.
template <typename T>
__global__ void __launch_bounds__(kMaxThreads)
    sge_gate_kernel(const T* x, const accumulator_t<T>* __restrict__ weight, const accumulator_t<T>* __restrict__ bias,
                    T* y, accumulator_t<T>* workspace, SgeGrid grid) {
  using A = accumulator_t<T>;
  const int per_group = grid.sizes.channels + grid.sizes.pixels;
  const SgeBlock<T> block(grid, per_group, workspace);
  const SgeGroup<A> group = block.group(grid, per_group, weight, bias);

  const T* from = x + block.offset;
  int64_t pitch = block.box.stride;
  if (grid.staged) {
    const StagedBox<T> staged = place_box(block.box, from, block.staged, grid.pitch);
    stage_box(block.box, from, grid.by_units, staged);
    __syncthreads();
    from = staged.data;
    pitch = staged.pitch;
  }
  const math::SgeNorm<A> norm =
      sge_statistics(block.team, group, grid.sizes, block.scratch, elements_of(from, pitch, block.team, grid.sizes));
  sge_replace_t(block.team, group, grid.sizes, norm);
  __syncthreads();
  const A* const gates = block.arrays + grid.sizes.channels;
  write_groups(block.box, y + block.offset, from, pitch, grid.by_units, grid.sizes,
               [&](int g, int, int p, A value) { return value * gates[static_cast<int64_t>(g) * per_group + p]; });
}

// ------------------------------------------------------------------------------------------ backward kernel

template <typename T>
__global__ void __launch_bounds__(kMaxThreads)
    sge_gate_backward_kernel(const T* __restrict__ grad_y, const T* __restrict__ x,
                             const accumulator_t<T>* __restrict__ weight, const accumulator_t<T>* __restrict__ bias,
                             T* __restrict__ grad_x,
                             accumulator_t<T>* __restrict__ partials,  // [batch, 2, groups]
                             accumulator_t<T>* workspace, SgeGrid grid) {
  using A = accumulator_t<T>;
  const SgeSizes& sizes = grid.sizes;
  const int per_group = 2 * (sizes.channels + sizes.pixels);
  const SgeBlock<T> block(grid, per_group, workspace);
  const Team& team = block.team;
  const SgeGroup<A> group = block.group(grid, per_group, weight, bias);
  A* const e = group.t + sizes.pixels;      // [pixels]: e, then grad_t
  A* const shared_term = e + sizes.pixels;  // [channels]: mean over p of grad_t x

  const T* x_from = x + block.offset;
  const T* g_from = grad_y + block.offset;
  int64_t pitch = block.box.stride;
  if (grid.staged) {
    const StagedBox<T> x_box = place_box(block.box, x_from, block.staged, grid.pitch);
    constexpr int kSize = Pack<T>::kSize;
    T* const behind = block.staged + static_cast<int64_t>(block.box.rows) * grid.pitch + kSize;
    const StagedBox<T> g_box = place_box(block.box, g_from, behind, grid.pitch);
    stage_box(block.box, x_from, grid.by_units, x_box);
    stage_box(block.box, g_from, grid.by_units, g_box);
    __syncthreads();
    x_from = x_box.data;
    g_from = g_box.data;
    pitch = x_box.pitch;
  }
  const SgeElements<T> x_of = elements_of(x_from, pitch, team, sizes);
  const SgeElements<T> g_of = elements_of(g_from, pitch, team, sizes);
  const A pixels = static_cast<A>(sizes.pixels);
  const math::SgeNorm<A> norm = sge_statistics(team, group, sizes, block.scratch, x_of);

  // e, and its sums.
  sum_over_channels(
      team, group.active, sizes, block.scratch, [&](int c, int p) { return g_of(c, p) * x_of(c, p); },
      [&](int p, A d) {
        const A s = sge_value(group, norm, group.t[p]);
        e[p] = d * s * (A(1) - s);
      });
  __syncthreads();
  const A sum_e = sum_of_pixels(team, group.active, sizes, block.scratch, [&](int p) { return e[p]; });
  const A products =
      sum_of_pixels(team, group.active, sizes, block.scratch, [&](int p) { return e[p] * (group.t[p] - norm.mean); });
  if (group.active && team.thread == 0) {
    A* const partial = partials + 2 * block.n * grid.groups + block.first_group + team.index;
    partial[0] = products * norm.inv;
    partial[grid.groups] = sum_e;
  }

  // grad_t in place of e, s in place of t.
  const A spread = math::sge_spread(norm, products, pixels);
  if (group.active) {
    for (int p = team.thread; p < sizes.pixels; p += team.threads) {
      const A t = group.t[p];
      e[p] = group.weight * (norm.inv * (e[p] - sum_e / pixels) - (t - norm.mean) * spread);
      group.t[p] = sge_value(group, norm, t);
    }
  }
  __syncthreads();
  sum_over_pixels(
      team, group.active, sizes, block.scratch, [&](int c, int p) { return e[p] * x_of(c, p); },
      [&](int c, A sum) { shared_term[c] = sum / pixels; });
  __syncthreads();

  const A* const arrays = block.arrays;
  write_groups(
      block.box, grad_x + block.offset, g_from, pitch, grid.by_units, sizes, [&](int g, int c, int p, A slope) {
        const A* const means = arrays + static_cast<int64_t>(g) * per_group;
        const A* const gates = means + sizes.channels;
        const int c_in_group = c - g * sizes.channels;
        return slope * gates[p] + means[c_in_group] * gates[sizes.pixels + p] + gates[2 * sizes.pixels + c_in_group];
      });
}

// ------------------------------------------------------------------------------------------------ launchers

namespace {

bool is_empty(const SgeGateShape& s) { return s.batch * s.channels * s.pixels == 0; }

void check_sizes(const SgeGateShape& s) {
  if (s.groups <= 0 || s.channels % s.groups != 0) throw std::invalid_argument("sge_gate: groups must divide channels");
  if (s.channels >= int64_t{1} << 29 || s.pixels >= (int64_t{1} << 29) / s.channels) {
    throw std::invalid_argument("sge_gate: more than 2^29 elements in an image");
  }
}

struct SgePlan {
  SgeGrid grid;
  int threads;
  size_t bytes;
  int64_t workspace;  // values
};

// arrays: values per channel and per pixel of a group. tensors: how many are staged.
template <typename T>
SgePlan plan_sge(const SgeGateShape& shape, bool aligned, int arrays, int tensors, const SharedBudget& budget) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  const int64_t group_channels = shape.channels / shape.groups;
  const int64_t per_group = group_channels * shape.pixels;
  const int64_t arrays_per_group = arrays * (group_channels + shape.pixels);
  const bool channels_last = shape.layout == Layout::channels_last;

  SgePlan plan = {};
  SgeGrid& grid = plan.grid;
  grid.sizes = make_sge_sizes(group_channels, shape.pixels, channels_last);
  grid.groups = static_cast<int>(shape.groups);
  grid.channels = shape.channels;

  // What a block of so many groups needs. A team has a thread for every 16 elements.
  const auto set_block = [&](int64_t groups, bool staged, bool arrays_are_shared) {
    const int64_t most = kMaxThreads / groups / 32 * 32;
    int64_t threads = math::ceil_div<int64_t>(per_group, 16 * 32) * 32;
    threads = threads < most ? threads : most;
    grid.groups_per_block = static_cast<int>(groups);
    grid.staged = staged;
    plan.threads = static_cast<int>(threads * groups);
    plan.bytes = plan.threads * sizeof(A);
    if (arrays_are_shared) plan.bytes += shared_bytes_of<A>(groups * arrays_per_group);
    const int64_t rows = channels_last ? shape.pixels : 1;
    const int64_t width = groups * per_group / rows;
    grid.pitch = staged ? staged_pitch<T>(rows, width, aligned && width % kSize == 0) : 0;
    grid.by_units = FastDivide(units_of<T>(width, aligned && width % kSize == 0));
    if (staged) plan.bytes += static_cast<size_t>(tensors * (rows * grid.pitch + kSize)) * sizeof(T);
    return plan.bytes;
  };

  int64_t wanted = channels_last ? math::ceil_div<int64_t>(kWantedRowBytes, group_channels * sizeof(T))
                                 : kWantedElements / per_group;
  const int64_t enough = channels_last ? shape.groups : shape.batch * shape.groups / kWantedBlocks;
  const int64_t limits[] = {enough, shape.groups, kMaxThreads / 32};
  for (const int64_t limit : limits) wanted = wanted < limit ? wanted : limit;
  if (wanted < 1) wanted = 1;

  const bool arrays_fit = (kMaxThreads + arrays_per_group + Pack<A>::kSize) * sizeof(A) <= kDefaultSharedBytes;
  const bool can_stage = arrays_fit && per_group * sizeof(T) <= budget.most;
  int64_t groups = wanted;
  if (can_stage) {
    while (groups > 1 && set_block(groups, true, true) > budget.preferred) --groups;
    if (set_block(groups, true, true) > budget.most) {
      groups = wanted;
      plan.grid.staged = false;
    }
  }
  if (!can_stage || !plan.grid.staged) {
    if (!arrays_fit) groups = 1;
    while (groups > 1 && set_block(groups, false, true) > kDefaultSharedBytes) --groups;
    set_block(groups, false, arrays_fit);
  }
  grid.blocks_per_image = static_cast<int>(math::ceil_div<int64_t>(shape.groups, groups));
  plan.workspace = arrays_fit ? 0 : shape.batch * shape.groups * arrays_per_group;
  return plan;
}

// The workspace does not depend on the device, which the plan otherwise does.
template <typename T>
int64_t array_values(const SgeGateShape& shape, int arrays) {
  return plan_sge<T>(shape, true, arrays, 1, SharedBudget{0, 0}).workspace;
}

}  // namespace

// Backward: the partial sums, then the arrays.
template <typename T>
size_t sge_gate_workspace(const SgeGateShape& shape) {
  if (is_empty(shape)) return 0;
  check_sizes(shape);
  using A = accumulator_t<T>;
  return static_cast<size_t>(2 * shape.batch * shape.groups + array_values<T>(shape, 2)) * sizeof(A);
}

template <typename T>
void sge_gate(const T* x, const SgeGate<accumulator_t<T>>& gate, T* y, const SgeGateShape& shape, void* workspace,
              void* stream) {
  if (is_empty(shape)) return;
  check_sizes(shape);
  using A = accumulator_t<T>;
  const SgePlan plan = plan_sge<T>(shape, is_aligned(x) && is_aligned(y), 1, 1, shared_budget());
  launch(sge_gate_kernel<T>, grid_of_blocks(shape.batch * plan.grid.blocks_per_image, "sge_gate"), dim3(plan.threads),
         plan.bytes, stream, x, gate.weight, gate.bias, y, plan.workspace ? static_cast<A*>(workspace) : nullptr,
         plan.grid);
}

template <typename T>
void sge_gate_backward(const T* grad_y, const T* x, const SgeGate<accumulator_t<T>>& gate, T* grad_x,
                       accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias, const SgeGateShape& shape,
                       void* workspace, void* stream) {
  using A = accumulator_t<T>;
  auto* const partials = static_cast<A*>(workspace);
  const bool empty = is_empty(shape);
  if (!empty) {
    check_sizes(shape);
    const bool aligned = is_aligned(x) && is_aligned(grad_y) && is_aligned(grad_x);
    const SgePlan plan = plan_sge<T>(shape, aligned, 2, 2, shared_budget());
    launch(sge_gate_backward_kernel<T>, grid_of_blocks(shape.batch * plan.grid.blocks_per_image, "sge_gate_backward"),
           dim3(plan.threads), plan.bytes, stream, grad_y, x, gate.weight, gate.bias, grad_x, partials,
           plan.workspace ? partials + 2 * shape.batch * shape.groups : nullptr, plan.grid);
  }
  sum_partials<A>(partials, grad_weight, grad_bias, empty ? 0 : shape.batch, 2 * shape.groups, shape.groups, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                      \
  template void sge_gate<T>(const T*, const SgeGate<accumulator_t<T>>&, T*, const SgeGateShape&, void*, void*);   \
  template void sge_gate_backward<T>(const T*, const T*, const SgeGate<accumulator_t<T>>&, T*, accumulator_t<T>*, \
                                     accumulator_t<T>*, const SgeGateShape&, void*, void*);                       \
  template size_t sge_gate_workspace<T>(const SgeGateShape&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
