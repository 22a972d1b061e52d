// The little that these tests need of a test framework: named cases, a failure that says what, where and by
// how much, and a count at the end.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "math/scalar.h"

namespace test {

struct Counts {
  int passed = 0;
  int failed = 0;
  int skipped = 0;
};

inline Counts& counts() {
  static Counts instance;
  return instance;
}

// FRNET_TEST_EVERY=n runs every n-th case alone: for tools under which a test takes a hundred times as long.
inline int every() {
  static const int value = [] {
    const char* text = std::getenv("FRNET_TEST_EVERY");
    return text == nullptr ? 1 : std::max(1, std::atoi(text));
  }();
  return value;
}

// Runs one case; any exception fails it.
template <typename F>
void run(const std::string& name, const F& body) {
  const int index = counts().passed + counts().failed + counts().skipped;
  if (index % every() != 0) {
    ++counts().skipped;
    return;
  }
  try {
    body();
    ++counts().passed;
  } catch (const std::exception& error) {
    ++counts().failed;
    std::printf("FAILED %s: %s\n", name.c_str(), error.what());
  }
}

inline void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

// Prints the totals; the value is main's.
inline int finish() {
  std::printf("%d passed, %d failed", counts().passed, counts().failed);
  if (counts().skipped > 0) std::printf(", %d left out (FRNET_TEST_EVERY=%d)", counts().skipped, every());
  std::printf("\n");
  return counts().failed == 0 && counts().passed > 0 ? 0 : 1;
}

// What a sum should be, computed in double: its value and the sum of its terms' magnitudes, which is what
// the rounding error of any order of summation is proportional to.
struct Expected {
  double value = 0;
  double magnitude = 0;
  void add(double term) {
    value += term;
    magnitude += std::fabs(term);
  }
};

// A long sum or mean. Many equal values round the same way every time, in double by more than is allowed of a kernel.
struct LongSum {
  long double value = 0;
  double magnitude = 0;
  void add(const Expected& term) {
    value += term.value;
    magnitude += term.magnitude;
  }
  void add(double term) { add(Expected{term, std::fabs(term)}); }
  Expected over(double count = 1) const { return {static_cast<double>(value / count), magnitude / count}; }
};

template <typename T>
struct Precision;  // unit roundoff of the storage type
template <>
struct Precision<float> {
  static constexpr double value = 5.97e-8;
};
template <>
struct Precision<double> {
  static constexpr double value = 1.12e-16;
};
template <>
struct Precision<frnet::float16> {
  static constexpr double value = 4.89e-4;
};
template <>
struct Precision<frnet::bfloat16> {
  static constexpr double value = 3.91e-3;
};

// One rounding to T, and 16 roundings' worth of the accumulation type over all the terms: a wrong or missing
// term among even thousands lies far outside.
template <typename T>
void require_close(const std::vector<T>& got, const std::vector<Expected>& want, const std::string& what) {
  require(got.size() == want.size(), what + ": wrong size");
  // Half a step of subnormal float16; the others' are too small to matter.
  const double smallest = std::is_same<T, frnet::float16>::value ? 3e-8 : 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double value = frnet::math::widen(got[i]);
    const double tolerance = Precision<T>::value * std::fabs(want[i].value) + smallest +
                             16 * Precision<frnet::accumulator_t<T>>::value * want[i].magnitude;
    if (!(std::fabs(value - want[i].value) <= tolerance)) {
      char message[160];
      std::snprintf(message, sizeof message, "[%zu of %zu] got %.9g, want %.9g, tolerance %.2g", i, got.size(), value,
                    want[i].value, tolerance);
      throw std::runtime_error(what + message);
    }
  }
}

template <typename T>
void require_identical(const std::vector<T>& first, const std::vector<T>& second, const std::string& what) {
  require(first.size() == second.size(), what + ": wrong size");
  for (size_t i = 0; i < first.size(); ++i) {
    if (std::memcmp(&first[i], &second[i], sizeof(T)) == 0) continue;
    throw std::runtime_error(what + ": two runs differ at " + std::to_string(i) + " of " +
                             std::to_string(first.size()));
  }
}

}  // namespace test
