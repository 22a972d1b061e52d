// frnet._core: what of the library needs no torch.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "cpu/isa.h"
#include "python/pictures.h"
#include "python/rasterize.h"
#include "python/session.h"
#include "python/shade_mesh.h"

namespace py = pybind11;
using frnet::cpu::Isa;

namespace {

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (frnet::cpu::isa_is_available(isa)) names.emplace_back(frnet::cpu::isa_name(isa));
  }
  return names;
}

py::dict build_info() {
  py::dict info;
  info["version"] = FRNET_VERSION;
  info["compiler"] = FRNET_COMPILER;
  info["torch_headers"] = FRNET_TORCH_HEADERS;
  info["cuda"] = FRNET_CUDA_VERSION;
  info["cuda_architectures"] = FRNET_CUDA_ARCHITECTURES;
  info["cpu_instruction_sets_built"] = FRNET_CPU_ISAS;
  info["cpu_instruction_sets_here"] = available_isas();
  info["cpu_instruction_set_used"] = frnet::cpu::isa_name(frnet::cpu::active_isa());
  return info;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The torch-free part of frnet.";
  m.def("build_info", &build_info,
        "How this library was built and what it uses here, as a dict of strings and lists; an empty 'cuda' means "
        "that it was built without CUDA.");
  frnet::python::bind_pictures(m);
  frnet::python::bind_rasterize(m);
  frnet::python::bind_session(m);
  frnet::python::bind_shade_mesh(m);
}
