// The register tiles of the forward pass: scores or weights, and outputs.
#pragma once

#include "blocks.h"

namespace {

// Scores and weights of a block, and the padding of its last run, in units. Of
// weights in parts the first takes the place of the scores; the others follow,
// off by a row of 64, so that rows of neighbouring parts share no place in the
// nearest cache.
template <class Products> constexpr int64_t weight_part() {
  return (Products::kBlockKeys + 32) * kGroup + (Products::kParts > 1 ? kGroup : 0);
}

// Lane tiles of a run: whole tiles of kTileVectors, then what is left.
template <class F> REGARD_INLINE void for_lane_tiles(const Run &run, const F &f) {
  const int end = run.quad_end * kQuadVectors;
  int v = run.quad_begin * kQuadVectors;
  for (; v + kTileVectors <= end; v += kTileVectors)
    f.template run<kTileVectors>(v);
  if constexpr (kTileVectors > kQuadVectors) {
    if (end - v == 3)
      f.template run<3>(v);
    else if (end - v == 2)
      f.template run<2>(v);
    else if (end - v == 1)
      f.template run<1>(v);
  }
}

struct RunMost {
  const float *scores;
  int64_t count;
  float *most;

  template <int kV> REGARD_INLINE void run(int first) const {
    Vec highest[2][kV]; // of every other key: a chain of maxima waits for itself
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v)
      highest[0][v] = highest[1][v] = load(most + (first + v) * kLanes);
    int64_t key = 0;
    for (; key + 2 <= count; key += 2)
#pragma GCC unroll 2
      for (int side = 0; side < 2; ++side)
#pragma GCC unroll 8
        for (int v = 0; v < kV; ++v)
          highest[side][v] = largest(
              load(scores + (key + side) * kGroup + (first + v) * kLanes), highest[side][v]);
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      if (key < count)
        highest[0][v] = largest(load(scores + key * kGroup + (first + v) * kLanes), highest[0][v]);
      store(most + (first + v) * kLanes, largest(highest[1][v], highest[0][v]));
    }
  }
};

// The maximum of a run whose scores were left in memory.
inline void run_most(const Run &run, int32_t block_begin, const float *scores, float *most) {
  for_lane_tiles(run, RunMost{scores + int64_t(run.begin - block_begin) * kGroup,
                              run.end - run.begin, most});
}

// Pass 1, one tile: products of kR keys with kV vectors of queries.
template <class Products, int kR, int kV>
REGARD_INLINE void score_tile(const typename Products::Unit *keys, int64_t stride,
                              const typename Products::Unit *queries, int64_t units, float *scores,
                              float *most, bool keep_most) {
  Vec sum[kR][kV] = {};
  multiply_tile<Products, Along::kRows, kR, kV>(keys, stride, queries, units, sum);
#pragma GCC unroll 8
  for (int v = 0; v < kV; ++v) {
    Vec highest = load(most + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      store(scores + r * kGroup + v * kLanes, sum[r][v]);
      highest = largest(sum[r][v], highest);
    }
    if (keep_most)
      store(most + v * kLanes, highest);
  }
}

// A weight that must not be seen is -0, so that a value that is not finite
// can be kept out of it; every other weight is +0 or more.
template <bool kCut, class Products>
REGARD_INLINE Vec weight(Vec score, Vec most, Vec factor) {
  const Vec x = (score - most) * factor;
  const Vec p = kRoundsWeights<Products> ? fast_exp2(x) : exp2(x);
  return kCut ? select((Int)(score == splat(-kInfinity)), splat(-0.0f), p) : p;
}

#ifdef REGARD_HAS_DOT_BFLOAT16
REGARD_INLINE void store_weights(float *area, int64_t key, Vec low, Vec high, PairProducts) {
  store_int(reinterpret_cast<int32_t *>(area) + key / 2 * kGroup, pair_bfloat16(low, high));
}
#endif
REGARD_INLINE void store_weights(float *area, int64_t key, Vec first, Vec second, FloatProducts) {
  store(area + key * kGroup, first);
  store(area + (key + 1) * kGroup, second);
}

// Passes 1 and 4 in one, under the reference maximum of the blocks before:
// scores leave the registers only where somebody keeps them. Their own maximum
// is noted, so that the caller can see whether the reference was too low.
template <class Products, int kR, int kV>
REGARD_INLINE void weight_tile(const typename Products::Unit *keys, int64_t stride,
                               const typename Products::Unit *queries, int64_t units, Vec factor,
                               const float *reference, float *most, float *sums, float *area,
                               float *kept, int64_t key) {
  Vec sum[kR][kV] = {};
  multiply_tile<Products, Along::kRows, kR, kV>(keys, stride, queries, units, sum);
  if (kept) {
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v)
        store(kept + (key + r) * kGroup + v * kLanes, sum[r][v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kV; ++v) {
    const Vec base = load(reference + v * kLanes);
    Vec highest = load(most + v * kLanes), total = load(sums + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kR; r += 2) {
      const bool alone = r + 1 == kR;
      highest = largest(sum[r][v], highest);
      const Vec low = weight<false, Products>(sum[r][v], base, factor);
      Vec high = Vec{};
      if (!alone) {
        highest = largest(sum[r + 1 - alone][v], highest);
        high = weight<false, Products>(sum[r + 1 - alone][v], base, factor);
      }
      total = total + (low + high);
      store_weights(area + v * kLanes, key + r, low, high, Products{});
    }
    store(most + v * kLanes, highest);
    store(sums + v * kLanes, total);
  }
}

// Pass 5, one tile: kR columns of the values, added to the output.
template <class Products, int kR, int kV>
REGARD_INLINE void output_tile(const typename Products::Unit *values, int64_t stride,
                               const typename Products::Unit *weights, int64_t count,
                               float *output) {
  Vec sum[kR][kV];
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v)
      sum[r][v] = load(output + r * kGroup + v * kLanes);
  multiply_tile<Products, Along::kAcross, kR, kV>(values, stride, weights, count, sum);
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v)
      store(output + r * kGroup + v * kLanes, sum[r][v]);
}

template <class Unit, class Products> struct ScoreTiles {
  Operand<Unit> keys;
  const Unit *queries;
  int64_t units, count;
  float *scores, *most;
  bool keep_most;
  Ahead *ahead = nullptr;

  template <int kV> struct Lanes {
    const ScoreTiles &t;
    int v;
    int64_t key;
    template <int kR> REGARD_INLINE void run() const {
      score_tile<Products, kR, kV>(t.keys.units + key * t.keys.stride, t.keys.stride, t.queries + v * kLanes,
                                   t.units, t.scores + key * kGroup + v * kLanes,
                                   t.most + v * kLanes, t.keep_most);
    }
  };
  template <int kV> REGARD_INLINE void run(int v) const {
    int64_t key = 0;
    for (; key + kTileRows <= count; key += kTileRows) {
      if (ahead)
        ahead->rows(2);
      Lanes<kV>{*this, v, key}.template run<kTileRows>();
    }
    if (key < count)
      with_rows<kTileRows - 1>(count - key, Lanes<kV>{*this, v, key});
  }
};

template <class Unit, class Products> struct WeightTiles {
  Operand<Unit> keys;
  const Unit *queries;
  int64_t units, begin, end; // keys of the block
  Vec factor;
  const float *reference;
  float *most, *sums, *area;
  float *kept; // the scores, or null
  Ahead &ahead;

  template <int kV> struct Lanes {
    const WeightTiles &t;
    int v;
    int64_t key;
    template <int kR> REGARD_INLINE void run() const {
      weight_tile<Products, kR, kV>(t.keys.units + key * t.keys.stride, t.keys.stride, t.queries + v * kLanes,
                                    t.units, t.factor, t.reference + v * kLanes,
                                    t.most + v * kLanes, t.sums + v * kLanes,
                                    t.area + v * kLanes, t.kept ? t.kept + v * kLanes : nullptr,
                                    key);
    }
  };
  template <int kV> REGARD_INLINE void run(int v) const {
    int64_t key = begin;
    for (; key + kTileRows <= end; key += kTileRows) {
      ahead.rows(2);
      Lanes<kV>{*this, v, key}.template run<kTileRows>();
    }
    if (key < end)
      with_rows<kTileRows - 1>(end - key, Lanes<kV>{*this, v, key});
  }
};

template <class Unit, class Products> struct OutputTiles {
  Operand<Unit> values;
  const Unit *weights;
  int64_t count, width;
  float *output;

  template <int kV> struct Lanes {
    const OutputTiles &t;
    int v;
    int64_t column;
    template <int kR> REGARD_INLINE void run() const {
      output_tile<Products, kR, kV>(t.values.units + column, t.values.stride, t.weights + v * kLanes, t.count,
                                    t.output + column * kGroup + v * kLanes);
    }
  };
  template <int kV> REGARD_INLINE void run(int v) const {
    int64_t column = 0;
    for (; column + kTileRows <= width; column += kTileRows)
      Lanes<kV>{*this, v, column}.template run<kTileRows>();
    if (column < width)
      with_rows<kTileRows - 1>(width - column, Lanes<kV>{*this, v, column});
  }
};

} // namespace
