// The small vocabulary that every kernel is written in: `Vec`, kLanes floats,
// and `Int`, as many 32-bit integers. Built on the compilers' own vector types,
// so that + - * / < & << and ?: are the language's; each instruction set
// replaces the few operations that the compiler would not find by itself
// (simd/avx512.h and its siblings define REGARD_HAS_... and the function).
//
// Everything is in an anonymous namespace: a unit never shares code with one
// that was compiled for another instruction set. For the same reason no
// template of the standard library is used in these units.
#pragma once

#include "types.h"

namespace {

// 0, 1, 2, ...
REGARD_INLINE Int iota() {
  Int x;
  for (int i = 0; i < kLanes; ++i)
    x[i] = i;
  return x;
}

// mask comes from a comparison: all bits set or none, per lane.
REGARD_INLINE Vec select(Int mask, Vec a, Vec b) { return mask ? a : b; }
// The second operand where either is NaN: write largest(new, running) to keep
// a running maximum free of NaN, largest(bound, x) to let a NaN through.
#ifndef REGARD_HAS_LARGEST
REGARD_INLINE Vec largest(Vec a, Vec b) { return a > b ? a : b; }
REGARD_INLINE Vec smallest(Vec a, Vec b) { return a < b ? a : b; }
#endif
// Contracted to one instruction where there is one (-ffp-contract=fast).
REGARD_INLINE Vec multiply_add(Vec a, Vec b, Vec c) { return a * b + c; }

#ifndef REGARD_HAS_ANY
REGARD_INLINE bool any(Int mask) {
  int32_t found = 0;
  for (int i = 0; i < kLanes; ++i)
    found |= mask[i];
  return found != 0;
}
#endif

// Bit i: the sign of lane i.
#ifndef REGARD_HAS_BITS_OF_LANES
REGARD_INLINE uint32_t bits_of_lanes(Int mask) {
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i)
    bits |= uint32_t(mask[i] < 0) << i;
  return bits;
}
#endif

// The first n of kLanes; the others read as zero and are not touched.
#ifndef REGARD_HAS_PARTIAL
REGARD_INLINE Vec load_first(const float *p, int n) {
  float lanes[kLanes] = {};
  for (int i = 0; i < n; ++i)
    lanes[i] = p[i];
  return load(lanes);
}
REGARD_INLINE void store_first(float *p, Vec x, int n) {
  for (int i = 0; i < n; ++i)
    p[i] = x[i];
}
REGARD_INLINE Half load_half_first(const uint16_t *p, int n) {
  uint16_t lanes[kLanes] = {};
  for (int i = 0; i < n; ++i)
    lanes[i] = p[i];
  return load_half(lanes);
}
REGARD_INLINE void store_half_first(uint16_t *p, Half x, int n) {
  for (int i = 0; i < n; ++i)
    p[i] = x[i];
}
#endif

REGARD_INLINE float sum_of(Vec x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i)
      lanes[i] += lanes[i + half];
  return lanes[0];
}

REGARD_INLINE float largest_of(Vec x) {
  float most = x[0];
  for (int i = 1; i < kLanes; ++i)
    most = x[i] > most ? x[i] : most;
  return most;
}

// bfloat16 is the upper half of a float. Rounding to nearest even; a NaN keeps
// a bit set that survives the cut.
REGARD_INLINE Vec widen_bfloat16(Half x) {
  return (Vec)(__builtin_convertvector(x, UInt) << 16);
}
#ifndef REGARD_HAS_NARROW_BFLOAT16
REGARD_INLINE Half narrow_bfloat16(Vec x) {
  const UInt bits = (UInt)x;
  const UInt rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const UInt nan = (bits >> 16) | 0x40;
  return __builtin_convertvector((Int)(x != x) ? nan : rounded, Half);
}
#endif

// Pairs of bfloat16 in one 32-bit unit, the first in the lower half.
#ifndef REGARD_HAS_PAIRS
// Each lane's two numbers, rounded.
REGARD_INLINE Int pair_bfloat16(Vec low, Vec high) {
  return (Int)(__builtin_convertvector(narrow_bfloat16(low), UInt) |
               __builtin_convertvector(narrow_bfloat16(high), UInt) << 16);
}
// Those of a before those of b.
REGARD_INLINE Int join_halves(Half a, Half b) {
  uint16_t halves[2 * kLanes];
  store_half(halves, a);
  store_half(halves + kLanes, b);
  return load_int(reinterpret_cast<const int32_t *>(halves));
}
REGARD_INLINE Int pair_halves(Half low, Half high) {
  return (Int)(__builtin_convertvector(low, UInt) | __builtin_convertvector(high, UInt) << 16);
}
// The first n of 2 * kLanes halves at p as units; the rest are zero, not read.
REGARD_INLINE Int load_pairs(const uint16_t *p, int n) {
  uint16_t halves[2 * kLanes] = {};
  for (int i = 0; i < n; ++i)
    halves[i] = p[i];
  return load_int(reinterpret_cast<const int32_t *>(halves));
}
#endif

#ifndef REGARD_HAS_FLOAT16
REGARD_INLINE Vec widen_float16(Half x) {
  // Move the exponent and mantissa into place, then multiply by 2^112, which
  // also makes the small numbers (exponent 0) right.
  const UInt bits = __builtin_convertvector(x, UInt);
  const UInt sign = (bits & 0x8000) << 16;
  const UInt rest = (bits & 0x7fff) << 13;
  const Vec scaled = (Vec)rest * splat(0x1p112f);
  const Int special = (Int)(rest >= (0x7c00u << 13)); // Inf and NaN
  const UInt value = special ? (rest | 0x7f800000u) : (UInt)scaled;
  return (Vec)(value | sign);
}
REGARD_INLINE Half narrow_float16(Vec x) {
  const UInt bits = (UInt)x;
  const UInt sign = (bits >> 16) & 0x8000;
  const UInt magnitude = bits & 0x7fffffff;
  // Normal numbers: change of exponent bias with rounding to nearest even.
  const UInt normal = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Small ones: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
  const UInt small = (UInt)((Vec)magnitude + splat(0.5f)) - 0x3f000000;
  UInt value = (Int)(magnitude < 0x38800000) ? small : normal;
  value = (Int)(magnitude >= 0x477ff000) ? (value & 0) + 0x7c00 : value;
  value = (Int)(magnitude > 0x7f800000) ? (value & 0) + 0x7e00 : value;
  return __builtin_convertvector(value | sign, Half);
}
#endif

#ifndef REGARD_HAS_EXP2
// 2^x: x = n + f with n the nearest integer, 2^f by a polynomial (within 1e-7),
// times 2^n made from its bits. Below 2^-126 it is zero, from 2^127.5 on
// infinite; NaN stays NaN.
REGARD_INLINE Vec exp2(Vec x) {
  const Vec magic = splat(12582912.0f); // 1.5 * 2^23: adding it rounds to integer
  const Vec bounded = smallest(splat(128.0f), x);
  const Vec shifted = bounded + magic; // n in the low bits
  const Vec f = bounded - (shifted - magic);
  Vec p = splat(1.326472691e-3f);
  p = p * f + splat(9.671512660e-3f);
  p = p * f + splat(5.550733744e-2f);
  p = p * f + splat(2.402224208e-1f);
  p = p * f + splat(6.931469776e-1f);
  p = p * f + splat(1.0f);
  const Vec power = as_vec((as_int(shifted) << 23) + 0x3f800000);
  return as_vec(as_int(p * power) & ~(Int)(x < splat(-126.0f)));
}
#endif

#ifndef REGARD_HAS_FAST_EXP2
// The same to about 4e-6, where the result is rounded to bfloat16 anyway.
REGARD_INLINE Vec fast_exp2(Vec x) { return exp2(x); }
#endif

#ifndef REGARD_HAS_MULTIPLY_WIDE
// 32 x 32 -> 64 bits, from 16-bit halves.
REGARD_INLINE void multiply_wide(UInt a, UInt b, UInt *high, UInt *low) {
  const UInt a0 = a & 0xffff, a1 = a >> 16, b0 = b & 0xffff, b1 = b >> 16;
  const UInt middle = a1 * b0 + ((a0 * b0) >> 16);
  const UInt carry = a0 * b1 + (middle & 0xffff);
  *high = a1 * b1 + (middle >> 16) + (carry >> 16);
  *low = a * b;
}
#endif

// log2 of a positive number, 0 gives -Inf, NaN and +Inf stay.
REGARD_INLINE Vec log2(Vec x) {
  const Int bits = as_int(x);
  // Mantissa in [sqrt(1/2), sqrt(2)), so that the exponent is 0 around 1.
  const Int exponent = (bits - 0x3f3504f3) >> 23;
  const Vec m = as_vec(bits - (exponent << 23)) - splat(1.0f);
  // log(1+m) as m - m^2/2 + m^3 P(m) (Cephes logf).
  Vec p = splat(7.0376836292e-2f);
  p = p * m + splat(-1.1514610310e-1f);
  p = p * m + splat(1.1676998740e-1f);
  p = p * m + splat(-1.2420140846e-1f);
  p = p * m + splat(1.4249322787e-1f);
  p = p * m + splat(-1.6668057665e-1f);
  p = p * m + splat(2.0000714765e-1f);
  p = p * m + splat(-2.4999993993e-1f);
  p = p * m + splat(3.3333331174e-1f);
  const Vec square = m * m;
  const Vec tail = p * m * square - splat(0.5f) * square;
  const Vec result = (m + tail) * splat(kLog2E) + to_float(exponent);
  const Vec finite = select((Int)(x > splat(0.0f)), result, splat(-kInfinity));
  return select((Int)(x < splat(kInfinity)), finite, x);
}

// tanh: a polynomial near zero (Cephes tanhf), through exp2 elsewhere.
REGARD_INLINE Vec tanh(Vec x) {
  const Vec square = x * x;
  Vec p = splat(-5.70498872745e-3f);
  p = p * square + splat(2.06390887954e-2f);
  p = p * square + splat(-5.37397155531e-2f);
  p = p * square + splat(1.33314422036e-1f);
  p = p * square + splat(-3.33332819422e-1f);
  const Vec near = p * square * x + x;
  const Vec far = splat(1.0f) - splat(2.0f) / (exp2(x * splat(2 * kLog2E)) + splat(1.0f));
  return select((Int)(square < splat(0.390625f)), near, far);
}

} // namespace
