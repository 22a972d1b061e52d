// frnet::rasterize over NumPy arrays.

#include "python/rasterize.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frnet/rasterize.h"

namespace py = pybind11;

namespace frnet::python {

namespace {

// Dense; another dtype or other strides are copied.
template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

void require(bool condition, const std::string& what) {
  if (!condition) throw py::value_error("rasterize: " + what);
}

py::tuple rasterize(const Array<float>& vertices, const Array<int32_t>& triangles, int64_t height, int64_t width,
                    const std::optional<Array<float>>& attributes, const std::optional<Array<float>>& inverse_depth,
                    bool cull, int32_t samples, bool barycentrics) {
  require(vertices.ndim() == 3 && vertices.shape(2) == 3, "vertices must be [batch, vertices, 3]");
  require(triangles.ndim() == 2 && triangles.shape(1) == 3, "triangles must be [triangles, 3]");
  RasterizeArgs a{};
  a.vertices = vertices.data();
  a.triangles = triangles.data();
  a.batch = vertices.shape(0);
  a.vertex_count = vertices.shape(1);
  a.triangle_count = triangles.shape(0);
  a.height = height;
  a.width = width;
  a.samples = samples;
  a.cull = cull;
  if (attributes) {
    require(attributes->ndim() == 3 && (attributes->shape(0) == a.batch || attributes->shape(0) == 1) &&
                attributes->shape(1) == a.vertex_count,
            "attributes must be [batch or 1, vertices, channels]");
    a.attributes = attributes->data();
    a.shared_attributes = attributes->shape(0) == 1;
    a.channels = attributes->shape(2);
  }
  if (inverse_depth) {
    require(
        inverse_depth->ndim() == 2 && inverse_depth->shape(0) == a.batch && inverse_depth->shape(1) == a.vertex_count,
        "inverse_depth must be [batch, vertices]");
    a.inverse_depth = inverse_depth->data();
  }
  const std::string fault = rasterize_fault(a);
  require(fault.empty(), fault);
  const int64_t bad = first_bad_triangle(a.triangles, a.triangle_count, a.vertex_count);
  require(bad < 0, "triangle " + std::to_string(bad) + " names a vertex that is not one of the " +
                       std::to_string(a.vertex_count));

  const std::vector<py::ssize_t> plane = {a.batch, height, width};
  const std::vector<py::ssize_t> corners = {a.batch, height, width, 3};
  const std::vector<py::ssize_t> pixels = {a.batch, height, width, a.channels};
  py::array_t<int32_t> triangle(plane);
  py::array_t<float> depth(plane), coverage(plane);
  py::object weights = py::none(), image = py::none();
  a.triangle = triangle.mutable_data();
  a.depth = depth.mutable_data();
  a.coverage = coverage.mutable_data();
  if (barycentrics) {
    py::array_t<float> array(corners);
    a.barycentrics = array.mutable_data();
    weights = array;
  }
  if (attributes) {
    py::array_t<float> array(pixels);
    a.attribute_image = array.mutable_data();
    image = array;
  }
  {
    const py::gil_scoped_release others_may_run;
    const std::unique_ptr<char[]> workspace(new char[cpu::rasterize_workspace(a)]);
    a.workspace = workspace.get();
    cpu::rasterize(a, serial);
  }
  return py::make_tuple(triangle, depth, weights, image, coverage);
}

}  // namespace

void bind_rasterize(py::module_& m) {
  m.def("rasterize", &rasterize, py::arg("vertices"), py::arg("triangles"), py::arg("height"), py::arg("width"),
        py::kw_only(), py::arg("attributes") = py::none(), py::arg("inverse_depth") = py::none(),
        py::arg("cull") = false, py::arg("samples") = 1, py::arg("barycentrics") = true,
        "Triangles, depth, barycentrics, attributes and coverage of the pixels, on one thread. See "
        "frnet.render.rasterize.");
}

}  // namespace frnet::python
