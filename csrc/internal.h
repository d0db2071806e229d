// What the portable part and the instruction-set units know of each other.
// Plain declarations only: anything inline here would be compiled once per
// instruction set and merged by the linker into one copy, perhaps the one
// that this machine cannot run.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "regard_native.h"

namespace regard {

using Operation = int (*)(const regard_args &);
using LinearOperation = int (*)(const regard_linear_args &);

// One per instruction set. An entry that is null is not available there.
struct Table {
  const char *name;
  Operation forward;
  Operation backward;
  Operation tile;
  Operation pooled;
  Operation received;
  Operation entropy;
  Operation peak;
  Operation top;
  Operation summary;
  Operation forward_summary;
  LinearOperation linear_forward;
  LinearOperation linear_backward;
  double (*multiply_add_loop)(int64_t dtype, int64_t rounds);
  int64_t (*parts)(int64_t dtype);
};

extern const Table baseline_table;
// A test builds the baseline alone, on any machine.
#if defined(__x86_64__) && !defined(REGARD_BASELINE_ONLY)
#define REGARD_HAS_X86_UNITS
extern const Table avx2_table;
extern const Table avx512_table;
extern const Table avx512_bf16_table;
extern const Table avx512_amx_table; // with REGARD_TILES
#endif

// Sets the message of this thread and returns the code.
int fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Runs body(item, scratch, context) for every item in 0..items, on torch's
// threads when there is enough to do (cost counts floating-point operations
// of all items together). Items are handed out one by one in order, so uneven
// items balance; an item must depend on nothing but its number, which makes
// results the same for any number of threads. Each thread gets one scratch
// area, 64-byte aligned, whose content is undefined. Returns a result code.
using Body = void (*)(int64_t item, unsigned char *scratch, const void *context);
int for_each_item(int64_t items, double cost, size_t scratch_bytes, Body body,
                  const void *context);

// Waits until *counter, which another thread of the same call raises, is at
// least `least`; raises a counter.
void wait_for(const int32_t *counter, int32_t least);
void publish(int32_t *counter, int32_t value);

// Zeroed or not, 64-byte aligned, or null.
void *allocate(size_t bytes);
void release(void *memory);

} // namespace regard
