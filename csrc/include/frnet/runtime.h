// Networks at inference on a CPU, without torch.
//
//   frnet::runtime::Session session = frnet::runtime::Session::open("mobile_frnet.safetensors");
//   session.run(crops, batch, params);
//
// A session holds its weights packed for the processor's instruction set. Any number of threads may use one at the same
// time. The first call gets the session's threads; others that come meanwhile run on their own. Results are the same
// bits for any number of threads and any batch.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "frnet/crop.h"
#include "frnet/face_model.h"

namespace frnet::runtime {

struct SessionOptions {
  int32_t num_threads = 0;      // 0: as many as this process may use
  std::string instruction_set;  // "baseline", "avx2" or "avx512"; empty: the best one here
};

// Faces of a picture. Pixels count from 0, x right, y down, z towards the viewer; the rearmost landmark of a face lies
// at depth 0.
struct Alignment {
  std::vector<float> params;     // [faces][num_params], de-whitened; they refer to the crop
  std::vector<float> landmarks;  // [faces][landmarks][3]
  std::vector<float> vertices;   // [faces][vertices][3]
};

// A step of a network, and what it took.
struct StepProfile {
  std::string name;
  int64_t macs;  // of the batch
  double seconds;
};

class Session {
 public:
  // A checkpoint of frnet: a file, or its bytes. Throws std::runtime_error that says what is wrong with it, and
  // std::invalid_argument where the options are.
  static Session open(const std::string& path, const SessionOptions& options = {});
  static Session load(std::string bytes, const SessionOptions& options = {});

  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  int32_t input_size() const;  // pixels a side
  int32_t num_params() const;
  int32_t num_threads() const;
  const char* instruction_set() const;
  // Text that the checkpoint holds; empty where it has none of that name.
  const std::string& metadata(const std::string& name) const;
  // Values of a tensor that belongs to no layer, as whitening.mean; empty where there is none.
  std::vector<float> values(const std::string& name) const;

  // Whitened parameters [batch, num_params] of normalised crops [batch, 3, input_size, input_size].
  void run(const float* crops, int64_t batch, float* params) const;
  // The faces in squares of a picture, x0, y0, x1, y1 in pixels each; squares may reach beyond the picture, where it is
  // black. Throws std::invalid_argument where a square is none, and std::runtime_error where the face model is not one
  // of so many parameters, or nothing says how they are whitened.
  Alignment align(const Picture& picture, const std::vector<std::array<double, 4>>& rois, const FaceModel& model) const;
  // The steps of run(), one by one on the session's threads; the least of so many repetitions.
  std::vector<StepProfile> profile(int64_t batch, int32_t repetitions = 10) const;

 private:
  struct Data;
  explicit Session(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

}  // namespace frnet::runtime
