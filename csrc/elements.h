// Rows of any of the three element types as vectors of floats, and the places
// that the strides of a call lead to.
#pragma once

#include "internal.h"
#include "simd/vector.h"

namespace {

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

REGARD_INLINE const uint16_t *bits_of(const Bfloat16 *p) { return &p->bits; }
REGARD_INLINE const uint16_t *bits_of(const Float16 *p) { return &p->bits; }
REGARD_INLINE uint16_t *bits_of(Bfloat16 *p) { return &p->bits; }
REGARD_INLINE uint16_t *bits_of(Float16 *p) { return &p->bits; }

// The first n (at most kLanes) elements at p; the rest are zero, not read.
REGARD_INLINE Vec load_elements(const float *p, int n) {
  return n >= kLanes ? load(p) : load_first(p, n);
}
REGARD_INLINE Vec load_elements(const Bfloat16 *p, int n) {
  return widen_bfloat16(n >= kLanes ? load_half(bits_of(p)) : load_half_first(bits_of(p), n));
}
REGARD_INLINE Vec load_elements(const Float16 *p, int n) {
  return widen_float16(n >= kLanes ? load_half(bits_of(p)) : load_half_first(bits_of(p), n));
}
REGARD_INLINE void store_halves(uint16_t *p, Half x, int n) {
  if (n >= kLanes)
    store_half(p, x);
  else
    store_half_first(p, x, n);
}
REGARD_INLINE void store_elements(float *p, Vec x, int n) {
  if (n >= kLanes)
    store(p, x);
  else
    store_first(p, x, n);
}
REGARD_INLINE void store_elements(Bfloat16 *p, Vec x, int n) {
  store_halves(bits_of(p), narrow_bfloat16(x), n);
}
REGARD_INLINE void store_elements(Float16 *p, Vec x, int n) {
  store_halves(bits_of(p), narrow_float16(x), n);
}

// Row 0 of one head; row i is `stride` elements times i further.
template <class T> struct Rows {
  T *data;
  int64_t stride;
  REGARD_INLINE T *operator[](int64_t i) const { return data + i * stride; }
};

template <class T> REGARD_INLINE Rows<T> rows_of(const regard_rows &x, int64_t b, int64_t h) {
  return {static_cast<T *>(x.data) + b * x.batch + h * x.head, x.row};
}

// What the rounding of the output left lies as the output does; data null: not
// kept.
inline Rows<Bfloat16> output_rest_of(const regard_args &a, int64_t b, int64_t h) {
  regard_rows rest = a.output;
  rest.data = a.output_rest;
  return a.output_rest ? rows_of<Bfloat16>(rest, b, h) : Rows<Bfloat16>{nullptr, 0};
}

// Calls f(T{}) with the element type of a dtype code.
template <class F> REGARD_INLINE int with_element(int64_t dtype, F f) {
  if (dtype == REGARD_FLOAT32)
    return f(float{});
  if (dtype == REGARD_BFLOAT16)
    return f(Bfloat16{});
  return f(Float16{});
}

// One element of a dense matrix as a float.
REGARD_INLINE float element(const void *data, int64_t dtype, int64_t at) {
  if (dtype == REGARD_FLOAT32)
    return static_cast<const float *>(data)[at];
  if (dtype == REGARD_BFLOAT16)
    return load_elements(static_cast<const Bfloat16 *>(data) + at, 1)[0];
  return load_elements(static_cast<const Float16 *>(data) + at, 1)[0];
}

} // namespace
