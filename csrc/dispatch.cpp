// The entry points: check the arguments once, choose the instruction set once,
// hand over.
#include "internal.h"

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace regard {
namespace {

thread_local char message[256];

#if defined(__x86_64__)
struct Cpuid {
  unsigned a = 0, b = 0, c = 0, d = 0;
  Cpuid(unsigned leaf, unsigned part) { __get_cpuid_count(leaf, part, &a, &b, &c, &d); }
};

// "GenuineIntel 6 207": vendor, family, model.
struct Processor {
  char vendor[13] = "", name[48] = "";

  Processor() {
    const Cpuid first(0, 0), second(1, 0);
    const unsigned words[] = {first.b, first.d, first.c};
    std::memcpy(vendor, words, sizeof words);
    const unsigned family = (second.a >> 8) & 15, model = (second.a >> 4) & 15;
    const bool long_family = family == 15, long_model = long_family || family == 6;
    std::snprintf(name, sizeof name, "%s %u %u", vendor,
                  family + (long_family ? (second.a >> 20) & 255 : 0),
                  model + (long_model ? ((second.a >> 16) & 15) << 4 : 0));
  }
};

#if defined(REGARD_TILES) && defined(REGARD_HAS_X86_UNITS)
// The processor has them, the system saves them, and it lets this process use
// them: Linux wants to be asked once, and may refuse.
bool ask_for_tiles() {
#if defined(__linux__)
  const unsigned tile_and_bfloat16 = 1u << 24 | 1u << 22;
  if ((Cpuid(7, 0).d & tile_and_bfloat16) != tile_and_bfloat16 || !(Cpuid(1, 0).c & 1u << 27))
    return false;
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kTileState = 1u << 17 | 1u << 18;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return (low & kTileState) == kTileState &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool tiles_permitted() {
  static std::atomic<int> answer{-1}; // one word: a guarded static needs the C++ runtime
  int known = answer.load();
  if (known < 0)
    answer.store(known = ask_for_tiles());
  return known;
}
#endif
#endif

bool machine_runs(const Table &table) {
#if defined(REGARD_HAS_X86_UNITS)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  const bool bfloat16 = avx512 && __builtin_cpu_supports("avx512bf16");
  if (&table == &avx2_table)
    return avx2;
  if (&table == &avx512_table)
    return avx512;
  if (&table == &avx512_bf16_table)
    return bfloat16;
#if defined(REGARD_TILES)
  if (&table == &avx512_amx_table)
    return bfloat16 && tiles_permitted();
#endif
#endif
  return &table == &baseline_table;
}

// Best first.
const Table *const tables[] = {
#if defined(REGARD_HAS_X86_UNITS)
#if defined(REGARD_TILES)
    &avx512_amx_table,
#endif
    &avx512_bf16_table, &avx512_table, &avx2_table,
#endif
    &baseline_table};

// Calls f with the tables that this machine runs, best first, until it returns
// true. On Intel's processors the dot product of bfloat16 takes twice as long
// as a multiply-add in float32: to widen is faster.
template <class F> const Table *find_table(const F &f) {
  const Table *later = nullptr;
#if defined(REGARD_HAS_X86_UNITS)
  const bool intel = std::strcmp(Processor().vendor, "GenuineIntel") == 0;
#endif
  for (const Table *table : tables) {
    if (!machine_runs(*table))
      continue;
#if defined(REGARD_HAS_X86_UNITS)
    if (table == &avx512_bf16_table && intel) {
      later = table;
      continue;
    }
#endif
    if (f(*table))
      return table;
    if (later && f(*later))
      return later;
    later = nullptr;
  }
  return nullptr;
}

const Table *named(const char *name) {
  return find_table([&](const Table &table) { return std::strcmp(table.name, name) == 0; });
}

// REGARD_ISA that names nothing usable is not obeyed silently: it leaves no
// table, and every call then says why.
const Table *choose() {
  if (const char *wanted = std::getenv("REGARD_ISA"))
    if (*wanted)
      return named(wanted);
  return find_table([](const Table &) { return true; });
}

std::atomic<const Table *> chosen{nullptr};

const Table *current() {
  const Table *table = chosen.load(std::memory_order_acquire);
  if (!table) {
    table = choose();
    chosen.store(table, std::memory_order_release);
  }
  return table;
}

// Rows and columns are counted in 32 bits, in steps of up to this many.
constexpr int64_t kMostTokens = INT32_MAX - 65535;
constexpr int64_t kMostBytes = int64_t(1) << 60; // that any one area can take

// Whether the product of sizes, none negative, stays within bounds.
bool fits(std::initializer_list<int64_t> sizes) {
  int64_t product = 1;
  for (int64_t size : sizes)
    if (__builtin_mul_overflow(product, size < 1 ? 1 : size, &product) || product > kMostBytes)
      return false;
  return true;
}

int check(const regard_args &a) {
  if (a.dtype < REGARD_FLOAT32 || a.dtype > REGARD_FLOAT16)
    return fail(REGARD_BAD_ARGUMENT, "unknown dtype code %lld", (long long)a.dtype);
  if (a.batch < 0 || a.heads < 0 || a.queries < 0 || a.keys < 0 || a.head_dim < 0 ||
      a.value_dim < 0)
    return fail(REGARD_BAD_ARGUMENT, "a size is negative");
  if (a.queries > kMostTokens || a.keys > kMostTokens)
    return fail(REGARD_BAD_ARGUMENT, "up to %lld queries and keys are covered, given %lld and %lld",
                (long long)kMostTokens, (long long)a.queries, (long long)a.keys);
  if (a.head_dim > REGARD_MAX_WIDTH || a.value_dim > REGARD_MAX_WIDTH)
    return fail(REGARD_BAD_ARGUMENT, "head widths up to %d are covered, given %lld and %lld",
                REGARD_MAX_WIDTH, (long long)a.head_dim, (long long)a.value_dim);
  if (a.heads > 0 && (a.kv_heads <= 0 || a.heads % a.kv_heads != 0))
    return fail(REGARD_BAD_ARGUMENT, "%lld heads do not share %lld key/value heads evenly",
                (long long)a.heads, (long long)a.kv_heads);
  const int64_t longest = a.queries > a.keys ? a.queries : a.keys;
  if (!fits({a.batch, a.heads, longest + REGARD_MAX_WIDTH, REGARD_MAX_WIDTH, 16}))
    return fail(REGARD_BAD_ARGUMENT, "%lld x %lld heads of %lld tokens are too much to count",
                (long long)a.batch, (long long)a.heads, (long long)longest);
  const bool rows = a.batch && a.heads && a.queries, columns = a.batch && a.kv_heads && a.keys;
  if (a.head_dim && ((rows && !a.query.data) || (columns && !a.key.data)))
    return fail(REGARD_BAD_ARGUMENT, "query and key are needed");
  if ((a.span_start == nullptr) != (a.span_stop == nullptr))
    return fail(REGARD_BAD_ARGUMENT, "span_start and span_stop go together");
  if (a.bias.data && a.bias.dtype != REGARD_FLOAT32 && a.bias.dtype != a.dtype)
    return fail(REGARD_BAD_ARGUMENT, "a bias is float32 or of the dtype of the call");
  if (!(a.dropout >= 0 && a.dropout < 1))
    return fail(REGARD_BAD_ARGUMENT, "dropout %g is outside [0, 1)", a.dropout);
  if (!(a.softcap >= 0))
    return fail(REGARD_BAD_ARGUMENT, "softcap %g is negative", a.softcap);
  return REGARD_OK;
}

int check_forward(const regard_args &a) {
  if (int code = check(a))
    return code;
  if (a.batch && a.heads && a.queries && a.value_dim && (!a.output.data || (a.keys && !a.value.data)))
    return fail(REGARD_BAD_ARGUMENT, "forward needs value and output");
  if (a.output_rest && a.dtype == REGARD_FLOAT32)
    return fail(REGARD_BAD_ARGUMENT, "an output in float32 leaves no rest");
  const bool rows_fit = a.map_rows == 16 || a.map_rows == 32 || a.map_rows % 64 == 0;
  if (a.map && (a.map_rows <= 0 || a.map_rows > kMostTokens || a.map_columns > kMostTokens || !rows_fit || a.map_columns <= 0 || a.map_columns % 64 != 0))
    return fail(REGARD_BAD_ARGUMENT,
                "cells of %lld x %lld: rows are 16, 32 or a multiple of 64, columns a multiple "
                "of 64",
                (long long)a.map_rows, (long long)a.map_columns);
  return REGARD_OK;
}

int check_backward(const regard_args &a) {
  if (int code = check(a))
    return code;
  const bool rows = a.batch && a.heads && a.queries, key_rows = a.batch && a.kv_heads && a.keys;
  if (key_rows && a.value_dim && !a.value.data)
    return fail(REGARD_BAD_ARGUMENT, "backward needs value");
  if (a.output_rest && a.dtype == REGARD_FLOAT32)
    return fail(REGARD_BAD_ARGUMENT, "an output in float32 leaves no rest");
  if (rows && (!a.lse || (a.value_dim && (!a.output.data || !a.grad_output.data))))
    return fail(REGARD_BAD_ARGUMENT, "backward needs output, lse and grad_output");
  if ((rows && a.head_dim && !a.grad_query.data) || (key_rows && a.head_dim && !a.grad_key.data) ||
      (key_rows && a.value_dim && !a.grad_value.data))
    return fail(REGARD_BAD_ARGUMENT, "backward needs grad_query, grad_key and grad_value");
  if (a.grad_bias.data && a.grad_bias.dtype != REGARD_FLOAT32 && a.grad_bias.dtype != a.dtype)
    return fail(REGARD_BAD_ARGUMENT, "grad_bias is float32 or of the dtype of the call");
  return REGARD_OK;
}

int check_inspection(const regard_args &a) {
  if (int code = check(a))
    return code;
  if (!a.lse || !a.values)
    return fail(REGARD_BAD_ARGUMENT, "inspection needs lse and values");
  if (a.row_start < 0 || a.row_count < 0 || a.row_start > a.queries - a.row_count ||
      a.column_start < 0 || a.column_count < 0 || a.column_start > a.keys - a.column_count)
    return fail(REGARD_BAD_ARGUMENT, "the rectangle leaves the matrix");
  return REGARD_OK;
}

int check_pooled(const regard_args &a) {
  if (a.cell_rows < 1 || a.cell_columns < 1 || a.cell_rows > INT32_MAX ||
      a.cell_columns > INT32_MAX)
    return fail(REGARD_BAD_ARGUMENT, "cells of %lld x %lld", (long long)a.cell_rows,
                (long long)a.cell_columns);
  return check_inspection(a);
}

int check_indices(const regard_args &a) {
  if (!a.indices)
    return fail(REGARD_BAD_ARGUMENT, "indices are wanted, too");
  return check_inspection(a);
}

int check_top(const regard_args &a) {
  if (a.top < 1 || a.top > REGARD_MAX_TOP)
    return fail(REGARD_BAD_ARGUMENT, "top is %lld, from 1 to %d are covered", (long long)a.top,
                REGARD_MAX_TOP);
  return check_indices(a);
}

int check_summary(const regard_args &a) {
  if (!a.peaks || !a.top_keys || !a.entropy || !a.distance || !a.received || !a.neighbours)
    return fail(REGARD_BAD_ARGUMENT, "a summary needs room for all of its results");
  if (a.row_start || a.column_start || a.row_count != a.queries || a.column_count != a.keys)
    return fail(REGARD_BAD_ARGUMENT, "a summary is of the whole matrix");
  if (a.cell_rows < 1 || (64 % a.cell_rows && a.cell_rows % 64) || a.part_rows < 64 ||
      a.part_rows % 64 || a.part_rows % a.cell_rows || a.part_rows > kMostBytes)
    return fail(REGARD_BAD_ARGUMENT, "a summary of cells of %lld rows in parts of %lld",
                (long long)a.cell_rows, (long long)a.part_rows);
  return check_pooled(a);
}

int check_forward_summary(const regard_args &a) {
  const int code = check_forward(a);
  return code == REGARD_OK ? check_summary(a) : code;
}

// Sizes that every kernel of linear attention relies on; queries, keys or
// features may be none.
int check_linear(const regard_linear_args &a) {
  if (a.dtype < REGARD_FLOAT32 || a.dtype > REGARD_FLOAT16)
    return fail(REGARD_BAD_ARGUMENT, "unknown dtype code %lld", (long long)a.dtype);
  if (a.feature_map < REGARD_FEATURES_GIVEN || a.feature_map > REGARD_FEATURES_SOFTMAX)
    return fail(REGARD_BAD_ARGUMENT, "unknown feature map %lld", (long long)a.feature_map);
  if (a.batch < 0 || a.heads < 0 || a.queries < 0 || a.keys < 0 || a.head_dim < 1 || a.value_dim < 1)
    return fail(REGARD_BAD_ARGUMENT, "a size is negative, or a width is 0");
  if (a.queries > kMostTokens || a.keys > kMostTokens)
    return fail(REGARD_BAD_ARGUMENT, "up to %lld queries and keys are covered, given %lld and %lld",
                (long long)kMostTokens, (long long)a.queries, (long long)a.keys);
  if (a.head_dim > 2 * REGARD_MAX_WIDTH || a.value_dim > REGARD_MAX_WIDTH)
    return fail(REGARD_BAD_ARGUMENT, "%lld features and values of width %lld are more than is covered",
                (long long)a.head_dim, (long long)a.value_dim);
  if (a.kv_heads < 1 || a.heads % a.kv_heads != 0)
    return fail(REGARD_BAD_ARGUMENT, "%lld heads do not share %lld key/value heads evenly",
                (long long)a.heads, (long long)a.kv_heads);
  const int64_t longest = a.queries > a.keys ? a.queries : a.keys;
  if (!fits({a.batch, a.heads, longest + REGARD_MAX_WIDTH, REGARD_MAX_WIDTH, 16}))
    return fail(REGARD_BAD_ARGUMENT, "%lld x %lld heads of %lld tokens are too much to count",
                (long long)a.batch, (long long)a.heads, (long long)longest);
  if (!a.strange || (a.batch && a.keys && (!a.key.data || !a.value.data)) ||
      (a.batch && a.heads && a.queries && !a.query.data))
    return fail(REGARD_BAD_ARGUMENT, "query, key, value and strange are needed");
  return REGARD_OK;
}

int check_linear_forward(const regard_linear_args &a) {
  if (a.batch && a.heads && a.queries && !a.output.data)
    return fail(REGARD_BAD_ARGUMENT, "forward needs output");
  return check_linear(a);
}

int check_linear_backward(const regard_linear_args &a) {
  if (a.state_in || a.state_out)
    return fail(REGARD_BAD_ARGUMENT, "backward is of whole calls, without a state");
  if ((a.batch && a.heads && a.queries && (!a.grad_output.data || !a.grad_query.data)) ||
      (a.batch && a.keys && (!a.grad_key.data || !a.grad_value.data)))
    return fail(REGARD_BAD_ARGUMENT, "backward needs all gradients");
  return check_linear(a);
}

template <class Args>
int run(int (*Table::*operation)(const Args &), int (*check_own)(const Args &), const char *name, const Args *given) {
  message[0] = 0;
  // A caller built for an older header passes a shorter struct: what it does
  // not know of is zero.
  Args args;
  std::memset(&args, 0, sizeof args);
  if (!given || given->size < int64_t(sizeof(int64_t)) || given->size > int64_t(sizeof args))
    return fail(REGARD_BAD_ARGUMENT, "the size field does not fit this library (%zu bytes)",
                sizeof args);
  std::memcpy(&args, given, size_t(given->size));
  if (int code = check_own(args))
    return code;
  const Table *table = current();
  if (!table)
    return fail(REGARD_NOT_AVAILABLE,
                "REGARD_ISA names nothing that this machine runs; it runs: %s", regard_isas());
  const auto chosen_operation = table->*operation;
  if (!chosen_operation)
    return fail(REGARD_NOT_AVAILABLE, "%s is not available on %s", name, table->name);
  return chosen_operation(args);
}

} // namespace

int fail(int code, const char *format, ...) {
  va_list values;
  va_start(values, format);
  std::vsnprintf(message, sizeof message, format, values);
  va_end(values);
  return code;
}

} // namespace regard

using namespace regard;

int regard_forward(const regard_args *args) {
  return run(&Table::forward, check_forward, "forward", args);
}
int regard_backward(const regard_args *args) {
  return run(&Table::backward, check_backward, "backward", args);
}
int regard_tile(const regard_args *args) {
  return run(&Table::tile, check_inspection, "tile", args);
}
int regard_pooled(const regard_args *args) {
  return run(&Table::pooled, check_pooled, "pooled", args);
}
int regard_received(const regard_args *args) {
  return run(&Table::received, check_inspection, "received", args);
}
int regard_entropy(const regard_args *args) {
  return run(&Table::entropy, check_inspection, "entropy", args);
}
int regard_peak(const regard_args *args) {
  return run(&Table::peak, check_indices, "peak", args);
}
int regard_top(const regard_args *args) {
  return run(&Table::top, check_top, "top", args);
}

int regard_linear_forward(const regard_linear_args *args) {
  return run(&Table::linear_forward, check_linear_forward, "linear_forward", args);
}
int regard_linear_backward(const regard_linear_args *args) {
  return run(&Table::linear_backward, check_linear_backward, "linear_backward", args);
}

int regard_summary(const regard_args *args) {
  return run(&Table::summary, check_summary, "summary", args);
}

int regard_forward_summary(const regard_args *args) {
  return run(&Table::forward_summary, check_forward_summary, "forward_summary", args);
}

int64_t regard_abi_version(void) { return REGARD_ABI_VERSION; }
int64_t regard_args_size(void) { return int64_t(sizeof(regard_args)); }
const char *regard_last_error(void) { return message; }

const char *regard_isa(void) {
  const Table *table = current();
  return table ? table->name : "";
}

const char *regard_isas(void) {
  static thread_local char names[128];
  names[0] = 0;
  find_table([](const Table &table) {
    if (names[0])
      std::strcat(names, " ");
    std::strcat(names, table.name);
    return false;
  });
  return names;
}

const char *regard_processor(void) {
#if defined(__x86_64__)
  static thread_local char name[48];
  std::memcpy(name, Processor().name, sizeof name);
  return name;
#else
  return "";
#endif
}

int regard_select_isa(const char *name) {
  message[0] = 0;
  const Table *table = name ? named(name) : choose();
  if (!table)
    return fail(REGARD_NOT_AVAILABLE, "%s: this machine runs %s", name ? name : "REGARD_ISA",
                regard_isas());
  chosen.store(table, std::memory_order_release);
  return REGARD_OK;
}

int64_t regard_parts(int64_t dtype) {
  const Table *table = current();
  return table ? table->parts(dtype) : 1;
}

double regard_multiply_add_loop(int64_t dtype, int64_t rounds) {
  const Table *table = current();
  return table ? table->multiply_add_loop(dtype, rounds) : 0;
}
