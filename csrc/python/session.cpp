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

using runtime::FaceModel;
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

template <typename T>
py::array_t<T> as_array(const std::vector<T>& values, std::vector<py::ssize_t> shape) {
  return py::array_t<T>(std::move(shape), values.data());
}

py::tuple align(const Session& session, const py::array_t<uint8_t, py::array::c_style | py::array::forcecast>& image,
                const py::array_t<double, py::array::c_style | py::array::forcecast>& rois, const FaceModel& model) {
  if (image.ndim() != 3 || image.shape(2) != 3 || image.size() == 0) {
    throw py::value_error("align: wanted an image [height, width, 3], not empty");
  }
  if (rois.ndim() != 2 || rois.shape(1) != 4) throw py::value_error("align: wanted rois [faces, 4]");
  const runtime::Picture picture{image.data(), image.shape(0), image.shape(1), 3 * image.shape(1)};
  std::vector<std::array<double, 4>> squares;
  for (py::ssize_t i = 0; i < rois.shape(0); ++i) {
    squares.push_back({rois.at(i, 0), rois.at(i, 1), rois.at(i, 2), rois.at(i, 3)});
  }
  runtime::Alignment found;
  {
    const py::gil_scoped_release others_may_run;
    found = session.align(picture, squares, model);
  }
  const py::ssize_t faces = rois.shape(0), landmarks = static_cast<py::ssize_t>(model.landmarks().size());
  return py::make_tuple(as_array(found.params, {faces, session.num_params()}),
                        as_array(found.landmarks, {faces, landmarks, 3}),
                        as_array(found.vertices, {faces, static_cast<py::ssize_t>(model.num_vertices()), 3}));
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
  py::class_<FaceModel>(m, "FaceModel", "A morphable model, for decoding; see frnet/face_model.h.")
      .def(py::init([](const py::bytes& bytes) { return FaceModel::load(std::string(bytes)); }), py::arg("bytes"))
      .def_property_readonly("num_vertices", &FaceModel::num_vertices)
      .def_property_readonly("num_params", &FaceModel::num_params);
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
      .def("align", &align, py::arg("image"), py::arg("rois"), py::arg("model"))
      .def("profile", &profile, py::arg("batch"), py::arg("repetitions"));
}

}  // namespace frnet::python
