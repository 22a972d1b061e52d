#include "runtime/kernels/table.h"

#include "runtime/kernels/tile.h"

namespace frnet::cpu::FRNET_ISA {

const runtime::Kernels& runtime_kernels() {
  static constexpr runtime::Kernels table{
      Isa::FRNET_ISA,        kLane,          runtime_pointwise,  runtime_stage,
      runtime_stage_scratch, runtime_stem,   runtime_depthwise,  runtime_sge_gates,
      runtime_sge_apply,     runtime_excite, runtime_plane_sums, runtime_scale_planes};
  return table;
}

}  // namespace frnet::cpu::FRNET_ISA
