// Square cut-outs of photographs as networks take them: cut, resized and normalised in one pass.
#pragma once

#include <cstdint>

namespace frnet::runtime {

// A picture, three channels interleaved.
struct Picture {
  const uint8_t* pixels;
  int64_t height, width;
  int64_t row_stride;  // bytes from a row to the next
};

// (pixel - mean) / scale; reversed: channels in the other order than the picture's.
struct PixelScale {
  float mean = 127.5f, scale = 128.0f;
  bool reversed = false;
};

// planes: float [3][size][size] of what lies between the corners (x0, y0) and (x1, y1), which are pixels of the picture
// or beside it, black there. Bilinear without anti-aliasing, in OpenCV's fixed point: the same grey levels as its
// resize, but for a pixel in thousands that is one off.
void crop(const Picture& picture, const int64_t corners[4], int64_t size, const PixelScale& scale, float* planes);

}  // namespace frnet::runtime
