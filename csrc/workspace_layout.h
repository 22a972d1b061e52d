// Arrays laid out one after the other in a workspace: the same code lays them out and tells how much they take.
#pragma once

#include <cstddef>
#include <cstdint>

#include "math/host_device.h"

namespace frnet {

class WorkspaceLayout {
 public:
  FRNET_HD explicit WorkspaceLayout(void* workspace) : base_(static_cast<unsigned char*>(workspace)) {}

  // The next `count` values, on a boundary of 256 bytes as far as the workspace is; no place where the workspace is
  // null.
  template <typename U>
  FRNET_HD U* take(int64_t count) {
    unsigned char* const at = base_ == nullptr ? nullptr : base_ + bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(U) + 255) / 256 * 256;
    return reinterpret_cast<U*>(at);
  }
  FRNET_HD void* take_bytes(size_t count) { return take<unsigned char>(static_cast<int64_t>(count)); }

  FRNET_HD size_t bytes() const { return bytes_; }

 private:
  unsigned char* base_;
  size_t bytes_ = 0;
};

}  // namespace frnet
