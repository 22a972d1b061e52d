// A morphable face model from a file of frnet, for decoding parameters without torch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace frnet::runtime {

class FaceModel {
 public:
  // A file that MorphableModel.save wrote, or its bytes. Throws std::runtime_error that says what is wrong with it.
  static FaceModel open(const std::string& path);
  static FaceModel load(std::string bytes);

  int64_t num_vertices() const { return static_cast<int64_t>(mean_.size() / 3); }
  int64_t num_params() const { return 12 + coefficients_; }
  const std::vector<int64_t>& landmarks() const { return landmarks_; }  // vertices; empty where it has none
  // Of the parameters; empty where the file holds none.
  const std::vector<float>& param_mean() const { return param_mean_; }
  const std::vector<float>& param_std() const { return param_std_; }

  // [batch][num_vertices][3] in the crop's frame, of de-whitened parameters [batch][num_params].
  void decode(const float* params, int64_t batch, float* vertices) const;

 private:
  FaceModel() = default;
  int64_t coefficients_ = 0;
  std::vector<float> mean_, basis_, param_mean_, param_std_;
  std::vector<int64_t> landmarks_;
};

}  // namespace frnet::runtime
