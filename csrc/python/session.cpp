// frnet::runtime::Session over NumPy arrays.

#include "python/session.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "frnet/runtime.h"

namespace py = pybind11;

namespace frnet::python {

namespace {

using runtime::Session;
using runtime::SessionOptions;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

Floats run(const Session& session, const Floats& crops) {
  const py::ssize_t side = session.input_size();
  if (crops.ndim() != 4 || crops.shape(1) != 3 || crops.shape(2) != side || crops.shape(3) != side) {
    throw py::value_error("run: wanted crops [batch, 3, input_size, input_size]");
  }
  Floats params({crops.shape(0), py::ssize_t{session.num_params()}});
  const float* from = crops.data();
  float* to = params.mutable_data();
  const py::ssize_t batch = crops.shape(0);
  {
    const py::gil_scoped_release others_may_run;
    session.run(from, batch, to);
  }
  return params;
}

py::list profile(const Session& session, int64_t batch, int32_t repetitions) {
  std::vector<runtime::StepProfile> steps;
  {
    const py::gil_scoped_release others_may_run;
    steps = session.profile(batch, repetitions);
  }
  py::list rows;
  for (const runtime::StepProfile& step : steps) rows.append(py::make_tuple(step.name, step.macs, step.seconds));
  return rows;
}

}  // namespace

void bind_session(py::module_& m) {
  py::class_<Session>(m, "Session", "A network at inference; see frnet.runtime.Session.")
      .def(py::init([](const py::bytes& bytes, int32_t num_threads, const std::string& instruction_set) {
             return Session::load(std::string(bytes), SessionOptions{num_threads, instruction_set});
           }),
           py::arg("bytes"), py::kw_only(), py::arg("num_threads") = 0, py::arg("instruction_set") = "")
      .def_property_readonly("input_size", &Session::input_size)
      .def_property_readonly("num_params", &Session::num_params)
      .def_property_readonly("num_threads", &Session::num_threads)
      .def_property_readonly("instruction_set", &Session::instruction_set)
      .def("metadata", &Session::metadata, py::arg("name"))
      .def("values", &Session::values, py::arg("name"))
      .def("run", &run, py::arg("crops"))
      .def("profile", &profile, py::arg("batch"), py::arg("repetitions"));
}

}  // namespace frnet::python
