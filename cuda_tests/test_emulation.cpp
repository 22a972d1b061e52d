// The host emulation itself: that barriers, shuffles, shared memory and matrix units behave, that the mistakes it is
// there to catch are caught, and that the 16-bit conversions, which every other test relies on, are right.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cuda/launch.cuh"
#include "cuda/mma.cuh"
#include "cuda/reduce.cuh"
#include "device_buffer.h"

namespace kernels {

using frnet::cuda::shared_memory;

// out[op * threads + t]; the value a thread brings is 100 + its index.
__global__ void shuffles_kernel(int* out) {
  const int value = 100 + static_cast<int>(threadIdx.x);
  int* to = out + threadIdx.x;
  const unsigned all = 0xffffffffu;
  to[0 * blockDim.x] = __shfl_sync(all, value, 5);
  to[1 * blockDim.x] = __shfl_sync(all, value, 3, 8);
  to[2 * blockDim.x] = __shfl_xor_sync(all, value, 9);
  to[3 * blockDim.x] = __shfl_down_sync(all, value, 3);
  to[4 * blockDim.x] = __shfl_down_sync(all, value, 3, 8);
  to[5 * blockDim.x] = __shfl_up_sync(all, value, 2);
  to[6 * blockDim.x] = __shfl_up_sync(all, value, 2, 16);
  to[7 * blockDim.x] = frnet::cuda::warp_sum<32>(value);
  to[8 * blockDim.x] = frnet::cuda::warp_sum<4>(value);
  to[9 * blockDim.x] = static_cast<int>(__ballot_sync(all, value % 3 == 0));
  to[10 * blockDim.x] = __ffs(to[9 * blockDim.x]);
}

// The largest of what the threads bring.
__global__ void largest_kernel(unsigned long long* out) { atomicMax(out, 1ull << 40 | (threadIdx.x * 7 % 97)); }

// out[count][t]: what warp_reduce_scatter gives for 2 and 16 values, value i of a thread being 1000 * i + its index.
__global__ void reduce_scatter_kernel(int* out) {
  const int t = static_cast<int>(threadIdx.x);
  int values[16];
  for (int i = 0; i < 16; ++i) values[i] = 1000 * i + t;
  const int two[2] = {values[0], values[1]};
  out[t] = frnet::cuda::warp_reduce_scatter(two);
  out[blockDim.x + t] = frnet::cuda::warp_reduce_scatter(values);
}

// Where element i of a lane's operand stands, as the PTX ISA puts it for mma.m16n8k8 (one tf32 in a register) and
// m16n8k16 (two bfloat16).
struct Place {
  int row;
  int column;
};
Place place_in_a(int per_word, int lane, int i) {
  const int group = lane / 4, in_group = lane % 4;
  if (per_word == 1) return {i % 2 == 0 ? group : group + 8, i < 2 ? in_group : in_group + 4};
  return {i < 2 || (i >= 4 && i < 6) ? group : group + 8, in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
Place place_in_b(int per_word, int lane, int i) {
  const int group = lane / 4, in_group = lane % 4;
  if (per_word == 1) return {i == 0 ? in_group : in_group + 4, group};
  return {in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0), group};
}
Place place_in_d(int lane, int i) { return {i < 2 ? lane / 4 : lane / 4 + 8, lane % 4 * 2 + (i & 1)}; }

// d[16, 8] += a[16, depth] * b[depth, 8].
template <typename Format>
__global__ void product_kernel(const float* a, const float* b, float* d) {
  constexpr int kPerWord = Format::kPerWord;
  const int lane = static_cast<int>(threadIdx.x);
  uint32_t words_a[4], words_b[2];
  for (int r = 0; r < 4; ++r) {
    words_a[r] = Format::pack([&](int i) {
      const Place at = place_in_a(kPerWord, lane, r * kPerWord + i);
      return a[at.row * 8 * kPerWord + at.column];
    });
  }
  for (int r = 0; r < 2; ++r) {
    words_b[r] = Format::pack([&](int i) {
      const Place at = place_in_b(kPerWord, lane, r * kPerWord + i);
      return b[at.row * 8 + at.column];
    });
  }
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[place_in_d(lane, i).row * 8 + place_in_d(lane, i).column];
  Format::multiply_add(sums, words_a, words_b);
  for (int i = 0; i < 4; ++i) d[place_in_d(lane, i).row * 8 + place_in_d(lane, i).column] = sums[i];
}

// Four matrices of eight rows of 16 bytes, one after the other in `from` as 2-byte values: out[m][lane] what each lane
// gets of them, and in the second half transposed.
__global__ void load_matrices_kernel(const uint16_t* from, uint32_t* out) {
  auto* const shared = shared_memory<uint32_t>();
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 4 * 8 * 4; i += 32) shared[i] = from[2 * i] | static_cast<uint32_t>(from[2 * i + 1]) << 16;
  __syncthreads();
  uint32_t r[2][4];
  frnet::cuda::load_matrices(shared + 4 * lane, r[0]);
  frnet::cuda::load_matrices_transposed(shared + 4 * lane, r[1]);
  for (int i = 0; i < 8; ++i) out[i * 32 + lane] = r[i / 4][i % 4];
}

__global__ void half_warp_product_kernel() {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  frnet::cuda::Tf32::multiply_add(d, a, b);
}

// Half a warp shuffles among itself, the other half does not take part.
__global__ void partial_mask_kernel(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(0xffffu, static_cast<int>(threadIdx.x), 1);
}

__global__ void reverse_kernel(int* out, bool with_barrier) {
  int* shared = shared_memory<int>();
  const int threads = static_cast<int>(blockDim.x);
  const int t = static_cast<int>(threadIdx.x);
  for (int round = 0; round < 3; ++round) {
    shared[t] = t + round;
    if (with_barrier) __syncthreads();
    out[(blockIdx.x * 3 + round) * threads + t] = shared[threads - 1 - t];
    if (with_barrier) __syncthreads();
  }
}

template <typename T>
__global__ void read_shared_kernel(T* out) {
  out[threadIdx.x] = shared_memory<T>()[threadIdx.x];
}

__global__ void two_barriers_kernel() {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void early_exit_kernel() {
  if (threadIdx.x == 7) return;
  __syncthreads();
}

__global__ void missing_lane_kernel() {
  if (threadIdx.x != 3) __shfl_xor_sync(0xffffffffu, 1, 1);
}

__global__ void outside_mask_kernel() { __shfl_xor_sync(0xffffu, 1, 1); }

__global__ void read_absent_lane_kernel() {
  if (threadIdx.x < 16) __shfl_sync(0xffffu, 1, 20);
}

__global__ void misaligned_kernel(const float* from) {
  if (blockIdx.x == 2 && threadIdx.x == 1) frnet::cuda::load_pack(from + 1);
}

__global__ void order_kernel(std::vector<unsigned>* order) { order->push_back(blockIdx.x * blockDim.x + threadIdx.x); }

__global__ void index_kernel(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  ++out[block * blockDim.x * blockDim.y * blockDim.z + thread];
}

__global__ void copy_kernel(const float* from, float* to, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) to[i] = from[i];
}

__global__ void write_shared_kernel(int at) { shared_memory<float>()[at] = 1; }

}  // namespace kernels

namespace {

using frnet::bfloat16;
using frnet::float16;
using frnet::cuda::launch;
using test::DeviceBuffer;
using test::require;

const uint64_t kSeeds[] = {0, 1, 2, 3};

// Expects the launch to fail with a message that holds every one of these.
template <typename F>
void require_error(const F& body, std::initializer_list<const char*> parts) {
  std::string message;
  try {
    body();
  } catch (const std::exception& error) {
    message = error.what();
  }
  require(!message.empty(), "no error was reported");
  for (const char* part : parts) {
    require(message.find(part) != std::string::npos, "the message '" + message + "' does not say '" + part + "'");
  }
}

void check_shuffles() {
  constexpr int kThreads = 64;
  DeviceBuffer<int> out(11 * kThreads);
  launch(kernels::shuffles_kernel, dim3(1), dim3(kThreads), 0, nullptr, out.data());
  const std::vector<int> got = out.download();
  for (int t = 0; t < kThreads; ++t) {
    const int lane = t % 32;
    const int warp = t - lane;
    const int group = t / 4 * 4;
    const int sources[] = {warp + 5,
                           t / 8 * 8 + 3,
                           warp + (lane ^ 9),
                           lane + 3 < 32 ? t + 3 : t,
                           t % 8 + 3 < 8 ? t + 3 : t,
                           lane >= 2 ? t - 2 : t,
                           t % 16 >= 2 ? t - 2 : t};
    for (int op = 0; op < 7; ++op) {
      require(got[op * kThreads + t] == 100 + sources[op],
              "operation " + std::to_string(op) + ", thread " + std::to_string(t));
    }
    require(got[7 * kThreads + t] == 32 * 100 + 32 * warp + 31 * 16, "sum of 32");
    require(got[8 * kThreads + t] == 4 * 100 + 4 * group + 6, "sum of 4");
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i) votes |= (100 + warp + i) % 3 == 0 ? 1u << i : 0;
    require(static_cast<unsigned>(got[9 * kThreads + t]) == votes, "ballot");
    require(got[10 * kThreads + t] == (warp == 0 ? 3 : 1), "first of a ballot");  // 102; 132
  }
  DeviceBuffer<unsigned long long> largest(std::vector<unsigned long long>{5});
  launch(kernels::largest_kernel, dim3(1), dim3(97), 0, nullptr, largest.data());
  require(largest.download()[0] == (1ull << 40 | 96), "atomic maximum");
  DeviceBuffer<int> half(16);
  launch(kernels::partial_mask_kernel, dim3(1), dim3(32), 0, nullptr, half.data());
  const std::vector<int> half_got = half.download();
  for (int t = 0; t < 16; ++t) require(half_got[t] == (t ^ 1), "partial mask");
}

void check_reduce_scatter() {
  DeviceBuffer<int> out(2 * 64);
  launch(kernels::reduce_scatter_kernel, dim3(1), dim3(64), 0, nullptr, out.data());
  const std::vector<int> got = out.download();
  for (int t = 0; t < 64; ++t) {
    const int lanes = 32 * (t / 32 * 32) + 31 * 16;
    require(got[t] == 32 * 1000 * (t % 32 / 16) + lanes, "two values, thread " + std::to_string(t));
    require(got[64 + t] == 32 * 1000 * (t % 32 / 2) + lanes, "sixteen values, thread " + std::to_string(t));
  }
}

// The value that a format keeps of one.
template <typename Format>
double kept(float value) {
  return Format::value(Format::pack([&](int) { return value; }), 0);
}

// Against the plain product of the kept values: of float sums of 8 or 16 terms less than 1.
template <typename Format>
void check_product() {
  constexpr int kDepth = 8 * Format::kPerWord;
  const auto a = test::random_values<float>(16 * kDepth, 1), b = test::random_values<float>(8 * kDepth, 2);
  const auto before = test::random_values<float>(16 * 8, 3);
  DeviceBuffer<float> d_a(a), d_b(b), d_d(before);
  launch(kernels::product_kernel<Format>, dim3(1), dim3(32), 0, nullptr, d_a.data(), d_b.data(), d_d.data());
  const std::vector<float> got = d_d.download();
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      double want = before[row * 8 + column];
      for (int k = 0; k < kDepth; ++k) want += kept<Format>(a[row * kDepth + k]) * kept<Format>(b[k * 8 + column]);
      require(std::fabs(got[row * 8 + column] - want) < 2e-6,
              "at " + std::to_string(row) + ", " + std::to_string(column));
    }
  }
}

void check_load_matrices() {
  std::vector<uint16_t> values(4 * 8 * 8);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(i);
  DeviceBuffer<uint16_t> from(values);
  DeviceBuffer<uint32_t> out(8 * 32);
  launch(kernels::load_matrices_kernel, dim3(1), dim3(32), 512, nullptr, from.data(), out.data());
  const std::vector<uint32_t> got = out.download();
  for (uint32_t m = 0; m < 4; ++m) {
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint32_t row = lane / 4, pair = 2 * (lane % 4);
      const auto value = [&](uint32_t r, uint32_t c) { return 64 * m + 8 * r + c; };
      require(got[m * 32 + lane] == (value(row, pair) | value(row, pair + 1) << 16), "as they are");
      require(got[(4 + m) * 32 + lane] == (value(pair, row) | value(pair + 1, row) << 16), "transposed");
    }
  }
}

bool reverse_is_right(bool with_barrier) {
  constexpr int kThreads = 70;  // a last warp that is not full
  constexpr int kBlocks = 3;
  DeviceBuffer<int> out(kBlocks * 3 * kThreads);
  launch(kernels::reverse_kernel, dim3(kBlocks), dim3(kThreads), kThreads * sizeof(int), nullptr, out.data(),
         with_barrier);
  const std::vector<int> got = out.download();
  for (size_t i = 0; i < got.size(); ++i) {
    const int round = static_cast<int>(i) / kThreads % 3;
    if (got[i] != kThreads - 1 - static_cast<int>(i) % kThreads + round) return false;
  }
  return true;
}

template <typename T>
void require_poisoned(const char* type) {
  DeviceBuffer<T> out(32);
  launch(kernels::read_shared_kernel<T>, dim3(1), dim3(32), 32 * sizeof(T), nullptr, out.data());
  for (const T value : out.download()) {
    require(std::isnan(static_cast<double>(frnet::math::widen(value))), std::string(type) + " is not NaN");
  }
}

std::vector<unsigned> order_of(uint64_t seed) {
  test::set_seed(seed);
  std::vector<unsigned> order;
  launch(kernels::order_kernel, dim3(8), dim3(16), 0, nullptr, &order);
  test::set_seed(0);
  return order;
}

void check_order() {
  const std::vector<unsigned> ascending = order_of(0);
  for (unsigned i = 0; i < ascending.size(); ++i) require(ascending[i] == i, "seed 0 is not ascending");
  std::vector<unsigned> shuffled = order_of(1);
  require(shuffled == order_of(1), "the same seed gives two orders");
  require(shuffled != order_of(2) && shuffled != ascending, "two seeds give one order");
  std::sort(shuffled.begin(), shuffled.end());
  require(shuffled == ascending, "not every thread ran once");
}

void check_indices() {
  const dim3 grid(3, 4, 2);
  const dim3 block(5, 3, 2);
  std::vector<unsigned> out(24 * 30);
  launch(kernels::index_kernel, grid, block, 0, nullptr, out.data());
  for (const unsigned count : out) require(count == 1, "an index was not visited exactly once");
}

// ---------------------------------------------------------------------------------------- 16-bit conversions

// Rounds to nearest even with so many stored mantissa bits and this smallest normal exponent, in double.
double round_to_format(float value, int mantissa_bits, int smallest_exponent, double largest) {
  if (value == 0 || std::isnan(value) || std::isinf(value)) return value;
  const int exponent = std::max(std::ilogb(value), smallest_exponent);
  const double quantum = std::ldexp(1.0, exponent - mantissa_bits);
  const double rounded = std::nearbyint(value / quantum) * quantum;
  return std::fabs(rounded) > largest ? std::copysign(std::numeric_limits<double>::infinity(), value) : rounded;
}

// The value a bit pattern stands for, from the definition of the format.
double decode(uint16_t bits, int mantissa_bits, int bias) {
  const int exponent = (bits & 0x7fff) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  if (exponent == 2 * bias + 1) return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

template <typename T>
void check_conversions(int mantissa_bits, int bias) {
  const int smallest_exponent = 1 - bias;
  const double largest = std::ldexp(2.0 - std::ldexp(1.0, -mantissa_bits), bias);
  const auto check_narrow = [&](float value) {
    const double got = decode(frnet::math::narrow<T>(value).bits, mantissa_bits, bias);
    const double want = round_to_format(value, mantissa_bits, smallest_exponent, largest);
    char message[100];
    std::snprintf(message, sizeof message, "narrow(%a) = %a, want %a", static_cast<double>(value), got, want);
    require(same(got, want), message);
#if defined(__FLT16_MANT_DIG__)
    if (std::is_same<T, float16>::value) {
      const double native = static_cast<double>(static_cast<float>(static_cast<_Float16>(value)));
      require(same(got, native), std::string(message) + " by the compiler's _Float16");
    }
#endif
  };
  for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const T value{static_cast<uint16_t>(pattern)};
    const double want = decode(value.bits, mantissa_bits, bias);
    const float widened = frnet::math::widen(value);
    require(same(widened, want), "widen of pattern " + std::to_string(pattern));
    if (!std::isnan(widened)) {
      require(frnet::math::narrow<T>(widened).bits == value.bits, "round trip of pattern " + std::to_string(pattern));
    }
    // Halfway to the next value, and one float to either side of that.
    const double next = decode(static_cast<uint16_t>(pattern + 1), mantissa_bits, bias);
    if (!std::isfinite(want) || !std::isfinite(next)) continue;
    const auto middle = static_cast<float>((want + next) / 2);
    check_narrow(middle);
    check_narrow(std::nextafter(middle, 0.0f));
    check_narrow(std::nextafter(middle, 2 * middle));
  }
  std::mt19937 random(1);
  for (int i = 0; i < 300000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    float value;
    std::memcpy(&value, &bits, sizeof value);
    check_narrow(value);
  }
  check_narrow(65520.0f);
  check_narrow(std::nextafter(65520.0f, 0.0f));
  check_narrow(std::numeric_limits<float>::max());
  check_narrow(std::numeric_limits<float>::infinity());
  check_narrow(std::numeric_limits<float>::denorm_min());
  check_narrow(-0.0f);
}

// 10 stored bits of mantissa, ties away from zero.
void check_tf32(float value) {
  const double got = kept<frnet::cuda::Tf32>(value);
  double want = value;
  if (std::isfinite(value) && value != 0) {
    const double quantum = std::ldexp(1.0, std::max(std::ilogb(value), -126) - 10);
    want = static_cast<float>(std::round(value / quantum) * quantum);
  }
  char message[100];
  std::snprintf(message, sizeof message, "%a becomes %a, want %a", static_cast<double>(value), got, want);
  require(same(got, want), message);
}

void check_tf32_rounding() {
  const float infinity = std::numeric_limits<float>::infinity();
  std::mt19937 random(1);
  for (int i = 0; i < 100000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    float value;
    std::memcpy(&value, &bits, sizeof value);
    check_tf32(value);
    if (!std::isfinite(value)) continue;
    const uint32_t middle_bits = (bits & ~0x1fffu) | 0x1000u;
    float middle;
    std::memcpy(&middle, &middle_bits, sizeof middle);
    check_tf32(middle);
    check_tf32(std::nextafter(middle, 0.0f));
    check_tf32(std::nextafter(middle, middle > 0 ? infinity : -infinity));
  }
  for (const float value : {0.0f, -0.0f, infinity, -infinity, std::numeric_limits<float>::max(),
                            std::numeric_limits<float>::denorm_min(), std::nanf("")}) {
    check_tf32(value);
  }
}

// ------------------------------------------------------------------------------------ AddressSanitizer twins

// What these do wrong must end the process, so each runs in one of its own.
int do_wrong(const std::string& what) {
  DeviceBuffer<float> from(10), to(11);
  if (what == "read") launch(kernels::copy_kernel, dim3(1), dim3(32), 0, nullptr, from.data(), to.data(), 11);
  if (what == "write") launch(kernels::copy_kernel, dim3(1), dim3(32), 0, nullptr, to.data(), from.data(), 11);
  if (what == "shared") launch(kernels::write_shared_kernel, dim3(1), dim3(1), 32 * sizeof(float), nullptr, 32);
  return 0;
}

#if defined(__SANITIZE_ADDRESS__)
void require_sanitizer_report(const std::string& program, const std::string& what) {
  FILE* pipe = popen(("'" + program + "' --do-wrong " + what + " 2>&1").c_str(), "r");
  require(pipe != nullptr, "cannot start " + program);
  std::string output;
  char line[512];
  while (std::fgets(line, sizeof line, pipe)) output += line;
  require(pclose(pipe) != 0, "the process succeeded");
  require(output.find("heap-buffer-overflow") != std::string::npos, "no report, but: " + output);
}
#endif

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--do-wrong") return do_wrong(argv[2]);

  for (const uint64_t seed : kSeeds) {
    test::set_seed(seed);
    const std::string name = " with seed " + std::to_string(seed);
    test::run("shuffles" + name, check_shuffles);
    test::run("sums of several values" + name, check_reduce_scatter);
    test::run("a product of tf32" + name, check_product<frnet::cuda::Tf32>);
    test::run("a product of bfloat16" + name, check_product<frnet::cuda::Bfloat16>);
    test::run("loads of matrices" + name, check_load_matrices);
    test::run("barriers" + name, [] { require(reverse_is_right(true), "wrong values"); });
    test::run("a missing barrier shows" + name, [] { require(!reverse_is_right(false), "it does not"); });
    test::run("indices" + name, check_indices);
  }
  test::set_seed(0);
  test::run("order", check_order);

  test::run("uninitialised shared memory", [] {
    require_poisoned<float>("float");
    require_poisoned<double>("double");
    require_poisoned<float16>("float16");
    require_poisoned<bfloat16>("bfloat16");
  });
  test::run("two different barriers", [] {
    require_error([] { launch(kernels::two_barriers_kernel, dim3(2), dim3(32), 0, nullptr); },
                  {"two_barriers_kernel", "block (0, 0, 0)", "can never complete", "16 threads in __syncthreads",
                   "test_emulation.cpp"});
  });
  test::run("a thread that exits before a barrier", [] {
    require_error([] { launch(kernels::early_exit_kernel, dim3(1), dim3(32), 0, nullptr); },
                  {"early_exit_kernel", "can never complete", "1 threads finished", "31 threads in __syncthreads"});
  });
  test::run("a shuffle that a lane misses", [] {
    require_error([] { launch(kernels::missing_lane_kernel, dim3(1), dim3(32), 0, nullptr); },
                  {"missing_lane_kernel", "can never complete", "31 threads in a warp operation"});
  });
  test::run("a shuffle from outside its mask", [] {
    require_error([] { launch(kernels::outside_mask_kernel, dim3(1), dim3(32), 0, nullptr); },
                  {"outside_mask_kernel", "thread (16, 0, 0)", "not in the mask"});
  });
  test::run("a shuffle that reads an absent lane", [] {
    require_error([] { launch(kernels::read_absent_lane_kernel, dim3(1), dim3(32), 0, nullptr); }, {"reads lane 20"});
  });
  test::run("a product by half a warp", [] {
    require_error([] { launch(kernels::half_warp_product_kernel, dim3(1), dim3(16), 0, nullptr); },
                  {"half_warp_product_kernel", "not full"});
  });
  test::run("a misaligned access names its thread", [] {
    DeviceBuffer<float> from(8);
    require_error([&] { launch(kernels::misaligned_kernel, dim3(3), dim3(4), 0, nullptr, from.data()); },
                  {"misaligned_kernel", "block (2, 0, 0)", "thread (1, 0, 0)", "misaligned"});
  });
  test::run("limits of a launch", [] {
    const auto try_launch = [](dim3 grid, dim3 block, size_t shared) {
      return [=] { launch(kernels::two_barriers_kernel, grid, block, shared, nullptr); };
    };
    require_error(try_launch(dim3(1), dim3(1025), 0), {"1024 threads"});
    require_error(try_launch(dim3(1, 65536), dim3(1), 0), {"grid too large"});
    require_error(try_launch(dim3(0), dim3(1), 0), {"empty grid"});
    require_error(try_launch(dim3(1), dim3(1), 100 * 1024), {"shared memory"});
  });
  test::run("work goes on after an error", [] { require(reverse_is_right(true), "wrong values"); });

  test::run("float16 conversions", [] { check_conversions<float16>(10, 15); });
  test::run("bfloat16 conversions", [] { check_conversions<bfloat16>(7, 127); });
  test::run("rounding to tf32", check_tf32_rounding);

#if defined(__SANITIZE_ADDRESS__)
  for (const char* what : {"read", "write", "shared"}) {
    test::run(std::string("AddressSanitizer sees an out-of-bounds ") + what,
              [&] { require_sanitizer_report(argv[0], what); });
  }
#else
  (void)argv;
#endif
  return test::finish();
}
