// AVX2 with FMA and F16C: 8 floats, 16 registers.
#pragma once

#include <immintrin.h>

#define REGARD_LANES 8
#include "types.h"

// 6 x 2 = 12 running sums, 2 vectors, 1 broadcast: 15 of 16 registers.
#define REGARD_REGISTERS 16
#define REGARD_TILE_ROWS 6
#define REGARD_TILE_VECTORS 2

namespace {

#define REGARD_HAS_ANY
REGARD_INLINE bool any(Int mask) { return _mm256_movemask_ps((__m256)mask) != 0; }
#define REGARD_HAS_BITS_OF_LANES
REGARD_INLINE uint32_t bits_of_lanes(Int mask) { return uint32_t(_mm256_movemask_ps((__m256)mask)); }

#define REGARD_HAS_LARGEST
REGARD_INLINE Vec largest(Vec a, Vec b) { return (Vec)_mm256_max_ps((__m256)a, (__m256)b); }
REGARD_INLINE Vec smallest(Vec a, Vec b) { return (Vec)_mm256_min_ps((__m256)a, (__m256)b); }

#define REGARD_HAS_FLOAT16
REGARD_INLINE Vec widen_float16(Half x) { return (Vec)_mm256_cvtph_ps((__m128i)x); }
REGARD_INLINE Half narrow_float16(Vec x) {
  return (Half)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT);
}

#define REGARD_HAS_MULTIPLY_WIDE
// 32 x 32 -> 64 bits.
REGARD_INLINE void multiply_wide(UInt a, UInt b, UInt *high, UInt *low) {
  const __m256i x = (__m256i)a, y = (__m256i)b;
  const __m256i even = _mm256_mul_epu32(x, y);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(y, 32));
  *low = (UInt)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
  *high = (UInt)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}

// Columns become rows: x[i][j] -> x[j][i] of an 8 x 8 block.
REGARD_INLINE void transpose(Vec *x) {
  __m256 a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_ps((__m256)x[2 * i], (__m256)x[2 * i + 1]);
    a[2 * i + 1] = _mm256_unpackhi_ps((__m256)x[2 * i], (__m256)x[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
    b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
    b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
    b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    x[i] = (Vec)_mm256_permute2f128_ps(b[i], b[4 + i], 0x20);
    x[4 + i] = (Vec)_mm256_permute2f128_ps(b[i], b[4 + i], 0x31);
  }
}

} // namespace
