// From products of queries and keys to scores: softcap, biases, masks, for a
// block of keys by kGroup lanes of queries, scores[key][lane].
//
// Scores are kept in units of log2: exp(s) is exp2(log2(e) * s), so the scale
// and log2(e) are one factor. A call without softcap, bias, dense mask or
// negative scale is `plain`: its scores stay raw products and the factor is
// applied inside the exponential, for free. A score that may not be seen is
// -Inf.
#pragma once

#include "elements.h"
#include "products.h"
#include "random.h"
#include "visibility.h"

namespace {

// The part of a call that decides scores, for one batch and head.
struct Scoring {
  double scale;
  float factor; // scale * log2(e)
  bool plain;
  bool masks; // something dense may hide keys
  float softcap, softcap_factor;
  regard_matrix bias, mask;        // data moved to (b, h, 0, 0)
  const float *position_bias;      // at key - query
  int64_t queries, keys;

  Scoring(const regard_args &a, int64_t b, int64_t h) {
    scale = a.scale;
    factor = float(scale * 1.44269504088896340736);
    softcap = float(a.softcap) * kLog2E;
    softcap_factor = a.softcap > 0 ? float(a.scale / a.softcap) : 0;
    bias = at_head(a.bias, b, h, a.bias.dtype == REGARD_FLOAT32 ? 4 : 2);
    mask = at_head(a.mask, b, h, 1);
    position_bias =
        a.position_bias ? a.position_bias + h * a.position_bias_head + a.queries - 1 : nullptr;
    queries = a.queries;
    keys = a.keys;
    masks = a.bias.data || a.mask.data;
    plain = !masks && !position_bias && !(a.softcap > 0) && a.scale > 0;
  }

  // What multiplies a stored score to give log2 units.
  float remaining() const { return plain ? factor : 1.0f; }
  // What makes it natural units, without the rounding of that factor.
  double unit() const { return plain ? scale : 0.69314718055994530942; }

private:
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

// Turns raw products into scores for one run; row is the first query of the
// group. `scores` is at key block_begin.
inline void finish_scores(const Scoring &s, const Visible &visible, const Run &run, int64_t row,
                          int32_t block_begin, float *scores) {
  const Vec factor = splat(s.factor), nothing = splat(-kInfinity);
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
          x = s.softcap > 0 ? tanh(x * splat(s.softcap_factor)) * splat(s.softcap) : x * factor;
          if (s.position_bias) {
            const Vec added = position_biases(s, first, key + k);
            seen &= ~(Int)(added == nothing);
            x = x + added * splat(kLog2E);
          }
          if (s.bias.data) {
            seen &= ~(Int)(bias[k] == nothing);
            x = x + bias[k] * splat(kLog2E);
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
