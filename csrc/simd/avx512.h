// AVX-512 (F, BW, DQ, VL, and BF16 where the unit is compiled with it):
// 16 floats, 32 registers.
#pragma once

#include <immintrin.h>

#define REGARD_LANES 16
#include "types.h"

// The tile of the matrix products: 6 x 4 = 24 running sums, 4 vectors of one
// operand, 1 broadcast of the other; 29 of 32 registers, 10 loads for 24
// multiply-adds.
#define REGARD_REGISTERS 32
#define REGARD_TILE_ROWS 6
#define REGARD_TILE_VECTORS 4

namespace {

#define REGARD_HAS_ANY
REGARD_INLINE bool any(Int mask) { return _mm512_movepi32_mask((__m512i)mask) != 0; }
#define REGARD_HAS_BITS_OF_LANES
REGARD_INLINE uint32_t bits_of_lanes(Int mask) { return uint32_t(_mm512_movepi32_mask((__m512i)mask)); }

// One instruction, where the compiler makes two of the comparison.
#define REGARD_HAS_LARGEST
REGARD_INLINE Vec largest(Vec a, Vec b) { return (Vec)_mm512_max_ps((__m512)a, (__m512)b); }
REGARD_INLINE Vec smallest(Vec a, Vec b) { return (Vec)_mm512_min_ps((__m512)a, (__m512)b); }

#define REGARD_HAS_PARTIAL
REGARD_INLINE __mmask16 first_lanes(int n) { return (__mmask16)((1u << n) - 1); }
REGARD_INLINE Vec load_first(const float *p, int n) {
  return (Vec)_mm512_maskz_loadu_ps(first_lanes(n), p);
}
REGARD_INLINE void store_first(float *p, Vec x, int n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)x);
}
REGARD_INLINE Half load_half_first(const uint16_t *p, int n) {
  return (Half)_mm256_maskz_loadu_epi16(first_lanes(n), p);
}
REGARD_INLINE void store_half_first(uint16_t *p, Half x, int n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), (__m256i)x);
}

#define REGARD_HAS_FLOAT16
REGARD_INLINE Vec widen_float16(Half x) { return (Vec)_mm512_cvtph_ps((__m256i)x); }
REGARD_INLINE Half narrow_float16(Vec x) {
  return (Half)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT);
}

// 2^x = 2^floor(x) * 2^(x - floor(x)). `reduce` gives the fraction (0 for an
// infinity), `scalef` takes the floor by itself and is right for overflow,
// denormals, infinities and NaN. The polynomial is exact at 0 and within 8e-8
// elsewhere. 5 cycles a vector on Zen 5; adding a magic
// constant and shifting into the exponent took 7.
#define REGARD_HAS_EXP2
REGARD_INLINE Vec exp2(Vec x) {
  const __m512 f = _mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF);
  const Vec v = (Vec)f;
  Vec p = v * splat(1.867130108e-3f) + splat(9.017030217e-3f);
  p = p * v + splat(5.579991321e-2f);
  p = p * v + splat(2.401644501e-1f);
  p = p * v + splat(6.931513118e-1f);
  p = p * v + splat(1.0f);
  return (Vec)_mm512_scalef_ps((__m512)p, (__m512)x);
}

// Degree 4, within 3e-6: enough where the result is rounded to
// bfloat16 (4e-3).
#define REGARD_HAS_FAST_EXP2
REGARD_INLINE Vec fast_exp2(Vec x) {
  const __m512 f = _mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF);
  const Vec v = (Vec)f;
  Vec p = v * splat(1.342668459e-2f) + splat(5.224247350e-2f);
  p = p * v + splat(2.412802053e-1f);
  p = p * v + splat(6.930448448e-1f);
  p = p * v + splat(1.0f);
  return (Vec)_mm512_scalef_ps((__m512)p, (__m512)x);
}

#ifdef __AVX512BF16__
#define REGARD_HAS_NARROW_BFLOAT16
REGARD_INLINE Half narrow_bfloat16(Vec x) { return (Half)_mm512_cvtneps_pbh((__m512)x); }

#ifndef REGARD_WIDENS_BFLOAT16
// Pairs of units contracted two at a time.
#define REGARD_HAS_DOT_BFLOAT16
REGARD_INLINE Vec dot_bfloat16(Int a, Int b, Vec sum) {
  return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#endif

#define REGARD_HAS_PAIRS
REGARD_INLINE Int pair_bfloat16(Vec low, Vec high) {
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (Int)_mm512_permutexvar_epi16(order, both);
}
REGARD_INLINE Int load_pairs(const uint16_t *p, int n) {
  const __mmask32 some = n >= 32 ? 0xffffffffu : (1u << n) - 1;
  return (Int)_mm512_maskz_loadu_epi16(some, p);
}
REGARD_INLINE Int join_halves(Half a, Half b) {
  return (Int)_mm512_inserti64x4(_mm512_castsi256_si512((__m256i)a), (__m256i)b, 1);
}
REGARD_INLINE Int pair_halves(Half a, Half b) {
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)a);
  const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)b), 16);
  return (Int)_mm512_or_si512(low, high);
}
#endif

#define REGARD_HAS_MULTIPLY_WIDE
// 32 x 32 -> 64 bits.
REGARD_INLINE void multiply_wide(UInt a, UInt b, UInt *high, UInt *low) {
  const __m512i x = (__m512i)a, y = (__m512i)b;
  const __m512i even = _mm512_mul_epu32(x, y);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(y, 32));
  *low = (UInt)_mm512_mask_shuffle_epi32(even, 0xaaaa, odd, (_MM_PERM_ENUM)0xa0);
  *high = (UInt)_mm512_mask_shuffle_epi32(odd, 0x5555, even, (_MM_PERM_ENUM)0xf5);
}

// Columns become rows: x[i][j] -> x[j][i] of a 16 x 16 block.
REGARD_INLINE void transpose(Vec *x) {
  __m512 a[16], b[16];
  for (int i = 0; i < 8; ++i) {
    a[2 * i] = _mm512_unpacklo_ps((__m512)x[2 * i], (__m512)x[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_ps((__m512)x[2 * i], (__m512)x[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    const __m512d *c = (const __m512d *)&a[4 * i];
    b[4 * i] = (__m512)_mm512_unpacklo_pd(c[0], c[2]);
    b[4 * i + 1] = (__m512)_mm512_unpackhi_pd(c[0], c[2]);
    b[4 * i + 2] = (__m512)_mm512_unpacklo_pd(c[1], c[3]);
    b[4 * i + 3] = (__m512)_mm512_unpackhi_pd(c[1], c[3]);
  }
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_shuffle_f32x4(b[i], b[4 + i], 0x88);
    a[4 + i] = _mm512_shuffle_f32x4(b[i], b[4 + i], 0xdd);
    a[8 + i] = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0x88);
    a[12 + i] = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    x[i] = (Vec)_mm512_shuffle_f32x4(a[i], a[8 + i], 0x88);
    x[8 + i] = (Vec)_mm512_shuffle_f32x4(a[i], a[8 + i], 0xdd);
  }
}

} // namespace
