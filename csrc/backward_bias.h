// Gradients of the biases: dS itself, in place (dense) or summed along the
// diagonals (by position).
#pragma once

#include "backward_weights.h"

namespace {

template <class T>
REGARD_INLINE void store_line(const regard_matrix &x, int64_t at, const float *values, int64_t n) {
  T *to = static_cast<T *>(x.data) + at;
  for (int64_t k = 0; k < n; ++k)
    store_elements(to + k * x.column, load_first(values + k, 1), 1);
}

// n values of row i of head (b, h) from column j on.
inline void write_matrix(const regard_matrix &x, int64_t b, int64_t h, int64_t i, int64_t j,
                         const float *values, int64_t n) {
  const int64_t at = b * x.batch + h * x.head + i * x.row + j * x.column;
  if (x.dtype == REGARD_FLOAT32)
    store_line<float>(x, at, values, n);
  else if (x.dtype == REGARD_BFLOAT16)
    store_line<Bfloat16>(x, at, values, n);
  else
    store_line<Float16>(x, at, values, n);
}

inline void clear_matrix_rows(const regard_args &a, int64_t b, int64_t h, int64_t row,
                              int64_t count) {
  const float zeros[64] = {};
  for (int64_t i = row; i < row + count; ++i)
    for (int64_t j = 0; j < a.keys; j += 64)
      write_matrix(a.grad_bias, b, h, i, j, zeros, smaller<int64_t>(64, a.keys - j));
}

// dS of a strip whose first key is `key`, for the group whose first query is
// `row`.
inline void write_bias_gradient(const regard_args &a, const Strip &strip, int64_t b, int64_t h,
                                int64_t row, int64_t key) {
  const int64_t last = smaller<int64_t>(strip.end * kLanes, a.queries - row);
  for (int64_t i = strip.begin * kLanes; i < last; ++i) {
    float line[kStrip];
    for (int r = 0; r < strip.count; ++r)
      line[r] = strip.products[r * kGroup + i];
    write_matrix(a.grad_bias, b, h, row + i, key, line, strip.count);
  }
}

// Sums along diagonals of an item of work, at query - key + keys - 1, the query
// counted from the item's first: lanes stay in order.
struct DiagonalSums {
  float *sums;
  int64_t keys;

  static int64_t length(int64_t queries, int64_t keys) { return queries + keys + kGroup; }

  // `query`: of the first lane of the group, from the item's first; `rows`: of
  // the group.
  void add(const Strip &strip, int64_t query, int64_t rows, int64_t key) const {
    for (int r = 0; r < strip.count; ++r) {
      float *at = sums + query - (key + r) + keys - 1;
      for (int v = strip.begin; v < strip.end; ++v) {
        const Int real = (Int)(iota() < splat_int(int32_t(rows - v * kLanes)));
        const Vec ds = load(strip.products + r * kGroup + v * kLanes);
        store(at + v * kLanes, load(at + v * kLanes) + select(real, ds, Vec{}));
      }
    }
  }

  // Adds everything to the gradient of one head, (L+S-1) at key - query + L - 1;
  // `row` is the item's first query, of `rows`.
  void add_to(float *gradient, int64_t queries, int64_t row, int64_t rows) const {
    const int64_t last = keys + queries - 2 - row; // key - query + L - 1 at index 0
    for (int64_t t = 0; t < rows + keys - 1; ++t)
      gradient[last - t] += sums[t];
  }
};

} // namespace
