#include "cpu/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace frnet::cpu {

bool isa_is_available(Isa isa) {
#if defined(FRNET_X86_ISAS)
  switch (isa) {
    case Isa::baseline:
      return true;
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
  return false;
#else
  return isa == Isa::baseline;
#endif
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::baseline:
      return "baseline";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "unknown";
}

namespace {

Isa choose_isa() {
  const char* wanted = std::getenv("FRNET_CPU_ISA");
  for (Isa isa : {Isa::avx512, Isa::avx2, Isa::baseline}) {
    if (wanted == nullptr || *wanted == '\0') {
      if (isa_is_available(isa)) return isa;
    } else if (std::string(wanted) == isa_name(isa)) {
      if (isa_is_available(isa)) return isa;
      throw std::runtime_error(std::string("FRNET_CPU_ISA=") + wanted + ": this processor lacks it");
    }
  }
  throw std::runtime_error(std::string("FRNET_CPU_ISA=") + wanted + ": wanted one of baseline, avx2, avx512");
}

}  // namespace

Isa active_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

}  // namespace frnet::cpu
