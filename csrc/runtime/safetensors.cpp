#include "runtime/safetensors.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "math/scalar.h"
#include "runtime/json.h"

namespace frnet::runtime {

namespace {

constexpr size_t kLongestHeader = 4 << 20;  // the format allows more; those of our networks have some 60 kB

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

int64_t bytes_of(const std::string& dtype) {
  static const std::map<std::string, int64_t> kSizes = {{"F64", 8}, {"I64", 8}, {"U64", 8},  {"F32", 4}, {"I32", 4},
                                                        {"U32", 4}, {"F16", 2}, {"BF16", 2}, {"I16", 2}, {"U16", 2},
                                                        {"I8", 1},  {"U8", 1},  {"BOOL", 1}};
  const auto found = kSizes.find(dtype);
  if (found == kSizes.end()) fail("has values of the unknown type " + dtype);
  return found->second;
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

FileTensor tensor_of(const Json& entry, std::string_view data) {
  FileTensor tensor;
  tensor.dtype = entry.at("dtype").string();
  int64_t bytes = bytes_of(tensor.dtype);
  for (const Json& side : entry.at("shape").array()) {
    tensor.shape.push_back(side.integer());
    if (tensor.shape.back() < 0 || __builtin_mul_overflow(bytes, tensor.shape.back(), &bytes)) fail("has no size");
  }
  const std::vector<Json>& offsets = entry.at("data_offsets").array();
  if (offsets.size() != 2) fail("has no place");
  const int64_t begin = offsets[0].integer(), end = offsets[1].integer();
  if (begin < 0 || end < begin || static_cast<uint64_t>(end) > data.size()) fail("lies outside the file");
  if (end - begin != bytes) fail("has a shape that does not fit its place");
  tensor.bytes = data.substr(static_cast<size_t>(begin), static_cast<size_t>(bytes));
  return tensor;
}

template <typename T>
void widen_integers(std::string_view bytes, std::vector<int64_t>* to) {
  for (size_t i = 0; i < to->size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    (*to)[i] = static_cast<int64_t>(value);
  }
}

template <typename T>
void widen(std::string_view bytes, std::vector<float>* to) {
  for (size_t i = 0; i < to->size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    if constexpr (sizeof(T) == 2) {
      (*to)[i] = math::widen(value);
    } else {
      (*to)[i] = static_cast<float>(value);
    }
  }
}

}  // namespace

int64_t FileTensor::count() const {
  int64_t count = 1;
  for (int64_t side : shape) count *= side;
  return count;
}

Safetensors::Safetensors(std::string bytes) : bytes_(std::move(bytes)) {
  uint64_t length = 0;
  if (bytes_.size() < sizeof length) fail("is too short for a safetensors file");
  std::memcpy(&length, bytes_.data(), sizeof length);
  if (length > kLongestHeader || length > bytes_.size() - sizeof length) fail("is no safetensors file, or is cut off");
  const std::string_view all = bytes_;
  const std::string_view data = all.substr(sizeof length + length);
  const Json header = Json::parse(all.substr(sizeof length, length));
  for (const auto& [name, entry] : header.object()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.object()) metadata_[key] = value.string();
      continue;
    }
    try {
      tensors_.emplace(name, tensor_of(entry, data));
    } catch (const std::runtime_error& error) {
      fail("tensor " + name + " " + error.what());
    }
  }
}

std::string Safetensors::read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) fail("cannot be opened");
  const std::streamoff size = file.tellg();
  if (size < 0) fail("cannot be read");
  std::string bytes(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(bytes.data(), size)) fail("cannot be read");
  return bytes;
}

std::vector<int64_t> Safetensors::integers(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail("lacks " + name);
  const FileTensor& tensor = found->second;
  std::vector<int64_t> values(static_cast<size_t>(tensor.count()));
  if (tensor.dtype == "I64") {
    widen_integers<int64_t>(tensor.bytes, &values);
  } else if (tensor.dtype == "I32") {
    widen_integers<int32_t>(tensor.bytes, &values);
  } else if (tensor.dtype == "I16") {
    widen_integers<int16_t>(tensor.bytes, &values);
  } else if (tensor.dtype == "U8") {
    widen_integers<uint8_t>(tensor.bytes, &values);
  } else {
    fail(name + " holds " + tensor.dtype + ", wanted integers");
  }
  return values;
}

void Safetensors::keep_only_others(const std::string& prefix) {
  std::string kept;
  std::map<std::string, size_t> places;
  for (auto at = tensors_.begin(); at != tensors_.end();) {
    if (at->first.compare(0, prefix.size(), prefix) == 0) {
      at = tensors_.erase(at);
      continue;
    }
    places[at->first] = kept.size();
    kept += at->second.bytes;
    ++at;
  }
  kept.shrink_to_fit();
  bytes_ = std::move(kept);
  for (auto& [name, tensor] : tensors_) {
    tensor.bytes = std::string_view(bytes_).substr(places[name], tensor.bytes.size());
  }
}

const std::string& Safetensors::metadata(const std::string& name) const {
  static const std::string none;
  const auto found = metadata_.find(name);
  return found == metadata_.end() ? none : found->second;
}

std::vector<float> Safetensors::floats(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail("lacks " + name);
  const FileTensor& tensor = found->second;
  if (tensor.shape != shape) fail(name + " is " + text_of(tensor.shape) + ", wanted " + text_of(shape));
  std::vector<float> values(static_cast<size_t>(tensor.count()));
  if (tensor.dtype == "F32") {
    widen<float>(tensor.bytes, &values);
  } else if (tensor.dtype == "F16") {
    widen<float16>(tensor.bytes, &values);
  } else if (tensor.dtype == "BF16") {
    widen<bfloat16>(tensor.bytes, &values);
  } else if (tensor.dtype == "F64") {
    widen<double>(tensor.bytes, &values);
  } else {
    fail(name + " holds " + tensor.dtype + ", which makes no weights");
  }
  for (float value : values) {
    if (!std::isfinite(value)) fail(name + " holds values that are not finite");
  }
  return values;
}

}  // namespace frnet::runtime
