// Work is spread over torch's own threads: a second pool in the process would
// compete with it for the cores.
#include "internal.h"

#include <atomic>
#include <cstdlib>
#include <thread>

#if defined(REGARD_PORTABLE)
// The runtime's own does just this where the C library is glibc, and asks for a
// newer one than we need.
extern "C" int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern "C" int __cxa_thread_atexit(void (*end)(void *), void *object, void *library) {
  return __cxa_thread_atexit_impl(end, object, library);
}
#endif

namespace regard {
namespace {

std::atomic<regard_parallel_for> torch_parallel_for{nullptr};

// Starting a thread's share costs about 5 microseconds; below this many
// operations a share is not worth it.
constexpr double kOperationsPerThread = 1e6;
constexpr size_t kKeptBytes = size_t(2) << 20;

// Scratch kept between the calls of one thread. A fresh allocation of this
// size is mapped and unmapped by the C library each time, and its page faults
// cost more than a short call. Safe after fork (plain memory of the thread,
// no lock, no thread of its own), bounded by kKeptBytes, freed with the thread.
struct Scratch {
  unsigned char *data = nullptr;
  size_t size = 0;
  ~Scratch() { release(data); }

  unsigned char *at_least(size_t bytes) {
    if (size >= bytes)
      return data;
    release(data);
    data = static_cast<unsigned char *>(allocate(bytes));
    size = data ? bytes : 0;
    return data;
  }
  void shrink() {
    if (size <= kKeptBytes)
      return;
    release(data);
    data = nullptr;
    size = 0;
  }
};

thread_local Scratch scratch;

struct Work {
  std::atomic<int64_t> next{0};
  std::atomic<bool> no_memory{false};
  int64_t items;
  size_t scratch_bytes;
  Body body;
  const void *context;
};

void take_items(int64_t, int64_t, void *opaque) {
  Work &work = *static_cast<Work *>(opaque);
  unsigned char *memory = scratch.at_least(work.scratch_bytes);
  if (!memory) {
    work.no_memory.store(true);
    return;
  }
  for (;;) {
    const int64_t item = work.next.fetch_add(1, std::memory_order_relaxed);
    if (item >= work.items)
      break;
    work.body(item, memory, work.context);
  }
  scratch.shrink();
}

} // namespace

int for_each_item(int64_t items, double cost, size_t scratch_bytes, Body body,
                  const void *context) {
  if (items <= 0)
    return REGARD_OK;
  Work work;
  work.items = items;
  work.scratch_bytes = scratch_bytes ? scratch_bytes : 64;
  work.body = body;
  work.context = context;

  const double shares = cost / kOperationsPerThread;
  const regard_parallel_for parallel_for = torch_parallel_for.load();
  if (parallel_for && items > 1 && shares >= 2) {
    int64_t grain = int64_t(double(items) / shares);
    grain = grain < 1 ? 1 : grain;
    if (parallel_for(0, items, grain, take_items, &work) != 0)
      return fail(REGARD_INTERNAL, "torch_parallel_for failed");
  } else {
    take_items(0, items, &work);
  }
  if (work.no_memory.load())
    return fail(REGARD_OUT_OF_MEMORY, "no memory for %zu bytes of scratch per thread",
                scratch_bytes);
  return REGARD_OK;
}

// Spins first: the work waited for is about as long as what was just done.
void wait_for(const int32_t *counter, int32_t least) {
  for (int tries = 0; __atomic_load_n(counter, __ATOMIC_ACQUIRE) < least; ++tries)
    if (tries > 1000)
      std::this_thread::yield();
}

void publish(int32_t *counter, int32_t value) {
  __atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

void *allocate(size_t bytes) {
  return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
}

void release(void *memory) { std::free(memory); }

} // namespace regard

void regard_set_parallel_for(regard_parallel_for parallel_for) {
  regard::torch_parallel_for.store(parallel_for);
}
