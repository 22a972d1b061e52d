// What the kernels of the depthwise convolution share: fast division, the geometry of one thread's patch and its
// products, and moving contiguous runs of planes between global and shared memory.
//
// "Source" is the tensor a kernel slides its window over (x, or grad_y for the input gradient), "target" the
// one it computes (y, or grad_x).
#pragma once

#include <cstdint>
#include <stdexcept>
#include <type_traits>

#include "cuda/launch.cuh"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

// Division by a number known at launch; exact for 0 <= n < 2^31.
struct FastDivide {
  uint32_t divisor = 1;
  uint32_t multiplier = 1;
  uint32_t shift = 0;

  FastDivide() = default;
  explicit FastDivide(int64_t d) : divisor(static_cast<uint32_t>(d)) {
    while ((uint64_t{1} << shift) < divisor) ++shift;
    multiplier = static_cast<uint32_t>((uint64_t{1} << 32) * ((uint64_t{1} << shift) - divisor) / divisor + 1);
  }
  __host__ __device__ __forceinline__ int quotient(int n) const {
    const auto value = static_cast<uint32_t>(n);
    const auto high = static_cast<uint32_t>((static_cast<uint64_t>(value) * multiplier) >> 32);
    return static_cast<int>((high + value) >> shift);
  }
};

// A patch is what one thread computes at a time: kRows x kColumns adjacent targets, from a window of
// kWindowRows x kWindowColumns adjacent sources. Which tap joins target d of a patch to window entry j, along
// either axis, is known at compile time (-1: none), so a patch is one unrolled piece of straight code:
//   forward  : source = target*S - padding + tap
//   backward : target + padding = source*S + tap. Patches start where target + padding is a multiple of
//              kRows (kColumns), itself a multiple of S, so that every patch meets the same phases.
template <int K, int S, bool kBackward, int kRows_, int kColumns_>
struct Patch {
  static_assert(!kBackward || (kRows_ % S == 0 && kColumns_ % S == 0), "a patch covers whole phases");
  static constexpr int kKernel = K;
  static constexpr int kStride = S;
  static constexpr bool kIsBackward = kBackward;
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kHalo = (K - 1) / S;  // backward: sources before the patch's own
  static constexpr int step(int targets) { return kBackward ? targets / S : targets * S; }
  static constexpr int window(int targets) { return kBackward ? targets / S + kHalo : (targets - 1) * S + K; }
  static constexpr int kRowStep = step(kRows);
  static constexpr int kColumnStep = step(kColumns);
  static constexpr int kWindowRows = window(kRows);
  static constexpr int kWindowColumns = window(kColumns);

  FRNET_HD static constexpr int tap(int target, int entry) {
    const int k = kBackward ? target + S * (kHalo - entry) : entry - target * S;
    return k >= 0 && k < K ? k : -1;
  }
};

// Calls multiply(row of the patch, column of the patch, tap, source) for every product of the patch whose window
// starts at from, in shared memory. The numbers but source are constants once everything is unrolled.
template <typename P, typename A, typename F>
__device__ __forceinline__ void for_each_product(const A* from, int pitch, const F& multiply) {
#pragma unroll
  for (int j = 0; j < P::kWindowRows; ++j) {
    A window[P::kWindowColumns];
    load_window(from + j * pitch, window);
#pragma unroll
    for (int r = 0; r < P::kRows; ++r) {
      const int ky = P::tap(r, j);
      if (ky < 0) continue;
#pragma unroll
      for (int v = 0; v < P::kColumns; ++v) {
#pragma unroll
        for (int k = 0; k < P::kWindowColumns; ++k) {
          const int kx = P::tap(v, k);
          if (kx >= 0) multiply(r, v, ky * P::kKernel + kx, window[k]);
        }
      }
    }
  }
}

// How the patches lie along one axis: patch q covers targets [q*extent - lead, ...) and its window starts at
// source q*step + origin.
struct PatchAxis {
  int targets;
  int sources;
  int patches;
  int lead;
  int origin;
};

template <typename P>
PatchAxis make_patch_axis(int64_t input, int64_t output, int64_t padding, int extent) {
  PatchAxis axis;
  axis.targets = static_cast<int>(P::kIsBackward ? input : output);
  axis.sources = static_cast<int>(P::kIsBackward ? output : input);
  axis.lead = P::kIsBackward ? static_cast<int>(padding % extent) : 0;
  axis.origin = static_cast<int>(P::kIsBackward ? padding / extent * P::step(extent) - P::kHalo : -padding);
  axis.patches = (axis.targets + axis.lead + extent - 1) / extent;
  return axis;
}

template <typename P>
void set_patch_axes(const DepthwiseConv2dShape& shape, PatchAxis& y, PatchAxis& x) {
  y = make_patch_axis<P>(shape.in_height, shape.out_height, shape.padding_h, P::kRows);
  x = make_patch_axis<P>(shape.in_width, shape.out_width, shape.padding_w, P::kColumns);
}

inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// A stack of planes in shared memory, each with its padding around it, as the accumulation type.
struct Tile {
  int rows;          // per plane
  int pitch;         // values per row; whole 16-byte units
  int plane_stride;  // values per plane
};

// The stride between planes is an odd number of 16-byte units, so that threads on different planes read
// different banks.
template <typename A>
Tile make_tile(int rows, int columns) {
  constexpr int kUnit = Pack<A>::kSize;
  const int pitch = round_up(columns, kUnit);
  return Tile{rows, pitch, (rows * pitch / kUnit | 1) * kUnit};
}

// The tile that patch_rows rows of patches slide over.
template <typename P, typename A>
Tile make_source_tile(const PatchAxis& x, int patch_rows) {
  return make_tile<A>((patch_rows - 1) * P::kRowStep + P::kWindowRows,
                      (x.patches - 1) * P::kColumnStep + round_up(P::kWindowColumns, Pack<A>::kSize));
}

// Such rows do not fit into shared memory; refused early, so that sizes of tiles cannot overflow an int.
inline bool rows_are_too_long(const PatchAxis& x) { return x.patches > 16384 || x.sources > 65536; }

// How planes are shared out among blocks: several whole ones to a block, or one cut into bands.
struct PlaneSplit {
  int planes;
  int band_patches;
  int bands;
};

// shared_bytes(planes, band_patches) is what such a block needs.
template <typename F>
PlaneSplit split_planes(int64_t planes, const PatchAxis& y, const PatchAxis& x, int64_t wanted_patches,
                        int64_t wanted_blocks, size_t preferred_bytes, const F& shared_bytes) {
  const int64_t per_plane = static_cast<int64_t>(y.patches) * x.patches;
  int64_t several = wanted_patches / per_plane;
  if (several > planes / wanted_blocks) several = planes / wanted_blocks;
  // Where much of the source is cropped away, the patches do not bound what a block has to read.
  const int64_t most = (int64_t{1} << 16) / (static_cast<int64_t>(y.sources) * x.sources + 1);
  if (several > most) several = most;
  while (several > 1 && shared_bytes(static_cast<int>(several), y.patches) > preferred_bytes) --several;
  if (several > 1) return PlaneSplit{static_cast<int>(several), y.patches, 1};

  int band = y.patches < 4096 ? y.patches : 4096;
  const auto too_few_blocks = [&] {
    return planes * math::ceil_div(y.patches, band) < wanted_blocks && static_cast<int64_t>(band) * x.patches >= 128;
  };
  while (band > 1 && (shared_bytes(1, band) > preferred_bytes || too_few_blocks())) band = (band + 1) / 2;
  band = math::ceil_div(y.patches, math::ceil_div(y.patches, band));  // evens out the last band
  return PlaneSplit{1, band, math::ceil_div(y.patches, band)};
}

// One axis of the convolution as it was asked for, for the kernels that take any.
struct ConvAxis {
  int input, output, kernel, stride, padding, dilation;
};

struct ConvSizes {
  ConvAxis y, x;
  int channels;
  bool channels_last;
};

// Narrows the shape to int, which every coordinate in a kernel then fits.
inline ConvSizes check_sizes(const DepthwiseConv2dShape& s) {
  constexpr int64_t kLimit = int64_t{1} << 30;
  const auto axis = [](int64_t input, int64_t output, int64_t kernel, int64_t stride, int64_t padding,
                       int64_t dilation) {
    const int64_t each[] = {input, output, kernel, stride, padding, dilation};
    for (const int64_t value : each) {
      if (value >= kLimit) throw std::invalid_argument("depthwise_conv2d: an axis is longer than 2^30");
    }
    if (input + output * stride + 2 * padding + kernel * dilation >= kLimit) {
      throw std::invalid_argument("depthwise_conv2d: a padded axis is longer than 2^30");
    }
    return ConvAxis{static_cast<int>(input),  static_cast<int>(output),  static_cast<int>(kernel),
                    static_cast<int>(stride), static_cast<int>(padding), static_cast<int>(dilation)};
  };
  ConvSizes sizes;
  sizes.y = axis(s.in_height, s.out_height, s.kernel_h, s.stride_h, s.padding_h, s.dilation_h);
  sizes.x = axis(s.in_width, s.out_width, s.kernel_w, s.stride_w, s.padding_w, s.dilation_w);
  const int64_t per_pixel = s.layout == Layout::channels_last ? s.memory_channels : 1;
  if (s.memory_channels < s.channels) throw std::invalid_argument("depthwise_conv2d: memory_channels < channels");
  if (s.memory_channels >= kLimit || s.in_height * s.in_width > kLimit / per_pixel ||
      s.out_height * s.out_width > kLimit / per_pixel) {
    throw std::invalid_argument("depthwise_conv2d: more than 2^30 elements in a plane or channels-last image");
  }
  sizes.channels = static_cast<int>(s.channels);
  sizes.channels_last = s.layout == Layout::channels_last;
  return sizes;
}

// Calls f(kernel, stride), integral constants, if the shape has a specialised kernel; else returns false.
// Neither tensor is empty then.
template <typename F>
bool with_fast_path(const DepthwiseConv2dShape& s, const F& f) {
  if (s.in_height * s.in_width * s.out_height * s.out_width == 0) return false;
  if (s.kernel_h != s.kernel_w || s.stride_h != s.stride_w || s.dilation_h != 1 || s.dilation_w != 1) return false;
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, 2> two;
  constexpr std::integral_constant<int, 3> three;
  constexpr std::integral_constant<int, 5> five;
  if (s.kernel_h == 3 && s.stride_h == 1) return f(three, one);
  if (s.kernel_h == 3 && s.stride_h == 2) return f(three, two);
  if (s.kernel_h == 5 && s.stride_h == 1) return f(five, one);
  if (s.kernel_h == 5 && s.stride_h == 2) return f(five, two);
  return false;
}

inline dim3 grid_of(int64_t blocks) {
  if (blocks > 0x7fffffff) throw std::invalid_argument("depthwise_conv2d: more work than one launch can name");
  return dim3(static_cast<unsigned>(blocks));
}

template <typename T>
bool is_aligned(const T* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// Whether 16-byte packs of channels never straddle what does not belong to them.
template <typename T>
bool channels_come_in_packs(const DepthwiseConv2dShape& shape, int64_t memory_channels) {
  return shape.channels % Pack<T>::kSize == 0 && memory_channels % Pack<T>::kSize == 0;
}

template <typename A>
__device__ __forceinline__ void clear(A* tile, int count) {
  const Pack<A> zeros;
  for (int i = threadIdx.x * Pack<A>::kSize; i < count; i += blockDim.x * Pack<A>::kSize) {
    store_pack(tile + i, zeros);
  }
}

// How far, in elements, pointer lies past a 16-byte boundary.
template <typename T>
__device__ __forceinline__ int misalignment(const T* pointer) {
  return static_cast<int>((reinterpret_cast<uintptr_t>(pointer) & 15) / sizeof(T));
}

// Copies planes*rows*columns consecutive elements into a cleared tile (kAdd: adds them to what is there), the first
// one to (first_row, first_column) of plane 0. What falls outside the tile's rows and pitch is dropped. The run is
// read in aligned 16-byte packs whatever the row length is.
template <bool kAdd = false, typename T>
__device__ __forceinline__ void stage_planes(const T* __restrict__ run, int planes, int rows, FastDivide by_rows,
                                             FastDivide by_columns, int first_row, int first_column,
                                             accumulator_t<T>* tile, Tile shape) {
  constexpr int kSize = Pack<T>::kSize;
  const int columns = static_cast<int>(by_columns.divisor);
  const int count = planes * rows * columns;
  const int lead = misalignment(run);
  for (int i = threadIdx.x * kSize; i < lead + count; i += blockDim.x * kSize) {
    const int first = i - lead;
    Pack<T> pack;
    if (first >= 0 && first + kSize <= count) {
      pack = load_pack(run + first);
    } else {
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        if (first + j >= 0 && first + j < count) pack.set(j, run[first + j]);
      }
    }
    const int begin = first > 0 ? first : 0;
    const int row_index = by_columns.quotient(begin);
    const int plane = by_rows.quotient(row_index);
    int column = begin - row_index * columns + first_column;
    int row = row_index - plane * rows + first_row;
    accumulator_t<T>* to = tile + plane * shape.plane_stride + row * shape.pitch;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (first + j < 0 || first + j >= count) continue;
      if (static_cast<unsigned>(row) < static_cast<unsigned>(shape.rows) &&
          static_cast<unsigned>(column) < static_cast<unsigned>(shape.pitch)) {
        if constexpr (kAdd) {
          to[column] += math::widen(pack.get(j));
        } else {
          to[column] = math::widen(pack.get(j));
        }
      }
      if (++column == columns + first_column) {
        column = first_column;
        to += shape.pitch;
        if (++row == rows + first_row) {
          row = first_row;
          to += shape.plane_stride - rows * shape.pitch;
        }
      }
    }
  }
}

// Copies count elements from global memory, read in aligned 16-byte packs, to staged.
template <typename T>
__device__ __forceinline__ void read_run(const T* __restrict__ run, T* staged, int count) {
  constexpr int kSize = Pack<T>::kSize;
  const int lead = misalignment(run);
  for (int i = threadIdx.x * kSize; i < lead + count; i += blockDim.x * kSize) {
    const int first = i - lead;
    if (first >= 0 && first + kSize <= count) {
      const Pack<T> pack = load_pack(run + first);
#pragma unroll
      for (int j = 0; j < kSize; ++j) staged[first + j] = pack.get(j);
    } else {
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        if (first + j >= 0 && first + j < count) staged[first + j] = run[first + j];
      }
    }
  }
}

// Copies count elements to global memory in aligned 16-byte packs. Element e lies at
// staged[misalignment(run) + e], so that the packs of both sides coincide.
template <typename T>
__device__ __forceinline__ void write_run(T* __restrict__ run, const T* staged, int count) {
  constexpr int kSize = Pack<T>::kSize;
  const int lead = misalignment(run);
  for (int i = threadIdx.x * kSize; i < lead + count; i += blockDim.x * kSize) {
    const int first = i - lead;
    if (first >= 0 && first + kSize <= count) {
      store_pack(run + first, load_pack(staged + i));
    } else {
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        if (first + j >= 0 && first + j < count) run[first + j] = staged[i + j];
      }
    }
  }
}

}  // namespace cuda
}  // namespace frnet
