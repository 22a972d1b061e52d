#include "runtime/json.h"

#include <cmath>
#include <cstdlib>
#include <stdexcept>

namespace frnet::runtime {

namespace {

constexpr int kDeepest = 16;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

// Whether it is UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - i < static_cast<size_t>(more)) return false;
    uint32_t code = lead & (0x3fu >> more);
    for (int k = 0; k < more; ++k) {
      const auto next = static_cast<unsigned char>(text[i++]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3fu);
    }
    const uint32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
  }
  return true;
}

}  // namespace

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  Json all() {
    Json value = read(0);
    space();
    if (at_ != text_.size()) wrong("more text behind the value");
    return value;
  }

 private:
  [[noreturn]] void wrong(const std::string& what) { fail("JSON: " + what + " at byte " + std::to_string(at_)); }

  void space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  bool take(char c) {
    space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void want(char c) {
    if (!take(c)) wrong(std::string("wanted '") + c + "'");
  }

  Json read(int depth) {
    if (depth > kDeepest) wrong("nested too deeply");
    Json value;
    if (take('{')) {
      value.kind_ = Json::Kind::object;
      if (take('}')) return value;
      do {
        want('"');
        std::string name = text();
        want(':');
        if (!value.object_.emplace(std::move(name), read(depth + 1)).second) wrong("a name given twice");
      } while (take(','));
      want('}');
    } else if (take('[')) {
      value.kind_ = Json::Kind::array;
      if (take(']')) return value;
      do {
        value.array_.push_back(read(depth + 1));
      } while (take(','));
      want(']');
    } else if (take('"')) {
      value.kind_ = Json::Kind::string;
      value.string_ = text();
    } else if (word("true") || word("false")) {
      value.kind_ = Json::Kind::boolean;
      value.boolean_ = text_[at_ - 2] == 'u';
    } else if (!word("null")) {
      value.kind_ = Json::Kind::number;
      value.number_ = digits();
    }
    return value;
  }

  bool word(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) return false;
    at_ += wanted.size();
    return true;
  }

  double digits() {
    const size_t begin = at_;
    while (at_ < text_.size() && (std::string_view("+-.eE").find(text_[at_]) != std::string_view::npos ||
                                  (text_[at_] >= '0' && text_[at_] <= '9'))) {
      ++at_;
    }
    const std::string number(text_.substr(begin, at_ - begin));
    char* end = nullptr;
    const double value = std::strtod(number.c_str(), &end);
    if (number.empty() || *end != '\0' || !std::isfinite(value)) wrong("wanted a value");
    return value;
  }

  // Behind the opening quotation mark.
  std::string text() {
    std::string result;
    for (;;) {
      if (at_ >= text_.size()) wrong("a text that does not end");
      const char c = text_[at_++];
      if (c == '"') return result;
      if (static_cast<unsigned char>(c) < 0x20) wrong("a control character in a text");
      if (c != '\\') {
        result += c;
        continue;
      }
      if (at_ >= text_.size()) wrong("a text that does not end");
      escaped(text_[at_++], &result);
    }
  }

  void escaped(char c, std::string* to) {
    static constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    const size_t known = kNames.find(c);
    if (known != std::string_view::npos) {
      *to += kValues[known];
    } else if (c == 'u') {
      uint32_t code = hexadecimal();
      if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
        at_ += 2;
        const uint32_t low = hexadecimal();
        if (low < 0xdc00 || low > 0xdfff) wrong("half a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      }
      if (code >= 0xd800 && code < 0xe000) wrong("half a surrogate pair");
      append_utf8(code, to);
    } else {
      wrong("an unknown escape");
    }
  }

  uint32_t hexadecimal() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      if (at_ >= text_.size()) wrong("a text that does not end");
      const char c = text_[at_++];
      const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
      if (digit < 0) wrong("no hexadecimal digit");
      code = 16 * code + static_cast<uint32_t>(digit);
    }
    return code;
  }

  static void append_utf8(uint32_t code, std::string* to) {
    if (code < 0x80) {
      *to += static_cast<char>(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    const uint32_t lead = more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0;
    *to += static_cast<char>(lead | (code >> (6 * more)));
    for (int i = more - 1; i >= 0; --i) *to += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3f));
  }

  std::string_view text_;
  size_t at_ = 0;
};

// (Names of the text become part of messages, which have to be readable.)
Json Json::parse(std::string_view text) {
  if (!is_utf8(text)) fail("JSON: a text that is not UTF-8");
  return JsonParser(text).all();
}

bool Json::boolean() const {
  if (kind_ != Kind::boolean) fail("wanted true or false");
  return boolean_;
}

double Json::number() const {
  if (kind_ != Kind::number) fail("wanted a number");
  return number_;
}

int64_t Json::integer() const {
  const double value = number();
  if (value != std::floor(value) || std::fabs(value) > 9007199254740992.0) fail("wanted an integer");
  return static_cast<int64_t>(value);
}

const std::string& Json::string() const {
  if (kind_ != Kind::string) fail("wanted a text");
  return string_;
}

const std::vector<Json>& Json::array() const {
  if (kind_ != Kind::array) fail("wanted a list");
  return array_;
}

const std::map<std::string, Json>& Json::object() const {
  if (kind_ != Kind::object) fail("wanted an object");
  return object_;
}

const Json* Json::find(const std::string& name) const {
  const auto& members = object();
  const auto found = members.find(name);
  return found == members.end() ? nullptr : &found->second;
}

const Json& Json::at(const std::string& name) const {
  const Json* value = find(name);
  if (value == nullptr) fail("lacks " + name);
  return *value;
}

}  // namespace frnet::runtime
