#include "emulation.h"

#include <cxxabi.h>
#include <dlfcn.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

// A suspended flow of control. swapcontext would do everywhere, but it makes a system call each time, which
// takes half of the tests' run time, so there is a shorter way for the usual machine.
#if defined(__x86_64__)
struct Context {
  void* stack_pointer = nullptr;
};

extern "C" void frnet_emulation_switch(void** from, void* to);
asm(R"(
.text
.globl frnet_emulation_switch
.type frnet_emulation_switch, @function
frnet_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size frnet_emulation_switch, .-frnet_emulation_switch
)");

static void switch_context(Context& from, Context& to) {
  frnet_emulation_switch(&from.stack_pointer, to.stack_pointer);
}

static void start_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
  const uintptr_t top = (reinterpret_cast<uintptr_t>(stack) + bytes) & ~uintptr_t{15};
  auto** slots = reinterpret_cast<void**>(top) - 8;  // six registers, the return address, and alignment
  std::fill(slots, slots + 8, nullptr);
  slots[6] = reinterpret_cast<void*>(entry);
  context.stack_pointer = slots;
}
#else
using Context = ucontext_t;

static void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

static void start_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}
#endif

namespace frnet {
namespace emulation {
namespace {

constexpr size_t kStackBytes = 192 * 1024;
constexpr unsigned kWarp = 32;
// What every supported device has: sm_75 offers a block no more than 64 KB.
constexpr size_t kMaxSharedBytes = 64 * 1024;

enum class State { unstarted, ready, at_block_barrier, at_warp_exchange, finished };

struct Fibre;

struct Thread {
  uint3 index;
  State state;
  Fibre* fibre;  // the stack it runs on, from its start until it ends
  Site site;     // where it waits
  unsigned mask;
  int source;
  uint64_t bits;
};

// A stack that runs one thread after another, until one of them has to wait.
struct Fibre {
  Context context;
  std::unique_ptr<char[]> stack;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

struct Scheduler {
  Context context;
  void* fake_stack = nullptr;
  const void* stack_bottom = nullptr;
  size_t stack_size = 0;

  const std::function<void()>* body = nullptr;
  std::vector<Thread> threads;
  std::vector<unsigned> order;  // of the threads
  size_t next_unstarted = 0;    // in order
  bool exchange_completed = false;
  Thread* current = nullptr;
  std::exception_ptr error;  // thrown by the current thread
  std::unique_ptr<char[]> shared;

  std::vector<std::unique_ptr<Fibre>> fibres;
  std::vector<Fibre*> idle;
  Fibre* starting = nullptr;  // the one switched to, for its first lines to know itself
  uint64_t seed = 0;
};

Scheduler& scheduler() {
  static Scheduler* instance = [] {
    auto* created = new Scheduler;  // never destroyed: a fibre may still be suspended at exit
    if (const char* seed = std::getenv("FRNET_EMULATION_SEED")) created->seed = std::strtoull(seed, nullptr, 10);
    return created;
  }();
  return *instance;
}

void switch_to_fibre(Scheduler& s, Fibre& fibre) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&s.fake_stack, fibre.stack.get(), kStackBytes);
#endif
  switch_context(s.context, fibre.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(s.fake_stack, nullptr, nullptr);
#endif
}

void switch_to_scheduler(Scheduler& s, Fibre& fibre) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fibre.fake_stack, s.stack_bottom, s.stack_size);
#endif
  switch_context(fibre.context, s.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fibre.fake_stack, nullptr, nullptr);
#endif
}

void run_thread(Scheduler& s) {
  try {
    (*s.body)();
  } catch (...) {
    s.error = std::current_exception();
  }
  s.current->state = State::finished;
}

void fibre_main() {
  Scheduler& s = scheduler();
  Fibre& fibre = *s.starting;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &s.stack_bottom, &s.stack_size);
#endif
  for (;;) {
    while (s.next_unstarted < s.order.size() && !s.error) {
      s.current = &s.threads[s.order[s.next_unstarted++]];
      s.current->fibre = &fibre;
      threadIdx = s.current->index;
      run_thread(s);
    }
    s.idle.push_back(&fibre);
    switch_to_scheduler(s, fibre);
  }
}

Fibre& idle_fibre(Scheduler& s) {
  if (s.idle.empty()) {
    s.fibres.push_back(std::make_unique<Fibre>());
    Fibre& fibre = *s.fibres.back();
    fibre.stack.reset(new char[kStackBytes]);
    start_context(fibre.context, fibre.stack.get(), kStackBytes, fibre_main);
    s.idle.push_back(&fibre);
  }
  s.starting = s.idle.back();
  s.idle.pop_back();
  return *s.starting;
}

void resume(Scheduler& s, Thread& thread) {
  s.current = &thread;
  threadIdx = thread.index;
  switch_to_fibre(s, *thread.fibre);
}

void wait(Scheduler& s, State state, Site site) {
  Thread& thread = *s.current;
  thread.state = state;
  thread.site = site;
  switch_to_scheduler(s, *thread.fibre);
}

bool same_site(Site a, Site b) { return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0); }

std::string to_string(uint3 v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}

std::string to_string(Site site) {
  const char* slash = std::strrchr(site.file, '/');
  return std::string(slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

std::string kernel_name(const void* kernel) {
  Dl_info info;
  if (!dladdr(kernel, &info) || !info.dli_sname) return "(link with -rdynamic to see its name)";
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status),
                                                   &std::free);
  return status == 0 ? name.get() : info.dli_sname;
}

// With an odd seed a warp goes as far as it can before the next one starts; otherwise all warps keep pace.
bool warps_run_ahead(const Scheduler& s) { return s.seed % 2 == 1; }

void shuffle_threads(Scheduler& s, std::mt19937_64& random) {
  std::iota(s.order.begin(), s.order.end(), 0u);
  if (s.seed == 0) return;
  std::shuffle(s.order.begin(), s.order.end(), random);
  if (!warps_run_ahead(s)) return;
  std::vector<unsigned> rank((s.order.size() + kWarp - 1) / kWarp);
  std::iota(rank.begin(), rank.end(), 0u);
  std::shuffle(rank.begin(), rank.end(), random);
  std::stable_sort(s.order.begin(), s.order.end(),
                   [&](unsigned a, unsigned b) { return rank[a / kWarp] < rank[b / kWarp]; });
}

// Frees the block barrier when every thread of the block waits there; says what is wrong when they do not.
std::string complete_block_barrier(Scheduler& s) {
  const Thread& first = s.threads.front();
  const auto with_first = std::count_if(s.threads.begin(), s.threads.end(), [&](const Thread& t) {
    return t.state == State::at_block_barrier && first.state == t.state && same_site(t.site, first.site);
  });
  if (with_first == static_cast<std::ptrdiff_t>(s.threads.size())) {
    for (Thread& thread : s.threads) thread.state = State::ready;
    return "";
  }
  std::string message = "a barrier can never complete:";
  std::vector<std::pair<std::string, int>> places;
  for (const Thread& thread : s.threads) {
    const std::string place = thread.state == State::finished ? "finished"
                              : thread.state == State::at_block_barrier
                                  ? "in __syncthreads at " + to_string(thread.site)
                                  : "in a warp operation at " + to_string(thread.site);
    auto known = std::find_if(places.begin(), places.end(), [&](const auto& p) { return p.first == place; });
    if (known == places.end()) known = places.insert(places.end(), {place + "", 0});
    ++known->second;
  }
  for (const auto& [place, count] : places) message += " " + std::to_string(count) + " threads " + place + ";";
  return message;
}

void run_block(Scheduler& s, const void* kernel) {
  const auto fail = [&](const std::string& what, bool in_thread) {
    std::string message = "kernel " + kernel_name(kernel) + ", block " + to_string(blockIdx);
    if (in_thread) message += ", thread " + to_string(s.current->index);
    // Suspended threads will never be resumed; their stacks go with them.
    s.idle.clear();
    s.fibres.clear();
    s.error = nullptr;
    throw std::runtime_error(message + ": " + what);
  };
  const auto check_error = [&] {
    if (!s.error) return;
    try {
      std::rethrow_exception(s.error);
    } catch (const std::exception& e) {
      fail(e.what(), true);
    }
  };

  // One pass over the threads that may go on; whether there was any. A pass ends early where a warp that has
  // just completed an exchange is to run ahead of the next one.
  const auto run_ready = [&] {
    bool ran = false;
    for (const unsigned i : s.order) {
      if (s.threads[i].state != State::ready) continue;
      s.exchange_completed = false;
      resume(s, s.threads[i]);
      check_error();
      ran = true;
      if (s.exchange_completed && warps_run_ahead(s)) break;
    }
    return ran;
  };

  s.next_unstarted = 0;
  s.exchange_completed = false;
  while (s.next_unstarted < s.threads.size()) {
    switch_to_fibre(s, idle_fibre(s));
    check_error();
    if (!warps_run_ahead(s) || !s.exchange_completed) continue;
    while (run_ready()) {
    }
    s.exchange_completed = false;
  }
  for (;;) {
    if (run_ready()) continue;
    const bool all_finished =
        std::all_of(s.threads.begin(), s.threads.end(), [](const Thread& t) { return t.state == State::finished; });
    if (all_finished) return;
    const std::string problem = complete_block_barrier(s);
    if (!problem.empty()) fail(problem, false);
  }
}

}  // namespace

void set_seed(uint64_t seed) { scheduler().seed = seed; }

void* shared_memory() { return scheduler().shared.get(); }

void check_alignment(const void* pointer, size_t alignment) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0) throw std::runtime_error("misaligned access");
}

int lane() {
  Scheduler& s = scheduler();
  return static_cast<int>((s.current - s.threads.data()) % kWarp);
}

void block_barrier(Site site) { wait(scheduler(), State::at_block_barrier, site); }

// The running thread's warp: its first thread, and how many there are, fewer than 32 where the block is no multiple.
struct Warp {
  Thread* lanes;
  unsigned count;
};

static Warp current_warp(Scheduler& s) {
  Thread* const first = s.current - lane();
  return {first, static_cast<unsigned>(std::min<std::ptrdiff_t>(kWarp, s.threads.data() + s.threads.size() - first))};
}

// Brings bits to where the lanes of mask meet. False where others were still to come: they have come since, and the
// last of them, which gets true, has dealt with this lane and made it ready.
static bool meet(unsigned mask, uint64_t bits, int source, Site site) {
  Scheduler& s = scheduler();
  Thread& thread = *s.current;
  if (!(mask >> lane() & 1)) throw std::runtime_error("the calling lane is not in the mask at " + to_string(site));
  thread.mask = mask;
  thread.source = source;
  thread.bits = bits;
  thread.state = State::at_warp_exchange;
  thread.site = site;

  // Lanes past the end of a block that is no multiple of 32 do not exist and are not waited for. The last ones are
  // looked at first, since in ascending order they are the last to come.
  const Warp warp = current_warp(s);
  for (unsigned i = warp.count; i-- > 0;) {
    if (!(mask >> i & 1)) continue;
    const Thread& other = warp.lanes[i];
    const bool here = other.state == State::at_warp_exchange && other.mask == mask && same_site(other.site, site);
    if (here) continue;
    switch_to_scheduler(s, *thread.fibre);
    return false;
  }
  s.exchange_completed = true;
  return true;
}

uint64_t exchange(unsigned mask, uint64_t bits, int source, Site site) {
  Scheduler& s = scheduler();
  Thread& thread = *s.current;
  if (!meet(mask, bits, source, site)) return thread.bits;
  const Warp warp = current_warp(s);
  uint64_t brought[kWarp];
  for (unsigned i = 0; i < warp.count; ++i) brought[i] = warp.lanes[i].bits;
  for (unsigned i = 0; i < warp.count; ++i) {
    if (!(mask >> i & 1)) continue;
    const auto from = static_cast<unsigned>(warp.lanes[i].source);
    if (from >= warp.count || !(mask >> from & 1)) {
      throw std::runtime_error("a lane reads lane " + std::to_string(from) + ", which takes no part, at " +
                               to_string(site));
    }
    warp.lanes[i].bits = brought[from];
    warp.lanes[i].state = State::ready;
  }
  return thread.bits;
}

void collective(void* mine, const std::function<void(void* const* lanes)>& step, Site site) {
  Scheduler& s = scheduler();
  if (current_warp(s).count != kWarp) throw std::runtime_error("a warp that is not full at " + to_string(site));
  uint64_t bits = 0;
  std::memcpy(&bits, &mine, sizeof mine);
  if (!meet(0xffffffffu, bits, 0, site)) return;
  void* brought[kWarp];
  Thread* const lanes = current_warp(s).lanes;
  for (unsigned i = 0; i < kWarp; ++i) std::memcpy(&brought[i], &lanes[i].bits, sizeof brought[i]);
  step(brought);
  for (unsigned i = 0; i < kWarp; ++i) lanes[i].state = State::ready;
}

void run(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  Scheduler& s = scheduler();
  const size_t threads = static_cast<size_t>(block.x) * block.y * block.z;
  const size_t blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
  const auto refuse = [&](const char* what) {
    throw std::runtime_error("kernel " + kernel_name(kernel) + ": " + what);
  };
  if (threads == 0 || blocks == 0) refuse("empty grid or block");
  if (threads > 1024) refuse("more than 1024 threads in a block");
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) refuse("grid too large");
  if (shared_bytes > kMaxSharedBytes) refuse("more shared memory than every supported device has");

  s.body = &body;
  gridDim = grid;
  blockDim = block;
  s.threads.resize(threads);
  s.order.resize(threads);
  std::vector<size_t> block_order(blocks);
  std::iota(block_order.begin(), block_order.end(), size_t{0});
  std::mt19937_64 random(s.seed);
  if (s.seed != 0) std::shuffle(block_order.begin(), block_order.end(), random);

  for (const size_t b : block_order) {
    blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                static_cast<unsigned>(b / grid.x / grid.y)};
    for (unsigned t = 0; t < threads; ++t) {
      s.threads[t] = Thread{};
      s.threads[t].index = {t % block.x, t / block.x % block.y, t / block.x / block.y};
    }
    shuffle_threads(s, random);
    s.shared.reset(new char[shared_bytes]);
    std::memset(s.shared.get(), 0xff, shared_bytes);
    run_block(s, kernel);
  }
  s.shared.reset();
}

}  // namespace emulation
}  // namespace frnet
