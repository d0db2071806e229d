// The vector types and the plainest operations; see vector.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define REGARD_INLINE inline __attribute__((always_inline))
// A function of its own: what else its caller does takes no registers of a loop
// that needs nearly all (tests/native/test_registers.py).
#define REGARD_APART __attribute__((noinline))

namespace {

constexpr int kLanes = REGARD_LANES;

typedef float Vec __attribute__((vector_size(4 * REGARD_LANES)));
typedef int32_t Int __attribute__((vector_size(4 * REGARD_LANES)));
typedef uint32_t UInt __attribute__((vector_size(4 * REGARD_LANES)));
typedef uint16_t Half __attribute__((vector_size(2 * REGARD_LANES)));

typedef uint8_t Byte __attribute__((vector_size(REGARD_LANES)));

// The same in memory, at any alignment.
typedef float LooseVec __attribute__((vector_size(4 * REGARD_LANES), aligned(4), may_alias));
typedef int32_t LooseInt __attribute__((vector_size(4 * REGARD_LANES), aligned(4), may_alias));
typedef uint16_t LooseHalf __attribute__((vector_size(2 * REGARD_LANES), aligned(2), may_alias));
typedef uint8_t LooseByte __attribute__((vector_size(REGARD_LANES), aligned(1), may_alias));

template <class A> REGARD_INLINE A smaller(A a, A b) { return b < a ? b : a; }
template <class A> REGARD_INLINE A larger(A a, A b) { return a < b ? b : a; }
REGARD_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
REGARD_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

constexpr float kInfinity = __builtin_inff();
constexpr float kLowest = -__FLT_MAX__;
constexpr double kLog2EDouble = 1.44269504088896340736;
constexpr float kLog2E = float(kLog2EDouble);
constexpr double kLn2Double = 0.69314718055994530942;
constexpr float kLn2 = float(kLn2Double);

REGARD_INLINE Vec splat(float x) { return x - Vec{}; }
REGARD_INLINE Int splat_int(int32_t x) { return x - Int{}; }
REGARD_INLINE Int as_int(Vec x) { return (Int)x; }
REGARD_INLINE Vec as_vec(Int x) { return (Vec)x; }
REGARD_INLINE Vec to_float(Int x) { return __builtin_convertvector(x, Vec); }

REGARD_INLINE Vec load(const float *p) { return *reinterpret_cast<const LooseVec *>(p); }
REGARD_INLINE void store(float *p, Vec x) { *reinterpret_cast<LooseVec *>(p) = x; }
REGARD_INLINE Int load_int(const int32_t *p) { return *reinterpret_cast<const LooseInt *>(p); }
REGARD_INLINE void store_int(int32_t *p, Int x) { *reinterpret_cast<LooseInt *>(p) = x; }
REGARD_INLINE Half load_half(const uint16_t *p) { return *reinterpret_cast<const LooseHalf *>(p); }
REGARD_INLINE void store_half(uint16_t *p, Half x) { *reinterpret_cast<LooseHalf *>(p) = x; }

} // namespace
