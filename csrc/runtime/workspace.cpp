#include "runtime/workspace.h"

#include <algorithm>
#include <numeric>

namespace frnet::runtime {

namespace {

constexpr int64_t kLineFloats = 16;

int64_t whole_lines(int64_t floats) { return (floats + kLineFloats - 1) / kLineFloats * kLineFloats; }

// The steps between which a tensor has to stay.
struct Life {
  size_t first = SIZE_MAX, last = 0;
};

}  // namespace

std::vector<Size> tensor_sizes(const Plan& plan, Size input) {
  std::vector<Size> sizes(plan.tensors.size());
  sizes[0] = input;
  for (const auto& step : plan.steps) sizes[static_cast<size_t>(step->output)] = step->result(sizes);
  return sizes;
}

Workspace::Workspace(const Plan& plan, Size input, int64_t most, int32_t workers)
    : plan_(plan), sizes_(tensor_sizes(plan, input)), most_(most), views_(plan.tensors.size()) {
  place_tensors();
  for (const auto& step : plan.steps) {
    const Needs needs = step->needs(*plan.kernels, sizes_);
    needs_.scratch = std::max(needs_.scratch, whole_lines(needs.scratch));
    needs_.row_sums = std::max(needs_.row_sums, whole_lines(needs.row_sums));
    needs_.gates = std::max(needs_.gates, whole_lines(needs.gates));
  }
  row_sums_ = AlignedFloats(static_cast<size_t>(most * needs_.row_sums));
  gates_ = AlignedFloats(static_cast<size_t>(most * needs_.gates));
  scratch_ = AlignedFloats(static_cast<size_t>(workers * needs_.scratch));
  for (int32_t worker = 0; worker < workers; ++worker) scratch_of_.push_back(scratch_.data() + worker * needs_.scratch);
}

// Tensors that never live at the same time share memory: the largest first, each at the lowest place that is free.
void Workspace::place_tensors() {
  const size_t count = plan_.tensors.size();
  std::vector<Life> lives(count);
  grouped_.assign(count, false);
  for (size_t number = 0; number < plan_.steps.size(); ++number) {
    const Step& step = *plan_.steps[number];
    std::vector<int> used = step.inputs;
    used.push_back(step.output);
    for (int tensor : used) {
      Life& life = lives[static_cast<size_t>(tensor)];
      life.first = std::min(life.first, number);
      life.last = std::max(life.last, number);
      if (number >= plan_.first_grouped) grouped_[static_cast<size_t>(tensor)] = true;
    }
  }
  for (int tensor : plan_.outputs) lives[static_cast<size_t>(tensor)].last = plan_.steps.size();
  std::vector<int64_t> floats(count);
  for (size_t tensor = 1; tensor < count; ++tensor) {
    const Channels& channels = plan_.tensors[tensor];
    // What holds a group while the first steps run for one image after the other has to stay all that time.
    if (grouped_[tensor] && lives[tensor].first < plan_.first_grouped) lives[tensor].first = 0;
    floats[tensor] =
        whole_lines(channels.blocks() * channels.lanes * sizes_[tensor].pixels()) * (grouped_[tensor] ? most_ : 1);
  }
  std::vector<size_t> order(count - 1), placed;
  std::iota(order.begin(), order.end(), size_t{1});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return floats[a] > floats[b]; });
  offsets_.assign(count, 0);
  int64_t total = 0;
  for (size_t tensor : order) {
    int64_t at = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t other : placed) {
        const bool together = lives[tensor].first <= lives[other].last && lives[other].first <= lives[tensor].last;
        if (together && at < offsets_[other] + floats[other] && offsets_[other] < at + floats[tensor]) {
          at = offsets_[other] + floats[other];
          moved = true;
        }
      }
    }
    offsets_[tensor] = at;
    total = std::max(total, at + floats[tensor]);
    placed.push_back(tensor);
  }
  arena_ = AlignedFloats(static_cast<size_t>(total));
}

// image: which one of a group a tensor's view begins at.
View Workspace::view(size_t tensor, int64_t images, int64_t image) const {
  View view;
  view.size = sizes_[tensor];
  view.image_stride = sizes_[tensor].pixels() * plan_.tensors[tensor].lanes;
  view.block_stride = view.image_stride * (grouped_[tensor] ? images : 1);
  view.data = const_cast<float*>(arena_.data()) + offsets_[tensor] + (grouped_[tensor] ? image * view.image_stride : 0);
  return view;
}

void Workspace::run(const float* planes, int64_t images, Workers& workers, Observer observer, void* context) {
  Frame frame{*plan_.kernels,   workers,         views_.data(), 1,           nullptr, sizes_[0], scratch_of_.data(),
              row_sums_.data(), needs_.row_sums, gates_.data(), needs_.gates};
  const auto run_steps = [&](size_t first, size_t last, int64_t image) {
    for (size_t tensor = 1; tensor < views_.size(); ++tensor) views_[tensor] = view(tensor, images, image);
    for (size_t number = first; number < last; ++number) {
      plan_.steps[number]->run(frame);
      if (observer != nullptr) observer(context, number);
    }
  };
  for (int64_t image = 0; image < images; ++image) {
    frame.planes = planes + image * 3 * sizes_[0].pixels();
    run_steps(0, plan_.first_grouped, image);
  }
  frame.planes = planes;
  frame.images = images;
  run_steps(plan_.first_grouped, plan_.steps.size(), 0);
}

void Workspace::read(int tensor, int64_t images, float* to) const {
  const Channels& channels = plan_.tensors[static_cast<size_t>(tensor)];
  const View from = view(static_cast<size_t>(tensor), images, 0);
  const int64_t pixels = from.size.pixels(), lanes = channels.lanes;
  for (int64_t image = 0; image < images; ++image) {
    for (int64_t c = 0; c < channels.count; ++c) {
      const float* plane = from.data + c / lanes * from.block_stride + image * from.image_stride + c % lanes;
      for (int64_t p = 0; p < pixels; ++p) *to++ = plane[p * lanes];
    }
  }
}

}  // namespace frnet::runtime
