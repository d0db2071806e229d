// From scores and dP to the weights P and the gradient dS of the scores, for a
// few keys by the queries of one group:
//
//   P  = exp((s - most) - rest), most + rest = lse
//   dS = P * (kept * dP - delta), delta = rowsum(dO * O) - grad_lse
//
// `dS` leaves here times the scale of the call, as the gradient of the plain
// products; the gradients of biases want it before that.
#pragma once

#include "backward_pack.h"
#include "scores.h"

namespace {

// Keys worked on between two products: their scores stay in the nearest cache.
template <class Products> constexpr int strip_keys() { return Products::kTiles ? 16 : kTileRows; }
constexpr int kStrip = 16; // at most

// The queries of a group, as every strip of keys needs them.
struct RowStatistics {
  // In the units of scores; +Inf beyond the last query. The rest, in units of
  // log2, is what its rounding left, or the logarithm of the sum above it.
  alignas(64) float most[kGroup], rest[kGroup];
  alignas(64) float delta[kGroup];
};

// The same of rows far from zero, whose lse in one float has lost the sum:
// found anew from the scores of this pass, and with them the sum of P * dP,
// since the output may come of scores that were rounded otherwise.
struct RowSums {
  alignas(64) float most[kGroup], total[kGroup], products[kGroup];

  RowSums() {
    for (int i = 0; i < kGroup; ++i) {
      most[i] = -kInfinity;
      total[i] = products[i] = 0;
    }
  }
};

// Bit i of `bits` for lane i: all bits set or none.
REGARD_INLINE Int lanes_of_bits(uint32_t bits) {
  return (Int)((splat_int(int32_t(bits)) & (splat_int(1) << iota())) != splat_int(0));
}

// Which weights dropout keeps: one word per key, one bit per query of a group.
inline void keep_bits(const Dropout &dropout, int64_t row, uint32_t head, int32_t begin,
                      int32_t end, int32_t block_begin, uint64_t *bits) {
  for (int32_t key = begin; key < end; ++key)
    bits[key - block_begin] = 0;
  for (int v = 0; v < kGroup / kLanes; ++v) {
    const Int rows = iota() + int32_t(row + v * kLanes);
    for (int32_t chunk = begin / 64 * 64; chunk < end; chunk += 64)
      for (int c = 0; c < 16; ++c) {
        Int keep[4];
        dropout.keep(uint32_t(chunk / 64), uint32_t(c), rows, head, keep);
        for (int w = 0; w < 4; ++w) {
          const int32_t key = chunk + w * 16 + c;
          if (key >= begin && key < end)
            bits[key - block_begin] |= uint64_t(bits_of_lanes(keep[w])) << (v * kLanes);
        }
      }
  }
}

// What the weights of a strip are made with.
struct Strip {
  int count;      // keys
  int begin, end; // lane vectors
  float factor;   // of stored scores, to units of log2
  float scale;    // of dS
  float kept;     // 1 / (1 - p)
  const uint64_t *keep;
  float *scores, *products; // [key][kGroup]: s becomes P, dP becomes dS
};

// kCut: a score of -Inf is hidden, and nothing of its row may touch it.
// kDrop: P becomes the weights that the values were multiplied by.
template <bool kCut, bool kDrop, bool kFast>
REGARD_INLINE void weights_of_strip(const Strip &strip, const RowStatistics &rows) {
  const Vec factor = splat(strip.factor), scale = splat(strip.scale);
  for (int v = strip.begin; v < strip.end; ++v) {
    const Vec most = load(rows.most + v * kLanes), rest = load(rows.rest + v * kLanes);
    const Vec delta = load(rows.delta + v * kLanes) * scale;
    for (int r = 0; r < strip.count; ++r) {
      float *score = strip.scores + r * kGroup + v * kLanes;
      float *product = strip.products + r * kGroup + v * kLanes;
      const Vec s = load(score);
      const Vec x = (s - most) * factor - rest;
      Vec p = kFast ? fast_exp2(x) : exp2(x);
      Vec kept = splat(1.0f);
      if constexpr (kDrop)
        kept = select(lanes_of_bits(uint32_t(strip.keep[r] >> (v * kLanes))), splat(strip.kept),
                      Vec{});
      Vec ds = p * (load(product) * (kDrop ? kept * scale : scale) - delta);
      if constexpr (kDrop)
        p = p * kept;
      if constexpr (kCut) {
        const Int hidden = (Int)(s == splat(-kInfinity));
        p = select(hidden, Vec{}, p);
        ds = select(hidden, Vec{}, ds);
      }
      store(score, p);
      store(product, ds);
    }
  }
}

// Adds a strip whose scores and dP are made to the sums of its rows.
inline void add_strip(const Strip &strip, bool drop, RowSums &sums) {
  const Vec factor = splat(strip.factor);
  for (int v = strip.begin; v < strip.end; ++v) {
    const Vec old = load(sums.most + v * kLanes);
    Vec most = old;
    for (int r = 0; r < strip.count; ++r)
      most = largest(load(strip.scores + r * kGroup + v * kLanes), most);
    const Vec base = select((Int)(most == splat(-kInfinity)), Vec{}, most);
    const Vec rescale = exp2((old - base) * factor);
    Vec total = load(sums.total + v * kLanes) * rescale;
    Vec products = load(sums.products + v * kLanes) * rescale;
    for (int r = 0; r < strip.count; ++r) {
      const Vec s = load(strip.scores + r * kGroup + v * kLanes);
      const Vec p = exp2((s - base) * factor);
      Vec product = p * load(strip.products + r * kGroup + v * kLanes);
      if (drop)
        product = select(lanes_of_bits(uint32_t(strip.keep[r] >> (v * kLanes))),
                         product * splat(strip.kept), Vec{});
      total = total + p;
      products = products + select((Int)(s == splat(-kInfinity)), Vec{}, product);
    }
    store(sums.most + v * kLanes, most);
    store(sums.total + v * kLanes, total);
    store(sums.products + v * kLanes, products);
  }
}

template <bool kFast>
REGARD_INLINE void weights_of(bool cut, bool drop, const Strip &strip, const RowStatistics &rows) {
  if (cut)
    drop ? weights_of_strip<true, true, kFast>(strip, rows)
         : weights_of_strip<true, false, kFast>(strip, rows);
  else
    drop ? weights_of_strip<false, true, kFast>(strip, rows)
         : weights_of_strip<false, false, kFast>(strip, rows);
}

// One word per key, one bit per query of the group that sees it.
inline void visible_bits(const Strip &strip, int64_t rows, uint64_t *visible) {
  for (int r = 0; r < strip.count; ++r) {
    visible[r] = 0;
    for (int v = strip.begin; v < strip.end; ++v) {
      const Int seen = ~(Int)(load(strip.scores + r * kGroup + v * kLanes) == splat(-kInfinity));
      const Int real = (Int)(iota() < splat_int(int32_t(rows - v * kLanes)));
      visible[r] |= uint64_t(bits_of_lanes(seen & real)) << (v * kLanes);
    }
  }
}

// sum[e] += factor * row[e].
template <class T>
REGARD_INLINE void add_scaled(float factor, const T *row, int64_t width, float *sum) {
  for (int64_t e = 0; e < width; e += kLanes) {
    const int n = int(smaller<int64_t>(kLanes, width - e));
    store_elements(sum + e,
                   multiply_add(splat(factor), load_elements(row + e, n), load_elements(sum + e, n)),
                   n);
  }
}

// The derivative of the softcap, 1 - tanh^2, from raw products.
inline void slopes_of_strip(const Strip &strip, float softcap_factor, float *slopes) {
  for (int r = 0; r < strip.count; ++r)
    for (int v = strip.begin; v < strip.end; ++v) {
      const int64_t at = r * kGroup + v * kLanes;
      const Vec t = tanh(load(strip.scores + at) * splat(softcap_factor));
      store(slopes + at, splat(1.0f) - t * t);
    }
}

// dS times the scale and, where there is a softcap, its derivative.
inline void scale_strip(const Strip &strip, float scale, const float *slopes) {
  for (int r = 0; r < strip.count; ++r)
    for (int v = strip.begin; v < strip.end; ++v) {
      const int64_t at = r * kGroup + v * kLanes;
      Vec ds = load(strip.products + at) * splat(scale);
      if (slopes)
        ds = ds * load(slopes + at);
      store(strip.products + at, ds);
    }
}

// x[key][lane] of a strip, rounded or in parts: `along` pairs of queries (for
// sums over queries), `across` pairs of keys (for sums over keys), or null, each
// with the distance of its parts. The first key of a strip is even; after an odd
// last key, zeros.
template <int kParts>
REGARD_INLINE void round_strip(const Strip &strip, const float *x, uint16_t *along, int64_t along_part,
                               int32_t *across, int64_t across_part) {
  for (int v = strip.begin; v < strip.end; ++v)
    for (int r = 0; r < strip.count; r += 2) {
      const Vec low = load(x + r * kGroup + v * kLanes);
      Vec high = Vec{};
      store_parts<kParts>(along + r * kGroup + v * kLanes, along_part, low);
      if (r + 1 < strip.count) {
        high = load(x + (r + 1) * kGroup + v * kLanes);
        store_parts<kParts>(along + (r + 1) * kGroup + v * kLanes, along_part, high);
      }
      if (across)
        store_pairs<kParts>(across + r / 2 * kGroup + v * kLanes, across_part, low, high);
    }
}

// Tiles take sums over whole groups: the queries that a strip leaves out weigh 0.
REGARD_INLINE void clear_left_out(const Strip &strip, uint16_t *along) {
  for (int r = 0; r < strip.count; ++r)
    for (int v = 0; v < kGroup / kLanes; ++v)
      if (v < strip.begin || v >= strip.end)
        store_half(along + r * kGroup + v * kLanes, Half{});
}

} // namespace
