// The instruction sets a vectorised file is compiled for, and the choice between them at load time.
//
// Each vectorised file is compiled once per set with FRNET_ISA naming the namespace it fills (baseline,
// avx2, avx512); dispatch.cpp calls the copy that active_isa() names.
#pragma once

namespace frnet::cpu {

enum class Isa { baseline, avx2, avx512 };

// The best set this processor has, or what the environment variable FRNET_CPU_ISA asks for when the
// processor has it. Throws std::runtime_error where it asks for one unknown, not built or not present.
Isa active_isa();

bool isa_is_available(Isa isa);

const char* isa_name(Isa isa);

}  // namespace frnet::cpu

// Declarations repeated in the namespace of every instruction set.
#define FRNET_IN_EVERY_ISA(...)    \
  namespace frnet::cpu::baseline { \
  __VA_ARGS__                      \
  }                                \
  namespace frnet::cpu::avx2 {     \
  __VA_ARGS__                      \
  }                                \
  namespace frnet::cpu::avx512 {   \
  __VA_ARGS__                      \
  }
