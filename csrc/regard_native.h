/* The C interface of the native CPU kernels.
 *
 * One struct of arguments serves every entry point; each reads the fields it
 * needs. All strides count elements, not bytes. The last dimension of every
 * `regard_rows` is contiguous. A pointer that is NULL means "not given".
 *
 * Letters: B batch, H query heads, G key/value heads, L queries, S keys,
 * E head width, Ev value width. Query head h reads key/value head h / (H / G).
 */
#ifndef REGARD_NATIVE_H
#define REGARD_NATIVE_H

#include <stdint.h>

#if defined(_WIN32)
#define REGARD_API __declspec(dllexport)
#else
#define REGARD_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define REGARD_ABI_VERSION 8
#define REGARD_MAX_WIDTH 256 /* of E and of Ev */
#define REGARD_MAX_TOP 64
#define REGARD_TOP 4 /* of each row, in a summary */

enum { REGARD_FLOAT32 = 0, REGARD_BFLOAT16 = 1, REGARD_FLOAT16 = 2 };

enum {
  REGARD_OK = 0,
  REGARD_BAD_ARGUMENT = 1,
  REGARD_OUT_OF_MEMORY = 2,
  REGARD_NOT_AVAILABLE = 3,
  REGARD_INTERNAL = 4
};

/* (batch, head, row, width) with a contiguous last dimension. */
typedef struct {
  void *data;
  int64_t batch, head, row;
} regard_rows;

/* Something of the shape of the weights, (B, H, L, S); a stride of 0 where it
 * is broadcast. */
typedef struct {
  void *data;
  int64_t dtype;
  int64_t batch, head, row, column;
} regard_matrix;

typedef struct {
  int64_t size; /* sizeof(regard_args) as the caller knows it */

  /* The call */
  int64_t dtype; /* of query, key, value, output and their gradients */
  /* Not 0: float32 and float16 may be multiplied as sums of three and two
   * bfloat16, where the instruction set has tiles (regard_parts) and no number
   * is too large or too small for that; else as they are. */
  int64_t parts;
  int64_t batch, heads, kv_heads, queries, keys, head_dim, value_dim;
  regard_rows query, key, value;
  double scale;
  double softcap; /* 0: none; else s = softcap * tanh(scale * q.k / softcap) */

  /* Key j is visible to query i iff span_start[i] <= j < span_stop[i], the
   * mask (if given) is nonzero there and no bias is -inf there. Spans are
   * (b, h, L) with row stride 1 and batch and head strides 0 where broadcast. */
  const int32_t *span_start, *span_stop;
  int64_t span_batch, span_head;
  regard_matrix mask; /* uint8; its dtype field is not read */

  /* Biases are added after the softcap. */
  const float *position_bias; /* (H or 1, L+S-1), at j - i + L - 1 */
  int64_t position_bias_head; /* head stride, 0 when shared */
  regard_matrix bias;         /* float32 or the dtype of the call */

  /* Dropout of the normalised weights in the product with the values:
   * Philox4x32 with 7 rounds, key = (seed low, seed high), counter =
   * ((j/64)*16 + j%16, i, b*H + h, 0), word (j%64)/16; kept iff the word >=
   * min(floor(p * 2^32 + 0.5), 2^32 - 1), then times 1 / (1 - p). */
  double dropout;
  uint64_t seed;

  /* Forward: results. lse is written when not NULL; backward and inspection
   * read it. Natural logarithm, (B, H, L) contiguous, -inf where a row sees
   * nothing. */
  regard_rows output;
  /* What rounding the output left, bfloat16, with the strides of the output;
   * or NULL. Backward of half precision reads it where it is given: without
   * it gradients of nearly certain rows lose what the output lost. */
  void *output_rest;
  float *lse;
  /* Mean over the rows of a cell of the sum over its keys of the weights
   * before dropout: (B, H, ceil(L/map_rows), ceil(S/map_columns)) contiguous.
   * map_rows is 16, 32 or a multiple of 64, map_columns a multiple of 64. */
  float *map;
  int64_t map_rows, map_columns;

  /* Backward: also reads query, key, value, output, lse.
   * dS = P * (dP - delta + grad_lse). */
  regard_rows grad_output;
  const float *grad_lse; /* (B, H, L) contiguous */
  regard_rows grad_query, grad_key, grad_value;
  float *grad_position_bias; /* (H or 1, L+S-1), summed over the batch */
  int64_t grad_position_bias_head;
  regard_matrix grad_bias; /* of the full (B, H, L, S), float32 or dtype */

  /* Inspection: a rectangle of the weights (before dropout), from query, key
   * and lse. Results are contiguous with (B, H) in front. */
  int64_t row_start, row_count, column_start, column_count;
  int64_t cell_rows, cell_columns; /* regard_pooled */
  int64_t top;                     /* regard_top: how many per row */
  const float *row_weight;         /* regard_received: (B, H, row_count) or NULL */
  float *values;                   /* the result; see each entry point */
  float *peaks;                    /* regard_pooled: largest weight of a cell, or NULL */
  int64_t *indices;                /* regard_peak, regard_top: key index */

  /* Summaries, beside values (the map) and peaks (of each row, (B, H, L, REGARD_TOP)). */
  int64_t part_rows; /* a multiple of 64 and of cell_rows; P = ceil(L / part_rows) */
  float *entropy, *distance; /* (B, H, L): nats; sum of weight * |key - query| in tokens */
  double *received;          /* (B, H, P, S): sums over the rows of each part */
  double *neighbours;        /* (B, H, P, 3): sums of the weights before, at, after a row's place */
  int32_t *top_keys;         /* (B, H, L, REGARD_TOP): the keys of peaks, as in regard_top */
} regard_args;

/* Linear attention: the weight of key j for query i is phi(q).phi(k), divided by
 * the sum over the keys seen. With a feature map inside, phi has E features
 * (softmax: 2 E); REGARD_FEATURES_GIVEN takes query and key as features. */
enum {
  REGARD_FEATURES_GIVEN = 0,
  REGARD_FEATURES_ELU = 1,    /* elu(x) + 1 */
  REGARD_FEATURES_RELU = 2,   /* relu(x) + 0.001 */
  REGARD_FEATURES_SOFTMAX = 3 /* softmax(x), softmax(-x) */
};

typedef struct {
  int64_t size; /* sizeof(regard_linear_args) as the caller knows it */
  int64_t dtype, feature_map;
  int64_t batch, heads, kv_heads, queries, keys, head_dim, value_dim;
  regard_rows query, key, value;
  /* One past the last key that each query sees, (L), never going back, for all
   * batch rows and heads; NULL: all keys. */
  const int32_t *stops;
  /* Keys that are seen at all, (B, G, S) with the last contiguous; or NULL. */
  const uint8_t *seen;
  int64_t seen_batch, seen_head;
  /* (B, G, F, Ev + 1): the sums over keys that came before, and those after;
   * or NULL. Every query sees what came before. */
  const float *state_in;
  float *state_out;
  int32_t *strange; /* set to 1 if a key or value that is seen is not finite */

  regard_rows output;
  float *totals; /* (B, H, L): what the output was divided by; or NULL */

  /* Backward: reads query, key, value and these; state_in has no gradient. */
  regard_rows grad_output;
  const float *grad_totals; /* (B, H, L) or NULL */
  regard_rows grad_query, grad_key, grad_value;
} regard_linear_args;

REGARD_API int regard_linear_forward(const regard_linear_args *args);
REGARD_API int regard_linear_backward(const regard_linear_args *args);

REGARD_API int regard_forward(const regard_args *args);
REGARD_API int regard_backward(const regard_args *args);

/* values (B, H, row_count, column_count): the weights themselves. */
REGARD_API int regard_tile(const regard_args *args);
/* values (B, H, ceil(row_count/cell_rows), ceil(column_count/cell_columns)):
 * mean over the rows of the cell, sum over its keys; peaks of the same shape. */
REGARD_API int regard_pooled(const regard_args *args);
/* values (B, H, column_count): sum over the rows, each times its weight. */
REGARD_API int regard_received(const regard_args *args);
/* values (B, H, row_count): -sum p log p, in nats. */
REGARD_API int regard_entropy(const regard_args *args);
/* values, indices (B, H, row_count): the largest weight and its first key;
 * 0 and -1 where a row sees nothing. */
REGARD_API int regard_peak(const regard_args *args);
/* values, indices (B, H, row_count, top): descending, ties by lower key;
 * 0 and -1 where fewer keys are visible. */
REGARD_API int regard_top(const regard_args *args);
/* All of the summary's results over the whole matrix; the rectangle must be
 * everything. cell_rows divides 64 or is a multiple of it. Rows stand on keys
 * with the last on the last. */
REGARD_API int regard_summary(const regard_args *args);
/* regard_forward and regard_summary: reads and writes the fields of both. One
 * pass over the scores where rows are short, which changes no bit of output
 * and lse; best with part_rows a multiple of 256. */
REGARD_API int regard_forward_summary(const regard_args *args);

REGARD_API int64_t regard_abi_version(void);
REGARD_API int64_t regard_args_size(void);
/* Why the last call of this thread failed; "" when it did not. */
REGARD_API const char *regard_last_error(void);
/* The instruction set in use: REGARD_ISA when set, else the best there is. */
REGARD_API const char *regard_isa(void);
/* All that this machine can run, best first, separated by spaces. */
REGARD_API const char *regard_isas(void);
/* Vendor, family and model of the processor, "GenuineIntel 6 207"; "" where it
 * does not say. */
REGARD_API const char *regard_processor(void);
/* How many bfloat16 the instruction set in use can take a number of this dtype
 * as the sum of; 1: it multiplies the number itself. */
REGARD_API int64_t regard_parts(int64_t dtype);
/* Changes the instruction set (for tests). NULL: choose again. */
REGARD_API int regard_select_isa(const char *name);

/* torch_parallel_for of libtorch_cpu; NULL: a serial loop. */
typedef void (*regard_range)(int64_t begin, int64_t end, void *context);
typedef int32_t (*regard_parallel_for)(int64_t begin, int64_t end, int64_t grain,
                                       regard_range body, void *context);
REGARD_API void regard_set_parallel_for(regard_parallel_for parallel_for);

/* Runs `rounds` multiply-adds on each of 24 vector registers and returns the
 * floating-point operations done: the machine's own peak, for benchmarks.
 * dtype bfloat16 uses dot products of pairs, or tiles, where the unit has them. */
REGARD_API double regard_multiply_add_loop(int64_t dtype, int64_t rounds);

#ifdef __cplusplus
}
#endif
#endif
