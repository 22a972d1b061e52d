// The SGE gate and its gradient on tensors from files, for golden_sge_gate.py to compare with its authors' own results.
//
// The folder given as argument holds cases.txt, a line "name batch channels pixels groups layout" for each case (layout
// 0: nchw, 1: channels_last), and little-endian float32 files name.x, name.weight, name.bias and name.grad_y. The
// results are written beside them: name.y, name.grad_x, name.grad_weight and name.grad_bias.
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "device_buffer.h"
#include "frnet/sge_gate.h"

namespace {

std::vector<float> read(const std::string& path, size_t count) {
  std::vector<float> values(count);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(float)));
  if (!file || file.peek() != std::ifstream::traits_type::eof()) throw std::runtime_error("wrong size: " + path);
  return values;
}

void write(const std::string& path, const std::vector<float>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

void run_case(const std::string& prefix, const frnet::SgeGateShape& s) {
  const auto size = static_cast<size_t>(s.batch * s.channels * s.pixels);
  const auto groups = static_cast<size_t>(s.groups);
  test::DeviceBuffer<float> x(read(prefix + ".x", size)), grad_y(read(prefix + ".grad_y", size));
  test::DeviceBuffer<float> weight(read(prefix + ".weight", groups)), bias(read(prefix + ".bias", groups));
  test::DeviceBuffer<float> y(size), grad_x(size), grad_weight(groups), grad_bias(groups);
  test::DeviceBuffer<unsigned char> workspace(launchers::sge_gate_workspace<float>(s));
  const frnet::SgeGate<float> gate{weight.data(), bias.data()};
  launchers::sge_gate<float>(x.data(), gate, y.data(), s, workspace.data(), test::kExecution);
  launchers::sge_gate_backward<float>(grad_y.data(), x.data(), gate, grad_x.data(), grad_weight.data(),
                                      grad_bias.data(), s, workspace.data(), test::kExecution);
  write(prefix + ".y", y.download());
  write(prefix + ".grad_x", grad_x.download());
  write(prefix + ".grad_weight", grad_weight.download());
  write(prefix + ".grad_bias", grad_bias.download());
}

}  // namespace

int main(int argc, char** argv) {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  try {
    const std::string folder = argv[1];
    std::ifstream cases(folder + "/cases.txt");
    std::string name;
    frnet::SgeGateShape shape;
    int layout;
    int count = 0;
    while (cases >> name >> shape.batch >> shape.channels >> shape.pixels >> shape.groups >> layout) {
      shape.layout = layout == 0 ? frnet::Layout::nchw : frnet::Layout::channels_last;
      run_case(folder + "/" + name, shape);
      ++count;
    }
    if (count == 0) throw std::runtime_error("no cases in " + folder);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
