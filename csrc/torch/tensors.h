// What every op of the torch binding needs: checks, layouts, allocation, threads and streams.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/shim_utils.h>

#include "frnet/depthwise_conv2d.h"
#include "frnet/parallel.h"

namespace frnet::binding {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// torch's own thread pool.
inline constexpr Parallel torch_threads{[](int64_t count, int64_t grain, Parallel::Body body, void* context) {
  TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, count, grain, body, context));
}};

// channels_last where x is dense in that order and not also in the other; nchw for everything else.
inline Layout layout_of(const Tensor& x) {
  if (x.is_contiguous()) return Layout::nchw;
  const int64_t c = x.size(1), h = x.size(2), w = x.size(3);
  const bool dense = (c == 1 || x.stride(1) == 1) && (w == 1 || x.stride(3) == c) && (h == 1 || x.stride(2) == w * c) &&
                     (x.size(0) == 1 || x.stride(0) == h * w * c);
  return dense ? Layout::channels_last : Layout::nchw;
}

inline MemoryFormat memory_format(Layout layout) {
  return layout == Layout::channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

// x itself where it is dense in the layout already, else a copy.
inline Tensor dense(const Tensor& x, Layout layout) {
  if (layout == Layout::nchw ? x.is_contiguous() : layout_of(x) == Layout::channels_last) return x;
  return torch::stable::contiguous(x, memory_format(layout));
}

inline Tensor empty(torch::headeronly::IntHeaderOnlyArrayRef size, ScalarType dtype, const Tensor& like,
                    Layout layout = Layout::nchw) {
  return torch::stable::empty(size, dtype, std::nullopt, like.device(), std::nullopt, memory_format(layout));
}

// Calls body with a value of the storage type of dtype.
template <typename F>
void for_floating_type(const char* op, ScalarType dtype, const F& body) {
  switch (dtype) {
    case ScalarType::Float:
      return body(float{});
    case ScalarType::Double:
      return body(double{});
    case ScalarType::Half:
      return body(float16{});
    case ScalarType::BFloat16:
      return body(bfloat16{});
    default:
      STD_TORCH_CHECK(false, op, ": wanted float32, float64, float16 or bfloat16");
  }
}

template <typename T>
const T* data(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

template <typename T>
T* mutable_data(const Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

template <typename T>
const T* data_or_null(const std::optional<Tensor>& x) {
  return x ? data<T>(*x) : nullptr;
}

// Null for a tensor without elements: what was not asked for.
template <typename T>
T* wanted(const Tensor& x) {
  return x.numel() == 0 ? nullptr : mutable_data<T>(x);
}

// Scratch of a launcher.
class Workspace {
 public:
  Workspace(size_t bytes, const Tensor& like) {
    if (bytes == 0) return;
    const int64_t size[] = {static_cast<int64_t>(bytes)};
    tensor_ = empty(size, ScalarType::Byte, like);
  }

  void* get() const { return tensor_ ? tensor_->mutable_data_ptr() : nullptr; }

 private:
  std::optional<Tensor> tensor_;
};

}  // namespace frnet::binding
