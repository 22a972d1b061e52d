// Floats that begin at a cache line.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace frnet::runtime {

class AlignedFloats {
 public:
  AlignedFloats() = default;
  // Zeros.
  explicit AlignedFloats(size_t count) : count_(count) {
    const size_t bytes = (count * sizeof(float) + kLine - 1) / kLine * kLine;
    if (bytes == 0) return;
    data_.reset(static_cast<float*>(std::aligned_alloc(kLine, bytes)));
    if (!data_) throw std::bad_alloc();
    for (size_t i = 0; i < bytes / sizeof(float); ++i) data_.get()[i] = 0;
  }

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  size_t size() const { return count_; }
  float& operator[](size_t i) { return data_.get()[i]; }
  float operator[](size_t i) const { return data_.get()[i]; }

 private:
  static constexpr size_t kLine = 64;
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };
  std::unique_ptr<float, Free> data_;
  size_t count_ = 0;
};

}  // namespace frnet::runtime
