// A reader of JSON texts: what a safetensors header and our own settings need, and no more trust than they deserve.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace frnet::runtime {

// A value of a JSON text. Asking for another kind than it is throws std::runtime_error.
class Json {
 public:
  enum class Kind { null, boolean, number, string, array, object };

  // Throws std::runtime_error where the text is no JSON in UTF-8, is nested deeper than 16 levels or names a key twice.
  static Json parse(std::string_view text);

  Kind kind() const { return kind_; }
  bool boolean() const;
  double number() const;
  int64_t integer() const;  // throws too where it is none, or larger than 2^53
  const std::string& string() const;
  const std::vector<Json>& array() const;
  const std::map<std::string, Json>& object() const;
  // A member of an object; null where it has none of that name.
  const Json* find(const std::string& name) const;
  const Json& at(const std::string& name) const;

 private:
  friend class JsonParser;
  Kind kind_ = Kind::null;
  bool boolean_ = false;
  double number_ = 0;
  std::string string_;
  std::vector<Json> array_;
  std::map<std::string, Json> object_;
};

}  // namespace frnet::runtime
