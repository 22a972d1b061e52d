// What becomes of v, the convolution's result, in the kernels of the forward direction: each of them is a template
// over one of these outputs.
//
//   PlainOutput       writes v; also the output of the input gradient's kernels
//   EpilogueOutput    writes y = activation(scale * v + shift); where pooled is wanted, sums y over each plane
//   StatisticsOutput  writes nothing; number, mean and squared differences of v per channel
//   GradientOutput    writes grad_v, if there is a target; sums g and g * v per channel
//
// A kernel asks an output for
//   kParameters       how many values per channel it takes; parameter(i, c) reads the i-th from memory
//   activate()        applies the activation to a line of values, or its derivative to the line of grad_y: so many at a
//                     time, because which activation it is must be looked up first; parameters(j, i) is parameter j of
//                     value i
//   finish()          the value to write; channel e of partial receives what this value adds to the reduction
//   kAddsSources      whether source can come with an addend (a plain launch that has one takes EpilogueOutput)
//   kReduces          whether there is a reduction at all, and reduces() whether this launch wants it
//   kPerImage         whether images are reduced apart from each other
//   store()           puts a block's part of the reduction into the workspace: a matrix with a column per result and
//                     as many rows as blocks share a column. A second pass adds the rows (reduce.cuh).
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "frnet/depthwise_conv2d.h"
#include "math/activation.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

// Of the kernels that slide a window over a source.
constexpr int kSlideThreads = 256;
// Not yet tuned on a device: six blocks of this size fit on a multiprocessor with 227 KB.
constexpr size_t kPreferredSlideBytes = 32 * 1024;
// Below this many blocks, planes are cut into bands: about two blocks for each of 132 multiprocessors.
constexpr int64_t kWantedSlideBlocks = 264;

template <typename T>
struct PlainOutput {
  using A = accumulator_t<T>;
  template <int kWidth>
  using Partial = Sums<A, 1, 1>;
  static constexpr int kParameters = 0;
  static constexpr bool kWrites = true;
  static constexpr bool kReadsGradient = false;
  static constexpr bool kReduces = false;
  static constexpr bool kPerImage = false;
  static constexpr bool kTakesMoments = false;
  static constexpr bool kAddsSources = false;

  bool reduces() const { return false; }
  void set_rows(int64_t) {}
  __device__ __forceinline__ A parameter(int, int64_t) const { return 0; }
  template <int kCount, typename F>
  __device__ __forceinline__ void activate(A (&)[kCount], A (&)[kCount], const F&) const {}
  template <int kWidth>
  __device__ __forceinline__ A finish(A v, const A*, A, Partial<kWidth>&, int) const {
    return v;
  }
};

template <typename T>
struct EpilogueOutput {
  using A = accumulator_t<T>;
  template <int kWidth>
  using Partial = Sums<A, 1, kWidth>;
  static constexpr int kParameters = 2;
  static constexpr bool kWrites = true;
  static constexpr bool kReadsGradient = false;
  static constexpr bool kReduces = true;
  static constexpr bool kPerImage = true;
  static constexpr bool kTakesMoments = false;
  static constexpr bool kAddsSources = true;

  Epilogue<A> epilogue;
  A* pooled;       // [batch, channels]; null: not wanted
  A* partials;     // [rows, batch, channels]
  int64_t planes;  // batch * channels
  int64_t pixels;  // of an output plane
  A divisor = 1;

  __host__ __device__ bool reduces() const { return pooled != nullptr; }
  // Where a single block sees all of a plane, there is nothing left for a second pass.
  void set_rows(int64_t rows) {
    if (rows != 1) return;
    partials = pooled;
    divisor = static_cast<A>(pixels);
  }
  __device__ __forceinline__ A parameter(int i, int64_t c) const {
    if (i == 0) return epilogue.scale ? epilogue.scale[c] : A(1);
    return epilogue.shift ? epilogue.shift[c] : A(0);
  }
  template <int kCount, typename F>
  __device__ __forceinline__ void activate(A (&values)[kCount], A (&)[kCount], const F& parameters) const {
    math::with_activation(epilogue.activation, [&](auto activation) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        values[i] = math::activate<A>(decltype(activation)::value, parameters(0, i) * values[i] + parameters(1, i),
                                      math::ScalarExp());
      }
    });
  }
  template <int kWidth>
  __device__ __forceinline__ A finish(A y, const A*, A, Partial<kWidth>& partial, int e) const {
    partial.values[0][e] += y;
    return y;
  }
  template <int kWidth>
  __device__ __forceinline__ void store(const Partial<kWidth>& partial, int e, int64_t row, int64_t column) const {
    partials[row * planes + column] = partial.values[0][e] / divisor;
  }
};

template <typename T>
struct StatisticsOutput {
  using A = accumulator_t<T>;
  template <int kWidth>
  using Partial = Moments<A, kWidth>;
  static constexpr int kParameters = 0;
  static constexpr bool kWrites = false;
  static constexpr bool kReadsGradient = false;
  static constexpr bool kReduces = true;
  static constexpr bool kPerImage = false;
  static constexpr bool kTakesMoments = true;
  static constexpr bool kAddsSources = true;

  A* counts;    // [rows]
  A* partials;  // [rows, 2, channels]
  int64_t channels;

  __host__ __device__ bool reduces() const { return true; }
  void set_rows(int64_t) {}
  __device__ __forceinline__ A parameter(int, int64_t) const { return 0; }
  template <int kWidth>
  __device__ __forceinline__ void store(const Partial<kWidth>& partial, int e, int64_t row, int64_t column) const {
    partials[2 * row * channels + column] = partial.mean[e];
    partials[(2 * row + 1) * channels + column] = partial.squares[e];
    if (column == 0) counts[row] = partial.count;  // the same for every channel
  }
};

template <typename T>
struct GradientOutput {
  using A = accumulator_t<T>;
  template <int kWidth>
  using Partial = Sums<A, 2, kWidth>;
  static constexpr int kParameters = 4;
  static constexpr bool kWrites = true;
  static constexpr bool kReadsGradient = true;
  static constexpr bool kReduces = true;
  static constexpr bool kPerImage = false;
  static constexpr bool kTakesMoments = false;
  static constexpr bool kAddsSources = true;

  const T* grad_y;  // either may be null; with as many channels in memory as the source
  const T* grad_y_addend;
  Epilogue<A> epilogue;
  const A* constant;  // may be null
  const A* linear;    // may be null
  A* partials;        // [rows, 2, channels]; null: the sums are not wanted
  int64_t channels;

  __host__ __device__ bool reduces() const { return partials != nullptr; }
  void set_rows(int64_t) {}
  __device__ __forceinline__ A parameter(int i, int64_t c) const {
    if (i == 0) return epilogue.scale ? epilogue.scale[c] : A(1);
    const A* const from = i == 1 ? epilogue.shift : i == 2 ? constant : linear;
    return from ? from[c] : A(0);
  }
  template <int kCount, typename F>
  __device__ __forceinline__ void activate(A (&values)[kCount], A (&grads)[kCount], const F& parameters) const {
    math::with_activation(epilogue.activation, [&](auto activation) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        grads[i] = math::activation_gradient<A>(
            decltype(activation)::value, parameters(0, i) * values[i] + parameters(1, i), grads[i], math::ScalarExp());
      }
    });
  }
  template <int kWidth>
  __device__ __forceinline__ A finish(A v, const A* parameters, A g, Partial<kWidth>& partial, int e) const {
    partial.values[0][e] += g;
    partial.values[1][e] += g * v;
    const A grad_v = parameters[0] * g + parameters[2];
    return linear ? grad_v + parameters[3] * v : grad_v;  // an infinite v times no term at all is no NaN
  }
  template <int kWidth>
  __device__ __forceinline__ void store(const Partial<kWidth>& partial, int e, int64_t row, int64_t column) const {
    partials[2 * row * channels + column] = partial.values[0][e];
    partials[(2 * row + 1) * channels + column] = partial.values[1][e];
  }
};

template <typename A>
bool is_identity(const Epilogue<A>& epilogue) {
  return !epilogue.scale && !epilogue.shift && epilogue.activation == Activation::none;
}

// The tensors of a launch. Source is what the window slides over, target what is written; each has the shape's channels
// as a slice of so many in memory.
template <typename T>
struct SlideTensors {
  const T* source;
  const T* addend;  // null, or added to source
  const T* weight;
  const T* bias;  // may be null
  T* target;      // null where nothing is written
  int64_t source_channels;
  int64_t target_channels;
};

}  // namespace cuda
}  // namespace frnet
