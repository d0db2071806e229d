// Philox4x32 with 7 rounds (Salmon et al., 2011): random numbers as a function
// of (seed, row, column), so that dropout is the same for every tiling, thread
// count and backend.
#pragma once

#include "simd/vector.h"

namespace {

struct Philox {
  uint32_t key0, key1;

  // Counters (c0, c1, c2, 0) of kLanes lanes to four words.
  REGARD_INLINE void words(UInt c0, UInt c1, UInt c2, UInt (&out)[4]) const {
    const UInt zero = {};
    const UInt m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
    UInt c3 = zero;
    uint32_t k0 = key0, k1 = key1;
#pragma GCC unroll 7
    for (int round = 0; round < 7; ++round) {
      UInt high0, low0, high1, low1;
      multiply_wide(m0, c0, &high0, &low0);
      multiply_wide(m1, c2, &high1, &low1);
      c0 = high1 ^ c1 ^ k0;
      c1 = low1;
      c2 = high0 ^ c3 ^ k1;
      c3 = low0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
  }
};

// Dropout of one call. Lanes are query rows; a column j belongs to the block
// j / 64, and one counter gives the words of columns c, c+16, c+32, c+48 in it.
struct Dropout {
  Philox philox;
  uint32_t threshold;
  float factor; // of the weights that are kept

  REGARD_INLINE explicit Dropout(const regard_args &a) {
    philox = {uint32_t(a.seed), uint32_t(a.seed >> 32)};
    const double scaled = a.dropout * 4294967296.0 + 0.5;
    threshold = scaled >= 4294967295.0 ? 0xffffffffu : uint32_t(scaled);
    factor = float(1.0 / (1.0 - a.dropout));
  }

  // keep[w]: all bits set where the weight of (row of the lane, block * 64 +
  // w * 16 + column) is kept.
  REGARD_INLINE void keep(uint32_t block, uint32_t column, Int rows, uint32_t head,
                          Int (&keep)[4]) const {
    const UInt zero = {};
    UInt words[4];
    philox.words(zero + (block * 16 + column), (UInt)rows, zero + head, words);
    for (int w = 0; w < 4; ++w)
      keep[w] = (Int)(words[w] >= zero + threshold);
  }
};

} // namespace
