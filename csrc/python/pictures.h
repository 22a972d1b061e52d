#pragma once

#include <pybind11/pybind11.h>

namespace frnet::python {

void bind_pictures(pybind11::module_& m);

}  // namespace frnet::python
