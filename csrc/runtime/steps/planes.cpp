#include <cstring>

#include "runtime/steps/steps.h"

namespace frnet::runtime {

void SubsampleStep::run(const Frame& frame) const {
  const View &x = frame.views[inputs[0]], &y = frame.views[output];
  const int64_t lanes = channels_.lanes, blocks = channels_.blocks();
  frame.workers(frame.images, [&](int64_t image, int32_t) {
    for (int64_t block = 0; block < blocks; ++block) {
      const float* from = x.data + block * x.block_stride + image * x.image_stride;
      float* to = y.data + block * y.block_stride + image * y.image_stride;
      for (int64_t row = 0; row < y.size.height; ++row) {
        for (int64_t column = 0; column < y.size.width; ++column, to += lanes) {
          std::memcpy(to, from + (2 * row * x.size.width + 2 * column) * lanes,
                      static_cast<size_t>(lanes) * sizeof(float));
        }
      }
    }
  });
}

Size SubsampleStep::result(const std::vector<Size>& sizes) const {
  const Size& in = sizes[inputs[0]];
  return {(in.height + 1) / 2, (in.width + 1) / 2};
}

void AddDoubledStep::run(const Frame& frame) const {
  const View &fine = frame.views[inputs[0]], &coarse = frame.views[inputs[1]];
  const int64_t lanes = channels_.lanes, height = fine.size.height, width = fine.size.width;
  frame.workers(frame.images * channels_.blocks(), [&](int64_t task, int32_t) {
    const int64_t image = task % frame.images, block = task / frame.images;
    float* to = fine.data + block * fine.block_stride + image * fine.image_stride;
    const float* from = coarse.data + block * coarse.block_stride + image * coarse.image_stride;
    for (int64_t row = 0; row < height; ++row) {
      for (int64_t column = 0; column < width; ++column, to += lanes) {
        const float* pixel = from + (row / 2 * coarse.size.width + column / 2) * lanes;
        for (int64_t lane = 0; lane < lanes; ++lane) to[lane] += pixel[lane];
      }
    }
  });
}

void ReluStep::run(const Frame& frame) const {
  const View& x = frame.views[inputs[0]];
  frame.workers(frame.images, [&](int64_t image, int32_t) {
    frame.kernels.scale_planes(x.data + image * x.image_stride, x.block_stride, x.size.pixels(), nullptr,
                               Activation::relu, 0, channels_.blocks());
  });
}

void MeanStep::run(const Frame& frame) const {
  const View &x = frame.views[inputs[0]], &y = frame.views[output];
  const int64_t lanes = channels_.lanes, blocks = channels_.blocks();
  const float share = 1.0f / static_cast<float>(x.size.pixels());
  frame.workers(frame.images, [&](int64_t image, int32_t) {
    for (int64_t block = 0; block < blocks; ++block) {
      float* to = y.data + block * y.block_stride + image * y.image_stride;
      frame.kernels.plane_sums(x.data + block * x.block_stride + image * x.image_stride, 0, x.size.pixels(), 0, 1, to);
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane] *= share;
    }
  });
}

}  // namespace frnet::runtime
