// The parameters of the two gates, checked.
#pragma once

#include "frnet/se_gate.h"
#include "frnet/sge_gate.h"
#include "torch/convolution.h"

namespace frnet::binding {

// A tensor like x, dense in its layout.
inline Tensor check_like(const char* op, const Tensor& gradient, const Tensor& x, Layout layout) {
  STD_TORCH_CHECK(gradient.dim() == 4 && gradient.size(0) == x.size(0) && gradient.size(1) == x.size(1) &&
                      gradient.size(2) == x.size(2) && gradient.size(3) == x.size(3),
                  op, ": the gradient does not fit the output");
  STD_TORCH_CHECK(gradient.scalar_type() == x.scalar_type() && gradient.device() == x.device(), op,
                  ": the gradient differs from x in dtype or device");
  return dense(gradient, layout);
}

struct SgeArguments {
  Tensor weight, bias;

  SgeArguments(const char* op, const Tensor& weight, const Tensor& bias, int64_t groups, const Tensor& x)
      : weight(check_values(op, "the gate's weight", weight, groups, x)),
        bias(check_values(op, "the gate's bias", bias, groups, x)) {}
  SgeArguments(const char* op, const Tensor& weight, const Tensor& bias, int64_t groups, const Convolution& conv)
      : SgeArguments(op, weight, bias, groups, conv.x) {
    STD_TORCH_CHECK(groups > 0 && conv.shape.channels % groups == 0, op, ": groups must divide the channels");
  }

  template <typename A>
  SgeGate<A> get() const {
    return {data<A>(weight), data<A>(bias)};
  }
};

#define FRNET_SE_SCHEMA(activation) "Tensor w1, Tensor? b1, Tensor w2, Tensor? b2, int " activation ", int gate"
#define FRNET_SE_PARAMETERS \
  Tensor w1, std::optional<Tensor> b1, Tensor w2, std::optional<Tensor> b2, int64_t se_activation, int64_t gate
#define FRNET_SE_ARGUMENTS w1, b1, w2, b2, se_activation, gate

struct SeArguments {
  Tensor w1, w2;
  std::optional<Tensor> b1, b2;
  Activation activation;
  GateFunction gate;
  int64_t squeezed;

  SeArguments(const char* op, int64_t channels, const Tensor& x, FRNET_SE_PARAMETERS)
      : w1(w1), w2(w2), activation(check_activation(op, se_activation)) {
    STD_TORCH_CHECK(w1.dim() == 2 && w1.size(1) == channels, op, ": wanted w1 [squeezed, channels]");
    squeezed = w1.size(0);
    STD_TORCH_CHECK(w2.dim() == 2 && w2.size(0) == channels && w2.size(1) == squeezed, op,
                    ": wanted w2 [channels, squeezed]");
    for (const Tensor& w : {w1, w2}) {
      STD_TORCH_CHECK(
          w.scalar_type() == accumulation_dtype(x.scalar_type()) && w.device() == x.device(), op,
          ": w1 and w2 must be of the accumulation type (float32, or float64 where x is) and on x's device");
    }
    this->w1 = torch::stable::contiguous(w1);
    this->w2 = torch::stable::contiguous(w2);
    this->b1 = check_values(op, "b1", b1, squeezed, x);
    this->b2 = check_values(op, "b2", b2, channels, x);
    STD_TORCH_CHECK(gate == 0 || gate == 1, op, ": no gate function ", gate);
    this->gate = static_cast<GateFunction>(gate);
  }

  template <typename A>
  SeGate<A> get() const {
    return {data<A>(w1), data_or_null<A>(b1), data<A>(w2), data_or_null<A>(b2), activation, gate};
  }
};

// Of a layer that is not there: an empty tensor.
struct SeGradients {
  Tensor w1, b1, w2, b2;

  SeGradients(const SeArguments& se, const Tensor& x)
      : w1(torch::stable::empty_like(se.w1)),
        b1(like(se.b1, x)),
        w2(torch::stable::empty_like(se.w2)),
        b2(like(se.b2, x)) {}

  template <typename A>
  SeGateGradient<A> get() const {
    return {wanted<A>(w1), wanted<A>(b1), wanted<A>(w2), wanted<A>(b2)};
  }

 private:
  static Tensor like(const std::optional<Tensor>& values, const Tensor& x) {
    const int64_t none[] = {0};
    return values ? torch::stable::empty_like(*values) : empty(none, accumulation_dtype(x.scalar_type()), x);
  }
};

}  // namespace frnet::binding
