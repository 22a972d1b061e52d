#include "torch/current_stream.h"

#include <dlfcn.h>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/shim_utils.h>

namespace frnet::binding {

namespace {

using GetStream = AOTITorchError (*)(int32_t device_index, void** stream);

// libtorch_cuda is not linked, so that the same binary loads where torch has no CUDA. Where there is a CUDA
// tensor, torch has loaded it.
GetStream find_get_stream() {
  void* torch_cuda = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  void* symbol = torch_cuda == nullptr ? nullptr : dlsym(torch_cuda, "aoti_torch_get_current_cuda_stream");
  STD_TORCH_CHECK(symbol != nullptr,
                  "frnet: this torch gave a CUDA tensor but has no libtorch_cuda to ask for a stream");
  return reinterpret_cast<GetStream>(symbol);
}

void* current_stream(int32_t device_index) {
  static const GetStream get_stream = find_get_stream();
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(get_stream(device_index, &stream));
  return stream;
}

}  // namespace

CurrentStream::CurrentStream(const torch::stable::Tensor& x)
    : guard_(x.get_device_index()), stream_(current_stream(x.get_device_index())) {}

}  // namespace frnet::binding
