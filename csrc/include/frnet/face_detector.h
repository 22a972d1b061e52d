// The face detector's network at inference on a CPU, without torch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "frnet/runtime.h"

namespace frnet::runtime {

class FaceDetector {
 public:
  // The bytes of a file that tools/train_detector.py wrote. Throws std::runtime_error that says what is wrong with it.
  static FaceDetector load(std::string bytes, const SessionOptions& options = {});

  FaceDetector(FaceDetector&&) noexcept;
  FaceDetector& operator=(FaceDetector&&) noexcept;
  ~FaceDetector();

  // Of a picture with these sides, multiples of 32; throws std::invalid_argument where they are not.
  static int64_t cells(int64_t height, int64_t width);
  // rows [batch][cells][7] of pictures uint8 [batch][height][width][3], BGR: middle, width and height in pixels, cosine
  // and sine of the roll (of no particular length), and the score in [0, 1].
  void run(const uint8_t* images, int64_t batch, int64_t height, int64_t width, float* rows) const;

 private:
  struct Data;
  explicit FaceDetector(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

}  // namespace frnet::runtime
