// Tensors that are near those of the references, for ops made of several steps.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "gate_reference.h"

namespace test {

// What rounding may change: four roundings to T of all terms, of which the gates store some, and a share of the
// tensor's largest value, since a gate makes each value of many others: most of all the enhancement of
// single channels, where much cancels.
inline double magnitude(const Expected& want) { return want.magnitude; }
inline double magnitude(const Bounded& want) { return want.error / kSumError<double>; }

template <typename T, typename Storage, typename Want>
void require_near(const std::vector<T>& got, const std::vector<Want>& want, Storage, const std::string& what) {
  require(got.size() == want.size(), what + ": wrong size");
  constexpr double kUnit = Precision<Storage>::value;
  double largest = 0;
  for (const Want& w : want) largest = std::max(largest, std::fabs(w.value));
  for (size_t i = 0; i < got.size(); ++i) {
    const double off = std::fabs(static_cast<double>(frnet::math::widen(got[i])) - want[i].value);
    const double allowed = (sizeof(Storage) == 2 ? 4 : 1024) * kUnit * largest + 4 * kUnit * magnitude(want[i]);
    if (off <= allowed) continue;
    char message[160];
    std::snprintf(message, sizeof message, " [%zu of %zu]: off by %.3g from %.3g, allowed %.3g", i, got.size(), off,
                  want[i].value, allowed);
    throw std::runtime_error(what + message);
  }
}

template <typename T>
std::vector<double> widened(const std::vector<T>& values) {
  std::vector<double> result;
  for (const T value : values) result.push_back(frnet::math::widen(value));
  return result;
}

}  // namespace test
