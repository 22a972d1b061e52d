// Cut-outs of pictures, faces found in them, and vertices, over NumPy arrays.

#include "python/pictures.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "frnet/crop.h"
#include "frnet/face_detector.h"
#include "frnet/reconstruct_vertices.h"

namespace py = pybind11;

namespace frnet::python {

namespace {

using runtime::FaceDetector;

// Dense; another dtype or other strides are copied.
template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

void require(bool condition, const char* what) {
  if (!condition) throw py::value_error(what);
}

Array<float> crop(const py::array_t<uint8_t>& image, const Array<int64_t>& corners, int64_t size, float mean,
                  float scale, bool reversed) {
  require(image.ndim() == 3 && image.shape(2) == 3 && image.shape(0) > 0 && image.shape(1) > 0,
          "crop: image must be [height, width, 3], not empty");
  require(corners.ndim() == 2 && corners.shape(1) == 4, "crop: corners must be [n, 4]");
  require(size > 0 && size <= 4096, "crop: size must lie between 1 and 4096");
  // Rows may lie anywhere, pixels in a row one behind the other.
  py::array_t<uint8_t> dense = image;
  if (image.strides(2) != 1 || image.strides(1) != 3 || image.strides(0) < 0) dense = Array<uint8_t>(image);
  constexpr int64_t kFarthest = int64_t{1} << 31;
  for (py::ssize_t i = 0; i < corners.shape(0); ++i) {
    const int64_t* c = corners.data(i, 0);
    for (int side = 0; side < 4; ++side) require(c[side] > -kFarthest && c[side] < kFarthest, "crop: too far away");
    require(c[2] > c[0] && c[3] > c[1], "crop: a cut-out without a pixel");
  }
  Array<float> planes({corners.shape(0), py::ssize_t{3}, py::ssize_t{size}, py::ssize_t{size}});
  const runtime::Picture picture{dense.data(), dense.shape(0), dense.shape(1), dense.strides(0)};
  const runtime::PixelScale pixel_scale{mean, scale, reversed};
  const int64_t* at = corners.data();
  float* to = planes.mutable_data();
  const py::ssize_t count = corners.shape(0);
  {
    const py::gil_scoped_release others_may_run;
    for (py::ssize_t i = 0; i < count; ++i) {
      runtime::crop(picture, at + 4 * i, size, pixel_scale, to + 3 * i * size * size);
    }
  }
  return planes;
}

Array<float> detect(const FaceDetector& detector, const Array<uint8_t>& images) {
  require(images.ndim() == 4 && images.shape(3) == 3, "run: images must be [batch, height, width, 3]");
  const py::ssize_t batch = images.shape(0), height = images.shape(1), width = images.shape(2);
  Array<float> rows({batch, static_cast<py::ssize_t>(FaceDetector::cells(height, width)), py::ssize_t{7}});
  const uint8_t* from = images.data();
  float* to = rows.mutable_data();
  {
    const py::gil_scoped_release others_may_run;
    detector.run(from, batch, height, width, to);
  }
  return rows;
}

Array<float> reconstruct_vertices(const Array<float>& params, const Array<float>& mean, const Array<float>& basis,
                                  const std::optional<Array<int64_t>>& indices) {
  require(mean.ndim() == 2 && mean.shape(1) == 3, "reconstruct_vertices: mean must be [vertices, 3]");
  require(basis.ndim() == 3 && basis.shape(0) == mean.shape(0) && basis.shape(1) == 3,
          "reconstruct_vertices: basis must be [vertices, 3, coefficients]");
  require(basis.shape(2) <= cpu::kMaxCoefficients, "reconstruct_vertices: too many coefficients");
  require(params.ndim() == 2 && params.shape(1) == 12 + basis.shape(2),
          "reconstruct_vertices: params must be [batch, 12 + coefficients]");
  VertexSet set{nullptr, mean.shape(0)};
  if (indices) {
    require(indices->ndim() == 1, "reconstruct_vertices: indices must be [count]");
    set = {indices->data(), indices->shape(0)};
    for (int64_t i = 0; i < set.count; ++i) {
      require(set.indices[i] >= 0 && set.indices[i] < mean.shape(0), "reconstruct_vertices: an index out of range");
    }
  }
  Array<float> vertices({params.shape(0), static_cast<py::ssize_t>(set.count), py::ssize_t{3}});
  const MorphableShape shape{params.shape(0), mean.shape(0), basis.shape(2)};
  const float *from = params.data(), *centre = mean.data(), *directions = basis.data();
  float* to = vertices.mutable_data();
  {
    const py::gil_scoped_release others_may_run;
    cpu::reconstruct_vertices<float>(from, centre, directions, set, to, shape, serial);
  }
  return vertices;
}

}  // namespace

void bind_pictures(py::module_& m) {
  m.def("crop", &crop, py::arg("image"), py::arg("corners"), py::arg("size"), py::arg("mean") = 127.5f,
        py::arg("scale") = 128.0f, py::arg("reversed") = false,
        "Normalised squares float [n, 3, size, size] of an image; corners int [n, 4], of pixels. See frnet/crop.h.");
  m.def("reconstruct_vertices", &reconstruct_vertices, py::arg("params"), py::arg("mean"), py::arg("basis"),
        py::arg("indices") = py::none(), "Vertices [batch, count, 3]. See frnet.ops.reconstruct_vertices.");
  py::class_<FaceDetector>(m, "FaceDetector", "The face detector's network; see frnet.align.FaceDetector.")
      .def(py::init([](const py::bytes& bytes, int32_t num_threads, const std::string& instruction_set) {
             return FaceDetector::load(std::string(bytes), {num_threads, instruction_set});
           }),
           py::arg("bytes"), py::kw_only(), py::arg("num_threads") = 0, py::arg("instruction_set") = "")
      .def("run", &detect, py::arg("images"));
}

}  // namespace frnet::python
