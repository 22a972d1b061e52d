#include "runtime/kernels.h"

#include <stdexcept>
#include <string>

#include "runtime/kernels/table.h"

namespace frnet::runtime {

const Kernels& kernels(cpu::Isa isa) {
  if (!cpu::isa_is_available(isa)) {
    throw std::invalid_argument(std::string("this processor lacks the instruction set ") + cpu::isa_name(isa));
  }
#if defined(FRNET_X86_ISAS)
  if (isa == cpu::Isa::avx512) return cpu::avx512::runtime_kernels();
  if (isa == cpu::Isa::avx2) return cpu::avx2::runtime_kernels();
#endif
  return cpu::baseline::runtime_kernels();
}

}  // namespace frnet::runtime
