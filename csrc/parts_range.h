// Which way products of a call are taken, where there is a choice: float32 and
// float16 by parts of bfloat16, if the caller asks for it and the numbers allow it.
//
// Tiles take denormals for zeros, and what is infinite has no parts. So the
// largest number of each operand lies in [2^-60, 2^40], or is 0: then what is
// lost of the small ones, 2^-126 times the largest of the other operand, is
// nothing beside the rounding of what the largest make. Each number is looked at
// once, which is a load and a maximum where it takes part in six products with
// every token.
#pragma once

#include "blocks.h"
#include "decode.h"

namespace {

// An element type and how its products are taken, for the passes that look.
template <class T, class P> struct ReadAs {
  using Element = T;
  using Products = P;
};

// How many bfloat16 hold a number exactly; 1 where there is nothing to gain.
template <class T> constexpr int kPartsOf = 1;
#ifdef REGARD_HAS_TILES
template <> constexpr int kPartsOf<float> = 3;
template <> constexpr int kPartsOf<Float16> = 2;

// As integers magnitudes have their order, and NaN is above infinity.
template <class T> struct MagnitudeScan {
  const regard_rows &x;
  int64_t heads, rows, width;
  int32_t *most;

  static void item(int64_t number, unsigned char *, const void *context) {
    const MagnitudeScan &own = *static_cast<const MagnitudeScan *>(context);
    const Rows<const T> x = rows_of<const T>(own.x, number / own.heads, number % own.heads);
    Int found = {};
    for (int64_t i = 0; i < own.rows; ++i)
      for (int64_t e = 0; e < own.width; e += kLanes) {
        const int n = int(smaller<int64_t>(kLanes, own.width - e));
        const Int bits = as_int(load_elements(x[i] + e, n)) & 0x7fffffff;
        found = bits > found ? bits : found;
      }
    int32_t here = 0;
    for (int i = 0; i < kLanes; ++i)
      here = larger(here, found[i]);
    int32_t known = __atomic_load_n(own.most, __ATOMIC_RELAXED);
    while (known < here && !__atomic_compare_exchange_n(own.most, &known, here, true, __ATOMIC_RELAXED,
                                                        __ATOMIC_RELAXED)) {
    }
  }
};

// The largest absolute value of an operand; Inf or NaN if one number is not finite.
template <class T>
float largest_magnitude(const regard_args &a, const regard_rows &x, int64_t heads, int64_t rows, int64_t width) {
  int32_t most = 0;
  const MagnitudeScan<T> scan{x, heads, rows, width, &most};
  regard::for_each_item(a.batch * heads, double(a.batch * heads) * double(rows * width), 0,
                        MagnitudeScan<T>::item, &scan);
  return as_vec(splat_int(most))[0];
}

#endif

// What a call is asked of.
enum class Pass { kForward, kBackward, kLook };

#ifdef REGARD_HAS_TILES
inline bool in_range(double largest) { // NaN: no
  return largest == 0 || (largest >= 0x1p-60 && largest <= 0x1p40);
}

template <class T> bool hold_parts(const regard_args &a, Pass pass) {
  // Of a part of the matrix, or of a step of a generation, this would be most of the work.
  const bool whole = a.row_count == a.queries && a.column_count == a.keys;
  if (!a.parts || few_queries(a) || (pass == Pass::kLook && !whole))
    return false;
  const double scale = __builtin_fabs(a.scale);
  const double query = largest_magnitude<T>(a, a.query, a.heads, a.queries, a.head_dim);
  if (!(scale <= 0x1p37) || !in_range(query))
    return false;
  const double key = largest_magnitude<T>(a, a.key, a.kv_heads, a.keys, a.head_dim);
  if (!in_range(key) || pass == Pass::kLook)
    return in_range(key);
  const double value = largest_magnitude<T>(a, a.value, a.kv_heads, a.keys, a.value_dim);
  if (!in_range(value) || pass == Pass::kForward)
    return in_range(value);
  const double upstream = largest_magnitude<T>(a, a.grad_output, a.heads, a.queries, a.value_dim);
  const regard_rows lse{const_cast<float *>(a.grad_lse), a.heads * a.queries, a.queries, 0};
  const double beside = a.grad_lse ? largest_magnitude<float>(a, lse, a.heads, 1, a.queries) : 0.0;
  // dS has products of its own: with each of its factors' largest it stays in range.
  const double slope = scale * larger(value * upstream, beside);
  return in_range(upstream) && in_range(beside) && in_range(slope) && in_range(slope * query) &&
         in_range(slope * key);
}
#endif

// Calls f with what products of a call are taken as.
template <class T, class F> int with_products(const regard_args &a, Pass pass, const F &f) {
  (void)a, (void)pass;
#ifdef REGARD_HAS_TILES
  if constexpr (kPartsOf<T> > 1)
    if (hold_parts<T>(a, pass))
      return f(TileProducts<kPartsOf<T>>{});
#endif
  return f(typename ProductsOf<T>::Type{});
}

} // namespace
