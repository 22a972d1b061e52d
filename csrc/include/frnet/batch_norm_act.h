// Batch normalisation with the statistics of its own input, activation:
//
//   y = activation(gamma * (x - mean) / sqrt(variance + epsilon) + beta)
//
// with mean and biased variance of x over batch and plane. T is float, double, float16 or bfloat16, A its accumulation
// type. Pointers are dense: x, y and their gradients in the shape's layout, everything else [channels].
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/batch_norm.h"
#include "frnet/depthwise_conv2d.h"
#include "frnet/parallel.h"

namespace frnet {

struct BatchNormActShape {
  int64_t batch;
  int64_t channels;
  int64_t pixels;  // of a plane
  Layout layout;
};

// Where the gradients go; null: not wanted.
template <typename T>
struct BatchNormActGradient {
  using A = accumulator_t<T>;
  T* grad_x = nullptr;  // may be grad_y
  A* grad_gamma = nullptr;
  A* grad_beta = nullptr;
};

namespace cpu {

// norm.mean and norm.variance are not read: they are mean and variance, which are written.
template <typename T>
void batch_norm_act(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                    accumulator_t<T>* variance, T* y, const BatchNormActShape& shape, void* workspace,
                    const Parallel& parallel);

template <typename T>
void batch_norm_act_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                             Activation activation, const BatchNormActGradient<T>& gradient,
                             const BatchNormActShape& shape, void* workspace, const Parallel& parallel);

// For both.
template <typename T>
size_t batch_norm_act_workspace(const BatchNormActShape& shape);

}  // namespace cpu

// The same on the current CUDA device; stream is a cudaStream_t. All pointers are device pointers.
namespace cuda {

template <typename T>
void batch_norm_act(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                    accumulator_t<T>* variance, T* y, const BatchNormActShape& shape, void* workspace, void* stream);

template <typename T>
void batch_norm_act_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                             Activation activation, const BatchNormActGradient<T>& gradient,
                             const BatchNormActShape& shape, void* workspace, void* stream);

template <typename T>
size_t batch_norm_act_workspace(const BatchNormActShape& shape);

}  // namespace cuda
}  // namespace frnet
