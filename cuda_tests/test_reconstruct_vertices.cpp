// The vertex reconstruction's kernels against loops in double written straight from the header's formula.
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "frnet/reconstruct_vertices.h"
#include "vertex_choice.h"

namespace {

using frnet::MorphableShape;
using test::DeviceBuffer;
using test::Expected;

template <typename T>
void check_shape(const MorphableShape& shape, int64_t selected, size_t offset) {
  const auto batch = static_cast<size_t>(shape.batch);
  const std::vector<int64_t> indices = test::some_vertices(selected, shape.vertices);
  const auto vertices = static_cast<size_t>(selected ? selected : shape.vertices);
  const auto coefficients = static_cast<size_t>(shape.coefficients);
  const size_t size = 12 + coefficients;
  const auto params = test::random_values<T>(batch * size, 1);
  const auto mean = test::random_values<T>(3 * static_cast<size_t>(shape.vertices), 2);
  const auto basis = test::random_values<T>(3 * static_cast<size_t>(shape.vertices) * coefficients, 3);
  const auto grad = test::random_values<T>(3 * batch * vertices, 4);

  std::vector<Expected> want(3 * batch * vertices), grad_want(batch * size);
  for (size_t b = 0; b < batch; ++b) {
    const T* pose = params.data() + b * size;
    Expected* grad_params = grad_want.data() + b * size;
    for (size_t n = 0; n < vertices; ++n) {
      const size_t vertex = selected ? static_cast<size_t>(indices[n]) : n;
      Expected s[3];
      for (size_t j = 0; j < 3; ++j) {
        s[j].add(mean[3 * vertex + j]);
        for (size_t k = 0; k < coefficients; ++k) {
          s[j].add(static_cast<double>(basis[(3 * vertex + j) * coefficients + k]) * pose[12 + k]);
        }
      }
      for (size_t i = 0; i < 3; ++i) {
        Expected& v = want[3 * (b * vertices + n) + i];
        const double g = grad[3 * (b * vertices + n) + i];
        v.add(pose[4 * i + 3]);
        grad_params[4 * i + 3].add(g);
        for (size_t j = 0; j < 3; ++j) {
          const double r = pose[4 * i + j];
          v.value += r * s[j].value;
          v.magnitude += std::fabs(r) * s[j].magnitude;
          grad_params[4 * i + j].value += g * s[j].value;
          grad_params[4 * i + j].magnitude += std::fabs(g) * s[j].magnitude;
          for (size_t k = 0; k < coefficients; ++k) {
            grad_params[12 + k].add(g * r * static_cast<double>(basis[(3 * vertex + j) * coefficients + k]));
          }
        }
      }
    }
  }

  std::vector<T> first, grad_first;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    DeviceBuffer<T> d_params(params, offset), d_mean(mean, offset), d_basis(basis, offset), d_grad(grad, offset);
    DeviceBuffer<T> d_out(want.size(), offset), d_grad_params(params.size(), offset);
    DeviceBuffer<int64_t> d_indices(indices);
    const frnet::VertexSet set{selected ? d_indices.data() : nullptr, static_cast<int64_t>(vertices)};
    DeviceBuffer<unsigned char> workspace(launchers::reconstruct_vertices_backward_workspace<T>(set, shape));
    launchers::reconstruct_vertices(d_params.data(), d_mean.data(), d_basis.data(), set, d_out.data(), shape,
                                    test::kExecution);
    launchers::reconstruct_vertices_backward(d_grad.data(), d_params.data(), d_mean.data(), d_basis.data(), set,
                                             d_grad_params.data(), shape, workspace.data(), test::kExecution);
    std::vector<T> got = d_out.download();
    std::vector<T> grad_got = d_grad_params.download();
    if (seed != 0) {
      test::require_identical(first, got, "vertices");
      test::require_identical(grad_first, grad_got, "grad_params");
      continue;
    }
    test::require_close(got, want, "vertices");
    test::require_close(grad_got, grad_want, "grad_params");
    first = std::move(got);
    grad_first = std::move(grad_got);
  }
}

void check_all(int64_t batch, int64_t vertices, int64_t coefficients, size_t offset = 0, int64_t selected = 0) {
  const MorphableShape shape{batch, vertices, coefficients};
  char name[100];
  std::snprintf(name, sizeof name, "batch %d, vertices %d of %d, coefficients %d%s", int(batch), int(selected),
                int(vertices), int(coefficients), offset ? ", misaligned " : " ");
  test::run(std::string("float ") + name, [&] { check_shape<float>(shape, selected, offset); });
  test::run(std::string("double ") + name, [&] { check_shape<double>(shape, selected, offset); });
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  for (const int64_t vertices : {1, 31, 32, 68, 257}) {
    for (const int64_t coefficients : {0, 1, 50, 62}) {
      check_all(1, vertices, coefficients);
      check_all(3, vertices, coefficients);
    }
  }
  for (const int64_t batch : {2, 8, 9, 32, 64, 65}) check_all(batch, 70, 50);
  for (const int64_t coefficients : {32, 33, 64, 65, 128, 160, 199}) {
    check_all(2, 41, coefficients);
    check_all(17, 41, coefficients);
  }
  check_all(1, 5003, 50);
  check_all(10, 701, 50);
  check_all(5, 33, 50, 1);
  check_all(12, 33, 40, 1);
  for (const int64_t selected : {1, 31, 68, 90}) {
    check_all(1, 70, 50, 0, selected);
    check_all(11, 70, 50, 0, selected);
    check_all(3, 70, 70, 0, selected);
  }
  check_all(0, 10, 50);
  check_all(3, 0, 50);
  check_all(2, 0, 0);
  return test::finish();
}
