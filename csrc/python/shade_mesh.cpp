// frnet::shade_mesh over NumPy arrays.

#include "python/shade_mesh.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "frnet/shade_mesh.h"

namespace py = pybind11;

namespace frnet::python {

namespace {

// Dense; another dtype or other strides are copied.
template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

void require(bool condition, const char* what) {
  if (!condition) throw py::value_error(std::string("shade_mesh: ") + what);
}

py::tuple shade_mesh(const Array<float>& vertices, const Array<int32_t>& triangles, const Array<float>& albedo,
                     const Array<float>& lights, const std::optional<Array<float>>& roughness,
                     const std::optional<Array<float>>& shine, const std::optional<Array<uint8_t>>& casters,
                     bool two_sided, bool diffuse) {
  require(vertices.ndim() == 3 && vertices.shape(2) == 3, "vertices must be [batch, vertices, 3]");
  require(triangles.ndim() == 2 && triangles.shape(1) == 3, "triangles must be [triangles, 3]");
  ShadeMeshArgs a{};
  a.batch = vertices.shape(0);
  a.vertex_count = vertices.shape(1);
  a.triangle_count = triangles.shape(0);
  const auto as_vertices = [&](const Array<float>& array) {
    return array.ndim() == 3 && array.shape(0) == a.batch && array.shape(1) == a.vertex_count && array.shape(2) == 3;
  };
  require(as_vertices(albedo), "albedo must be [batch, vertices, 3]");
  require(lights.ndim() == 2 && lights.shape(0) == a.batch && lights.shape(1) == kMeshLightFloats,
          "lights must be [batch, 22]");
  require(!roughness || as_vertices(*roughness), "roughness must be [batch, vertices, 3]");
  require(!shine || (shine->ndim() == 1 && shine->shape(0) == a.vertex_count), "shine must be [vertices]");
  require(!casters || (casters->ndim() == 1 && casters->shape(0) == a.vertex_count), "casters must be [vertices]");
  const int32_t* corner = triangles.data();
  for (int64_t i = 0; i < 3 * a.triangle_count; ++i) {
    require(corner[i] >= 0 && corner[i] < a.vertex_count, "a triangle names a vertex that is none");
  }
  py::array_t<float> colours({a.batch, a.vertex_count, int64_t{3}});
  a.vertices = vertices.data();
  a.triangles = corner;
  a.albedo = albedo.data();
  a.lights = reinterpret_cast<const MeshLight*>(lights.data());
  a.roughness = roughness ? roughness->data() : nullptr;
  a.shine = shine ? shine->data() : nullptr;
  a.casters = casters ? casters->data() : nullptr;
  a.two_sided = two_sided;
  a.colours = colours.mutable_data();
  py::object multiplied = py::none();
  if (diffuse) {
    py::array_t<float> array({a.batch, a.vertex_count, int64_t{3}});
    a.diffuse = array.mutable_data();
    multiplied = array;
  }
  {
    const py::gil_scoped_release others_may_run;
    cpu::shade_mesh(a);
  }
  return py::make_tuple(colours, multiplied);
}

}  // namespace

void bind_shade_mesh(py::module_& m) {
  m.def("shade_mesh", &shade_mesh, py::arg("vertices"), py::arg("triangles"), py::arg("albedo"), py::arg("lights"),
        py::kw_only(), py::arg("roughness") = py::none(), py::arg("shine") = py::none(),
        py::arg("casters") = py::none(), py::arg("two_sided") = false, py::arg("diffuse") = false,
        "Colours of lit vertices, and the light on them where it is wanted. See frnet.render.shading.");
}

}  // namespace frnet::python
