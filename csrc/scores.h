// From products of queries and keys to scores: softcap, biases, masks, for a
// block of keys by kGroup lanes of queries, scores[key][lane].
//
// A call without softcap, bias, dense mask or a scale near or below zero is
// `plain`: its scores stay raw products. All others are kept in natural units,
// in which no finite bias overflows. What makes units of log2 of either, for
// exp2, is one factor, applied inside the exponential to what is left of the
// row's maximum. A score that may not be seen is -Inf, one that may is not,
// however low its biases are.
#pragma once

#include "elements.h"
#include "products.h"
#include "random.h"
#include "visibility.h"

namespace {

// What makes weights of the scores of a row: exp2((score - most) * factor -
// rest). `most` is in the units of scores, `rest` in those of log2.
struct RowNorm {
  float most, rest;
};

// Whether one float cannot hold the lse of a row and leave the sum in it: half
// of its last place would show in every weight. Such rows are summed anew,
// with the same code that then makes their weights.
inline bool is_far(float lse) { return (lse > 64 || lse < -64) && lse - lse == 0; }

// The part of a call that decides scores, for one batch and head.
struct Scoring {
  double scale;
  bool plain;
  float softcap, softcap_factor;
  regard_matrix bias, mask;        // data moved to (b, h, 0, 0)
  const float *position_bias;      // at key - query
  int64_t queries, keys;

  Scoring(const regard_args &a, int64_t b, int64_t h) {
    scale = a.scale;
    softcap = float(a.softcap);
    softcap_factor = a.softcap > 0 ? float(a.scale / a.softcap) : 0;
    bias = at_head(a.bias, b, h, a.bias.dtype == REGARD_FLOAT32 ? 4 : 2);
    mask = at_head(a.mask, b, h, 1);
    position_bias =
        a.position_bias ? a.position_bias + h * a.position_bias_head + a.queries - 1 : nullptr;
    queries = a.queries;
    keys = a.keys;
    plain = !a.bias.data && !a.mask.data && !position_bias && !(a.softcap > 0) &&
            a.scale > kLeastPlainScale;
  }

  // What multiplies a stored score to give log2 units.
  float remaining() const { return float(unit() * kLog2EDouble); }
  // What makes it natural units, without the rounding of that factor.
  double unit() const { return plain ? scale : 1.0; }
  // The largest float near the lse and what its rounding left; a row that sees
  // nothing has no scores to take it from.
  RowNorm norm(float lse) const {
    if (lse == -kInfinity)
      return {0, 0};
    const float most = float(lse / unit());
    const float rest = float((lse - most * unit()) * kLog2EDouble);
    return {most, lse == kInfinity ? 0.0f : rest};
  }
  // Whether something besides the spans may hide keys.
  bool masks() const { return bias.data || mask.data || position_bias_hides(); }

private:
  static constexpr double kLeastPlainScale = 0x1p-64; // lse / scale is finite

  bool position_bias_hides() const {
    if (!position_bias)
      return false;
    const float *first = position_bias - (queries - 1);
    const int64_t count = queries + keys - 1;
    Int found = {};
    for (int64_t i = 0; i < count; i += kLanes)
      found |= (Int)(load_elements(first + i, int(smaller<int64_t>(kLanes, count - i))) ==
                     splat(-kInfinity));
    return any(found);
  }

  static regard_matrix at_head(regard_matrix x, int64_t b, int64_t h, int64_t bytes) {
    if (x.data)
      x.data = static_cast<char *>(x.data) + (b * x.batch + h * x.head) * bytes;
    return x;
  }
};

REGARD_INLINE Vec load_bytes(const uint8_t *p, int n) {
  LooseByte bytes = {};
  if (n >= kLanes)
    bytes = *reinterpret_cast<const LooseByte *>(p);
  else
    for (int i = 0; i < n; ++i)
      bytes[i] = p[i];
  return __builtin_convertvector((Byte)bytes, Vec);
}

// A dense matrix of the shape of the weights, kLanes queries from `row` by n
// keys from `key`, turned so that out[k] holds key k for all the queries.
// Queries beyond the last repeat it.
inline void load_turned(const regard_matrix &x, bool bytes, int64_t row, int64_t last_row,
                        int64_t key, int n, Vec *out) {
  for (int i = 0; i < kLanes; ++i) {
    const int64_t at = smaller(row + i, last_row) * x.row + key * x.column;
    if (x.column == 1 && bytes) {
      out[i] = load_bytes(static_cast<const uint8_t *>(x.data) + at, n);
    } else if (x.column == 1 && x.dtype == REGARD_FLOAT32) {
      out[i] = load_elements(static_cast<const float *>(x.data) + at, n);
    } else if (x.column == 1 && x.dtype == REGARD_BFLOAT16) {
      out[i] = load_elements(static_cast<const Bfloat16 *>(x.data) + at, n);
    } else if (x.column == 1) {
      out[i] = load_elements(static_cast<const Float16 *>(x.data) + at, n);
    } else {
      float lanes[kLanes] = {};
      for (int k = 0; k < n; ++k)
        lanes[k] = bytes ? float(static_cast<const uint8_t *>(x.data)[at + k * x.column])
                         : element(x.data, x.dtype, at + k * x.column);
      out[i] = load(lanes);
    }
  }
  transpose(out);
}

// The position biases of kLanes queries from `row` for one key: neighbours in
// the vector, in falling order.
REGARD_INLINE Vec position_biases(const Scoring &s, int64_t row, int64_t key) {
  const float *at = s.position_bias + key - row;
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i)
    lanes[i] = row + i < s.queries ? at[-i] : 0.0f;
  return load(lanes);
}

// A score and a bias. The sum of finite numbers stays above -Inf, which hides.
REGARD_INLINE Vec add_bias(Vec score, Vec bias) {
  return largest(smallest(splat(kLowest), score), score + bias);
}

// Turns raw products into scores for one run; row is the first query of the
// group. `scores` is at key block_begin.
inline void finish_scores(const Scoring &s, const Visible &visible, const Run &run, int64_t row,
                          int32_t block_begin, float *scores) {
  const Vec scale = splat(float(s.scale)), nothing = splat(-kInfinity);
  for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
    const int64_t first = row + v * kLanes;
    const Int starts = load_int(visible.start + v * kLanes);
    const Int stops = load_int(visible.stop + v * kLanes);
    for (int32_t key = run.begin; key < run.end; key += kLanes) {
      const int n = int(smaller<int32_t>(kLanes, run.end - key));
      Vec bias[kLanes], mask[kLanes];
      if (s.bias.data)
        load_turned(s.bias, false, first, s.queries - 1, key, n, bias);
      if (s.mask.data)
        load_turned(s.mask, true, first, s.queries - 1, key, n, mask);
      for (int k = 0; k < n; ++k) {
        float *at = scores + int64_t(key + k - block_begin) * kGroup + v * kLanes;
        const Int column = splat_int(key + k);
        Int seen = (Int)(starts <= column) & (Int)(stops > column);
        Vec x = load(at);
        if (!s.plain) {
          x = s.softcap > 0 ? tanh(x * splat(s.softcap_factor)) * splat(s.softcap) : x * scale;
          if (s.position_bias) {
            const Vec added = position_biases(s, first, key + k);
            seen &= ~(Int)(added == nothing);
            x = add_bias(x, added);
          }
          if (s.bias.data) {
            seen &= ~(Int)(bias[k] == nothing);
            x = add_bias(x, bias[k]);
          }
          if (s.mask.data)
            seen &= (Int)(mask[k] > splat(0.0f));
        }
        store(at, select(seen, x, nothing));
      }
    }
  }
}

} // namespace
