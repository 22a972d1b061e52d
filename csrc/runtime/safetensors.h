// Reading safetensors files: tensors by name, and the metadata.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace frnet::runtime {

// A tensor of a file: where its bytes lie in it.
struct FileTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string_view bytes;

  int64_t count() const;
};

// A file's contents, held as long as the object lives.
class Safetensors {
 public:
  // Throws std::runtime_error where the bytes are no such file: every size and offset is checked against them before
  // it is used, and nothing is allocated for what only a header claims.
  explicit Safetensors(std::string bytes);
  static Safetensors read(const std::string& path) { return Safetensors(read_bytes(path)); }
  // A whole file. Throws std::runtime_error where it cannot be read.
  static std::string read_bytes(const std::string& path);

  const std::map<std::string, FileTensor>& tensors() const { return tensors_; }
  // Empty where there is none of that name.
  const std::string& metadata(const std::string& name) const;
  // Values as float32, from F16, BF16, F32 or F64. Throws where there is no such tensor, or none of numbers that are
  // finite; shape: what it has to be.
  std::vector<float> floats(const std::string& name, const std::vector<int64_t>& shape) const;
  // Values of a tensor of integers of any size, flat.
  std::vector<int64_t> integers(const std::string& name) const;
  // Forgets the tensors whose names begin so, and gives their memory back.
  void keep_only_others(const std::string& prefix);

 private:
  std::string bytes_;
  std::map<std::string, FileTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace frnet::runtime
