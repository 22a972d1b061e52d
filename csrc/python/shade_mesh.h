// frnet::shade_mesh over NumPy arrays.
#pragma once

#include <pybind11/pybind11.h>

namespace frnet::python {

void bind_shade_mesh(pybind11::module_& m);

}  // namespace frnet::python
