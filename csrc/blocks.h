// Keys and values of one head, in the form that products read.
#pragma once

#include "parts.h"
#include "scores.h"

namespace {

constexpr int kBlock = 128; // keys at most; a multiple of kPart
constexpr int kPart = 64;   // keys summed at once; cells of the map are multiples
// Keys and values prepared at once, a multiple of kBlock. Products of tiles are
// so fast that an output should stay near for longer than a block; those of
// parts take more room and more time.
template <class Products> constexpr int kPreparedKeys = !Products::kTiles ? kBlock : Products::kParts > 1 ? 256 : 512;

// What products of elements are taken as, where each number is used many times.
template <class T> struct ProductsOf { using Type = FloatProducts; };
#if defined(REGARD_HAS_TILES)
template <> struct ProductsOf<Bfloat16> { using Type = TileProducts<1>; };
#elif defined(REGARD_HAS_DOT_BFLOAT16)
template <> struct ProductsOf<Bfloat16> { using Type = PairProducts; };
#endif

// One head as the products read it.
template <class T, class Products> struct Head {
  using Unit = typename Products::Unit;
  // Elements are their own units: keys need no rewriting.
  static constexpr bool kDirectKeys = sizeof(T) * Products::kPerUnit == sizeof(Unit) && Products::kParts == 1;
  static constexpr bool kDirectValues = kDirectKeys && Products::kPerUnit == 1;

  Rows<const T> query, key, value;
  Rows<T> output;
  Rows<Bfloat16> rest; // of the output; data null: not wanted
  int64_t width, value_width, keys;

  Head(const regard_args &a, int64_t b, int64_t h) {
    const int64_t g = h / (a.heads / a.kv_heads);
    query = rows_of<const T>(a.query, b, h);
    key = rows_of<const T>(a.key, b, g);
    value = rows_of<const T>(a.value, b, g);
    output = rows_of<T>(a.output, b, h);
    rest = output_rest_of(a, b, h);
    width = a.head_dim;
    value_width = a.value_dim;
    keys = a.keys;
  }
  int64_t units() const { return units_of<Products>(width); }

  // n elements of a row of the output, and what their rounding left.
  void write(int64_t row, int64_t e, Vec x, int n) const {
    store_elements(output[row] + e, x, n);
    if (rest.data)
      store_elements(rest[row] + e, x - load_elements(output[row] + e, n), n);
  }
};

// Products are taken directly from keys [begin, begin + count) at
// `units + r * stride`, from values as the pass needs them; parts are `part` apart.
template <class Unit> struct Operand {
  const Unit *units;
  int64_t stride, part;
};

// kLanes units of a row from unit u on, or a part of them; beyond the row's
// width they are zero.
template <class Products, class T>
REGARD_INLINE Vec load_units(const T *row, int64_t u, int64_t width, int part = 0) {
  if constexpr (Products::kPerUnit == 2)
    return pairs_of_row(row, u, width, part);
  else
    return load_elements(row + u, int(smaller<int64_t>(kLanes, width - u)));
}

// Rows [begin, end) as units in consecutive rows of `stride` units, part by part.
template <class T, class Products>
void copy_rows(Rows<const T> from, int64_t begin, int64_t end, int64_t width, int64_t stride,
               int64_t part_units, typename Products::Unit *to) {
  for (int part = 0; part < Products::kParts; ++part) {
    float *at = reinterpret_cast<float *>(to + part * part_units);
    for (int64_t i = begin; i < end; ++i, at += stride)
      for (int64_t u = 0; u < stride; u += kLanes)
        store(at + u, load_units<Products>(from[i], u, width, part));
  }
}

// Keys [begin, end) of the values, or a part of them, turned: rows are columns
// of the values, 0 beyond the last, units are pairs of keys, 0 beyond the last,
// to whole tiles from any multiple of 8 on.
template <class T>
void turn_values(Rows<const T> value, int64_t begin, int64_t end, int64_t width, int64_t stride,
                 int part, int32_t *out) {
  const int64_t units = round_up(ceil_div(end - begin, 2), 16);
  for (int64_t e = 0; e < round_up(width, 16); ++e)
    for (int64_t u = units; u < units + 16; u += kLanes)
      store(reinterpret_cast<float *>(out) + e * stride + u, Vec{});
  for (int64_t u = 0; u < units; u += kLanes)
    for (int64_t e = 0; e < round_up(width, 16); e += kLanes) {
      const int n = int(larger<int64_t>(0, smaller<int64_t>(kLanes, width - e)));
      Vec x[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int64_t key = begin + 2 * (u + i);
        const Half low = halves_of(value[smaller(key, end - 1)] + e, key < end ? n : 0, part);
        const Half high = halves_of(value[smaller(key + 1, end - 1)] + e, key + 1 < end ? n : 0, part);
        x[i] = as_vec(pair_halves(low, high));
      }
      transpose(x);
      for (int i = 0; i < kLanes; ++i)
        store(reinterpret_cast<float *>(out) + (e + i) * stride + u, x[i]);
    }
}

// Keys and values of the next block, asked for row by row while this one is
// worked on: they are far away (a head of 4096 keys does not fit the second
// cache), and broadcast reads do not look like a stream to the hardware.
struct Ahead {
  const char *key, *value;
  int64_t key_step, value_step, key_bytes, value_bytes, left; // rows

  REGARD_INLINE void rows(int64_t count) {
    for (; count > 0 && left > 0; --count, --left) {
      for (int64_t i = 0; i < key_bytes; i += 64)
        __builtin_prefetch(key + i, 0, 2);
      for (int64_t i = 0; i < value_bytes; i += 64)
        __builtin_prefetch(value + i, 0, 2);
      key += key_step;
      value += value_step;
    }
  }
};

template <class T, class Products> struct Blocks {
  static constexpr int64_t kPrepared = kPreparedKeys<Products>;
  using Unit = typename Products::Unit;
  const Head<T, Products> &head;
  Unit *key_scratch, *value_scratch;
  Operand<Unit> keys, values;
  Ahead ahead;
  int64_t begin, end; // of the block

  static int64_t key_stride(int64_t width) {
    return round_up(units_of<Products>(width), kLanes);
  }
  static int64_t value_stride(int64_t width) {
    return Products::kTiles ? kPrepared / 2 + 16 : round_up(width, kLanes);
  }
  // Of one part.
  static int64_t key_units(int64_t width) { return key_stride(width) * kPrepared; }
  static int64_t value_units(int64_t width) {
    return value_stride(width) * (Products::kTiles ? round_up(width, 16) : kPrepared);
  }

  // Whether products can read the keys [begin, end) where they lie.
  bool keys_direct(int64_t begin, int64_t end) const {
    constexpr int64_t kWhole = Products::kPerUnit * Products::kUnitStep;
    return Head<T, Products>::kDirectKeys && head.width % kWhole == 0 &&
           head.key.stride % Products::kPerUnit == 0 && (end - begin) % Products::kUnitStep == 0;
  }

  void prepare(int64_t from, int64_t to) {
    begin = from;
    end = to;
    if (keys_direct(begin, end)) {
      keys = {reinterpret_cast<const Unit *>(head.key[begin]), head.key.stride / Products::kPerUnit, 0};
    } else {
      keys = {key_scratch, key_stride(head.width), key_units(head.width)};
      copy_rows<T, Products>(head.key, begin, end, head.width, keys.stride, keys.part, key_scratch);
    }
    prepare_values(begin, end);
    const int64_t element = sizeof(T);
    ahead = {reinterpret_cast<const char *>(head.key[end]),
             reinterpret_cast<const char *>(head.value[end]),
             head.key.stride * element,
             head.value.stride * element,
             head.width * element,
             head.value_width * element,
             smaller<int64_t>(kPrepared, head.keys - end)};
  }

  // Units of keys, and of values, from a key of the block on.
  Operand<Unit> keys_from(int64_t key) const {
    return {keys.units + (key - begin) * keys.stride, keys.stride, keys.part};
  }
  Operand<Unit> values_from(int64_t key) const {
    const int64_t step = Products::kTiles ? 1 : values.stride;
    return {values.units + (key - begin) / Products::kPerUnit * step, values.stride, values.part};
  }

private:
  void prepare_values(int64_t begin, int64_t end) {
    const int64_t width = head.value_width;
    values = {value_scratch, value_stride(width), value_units(width)};
    if constexpr (Products::kTiles) {
      for (int part = 0; part < Products::kParts; ++part)
        turn_values(head.value, begin, end, width, values.stride, part, value_scratch + part * values.part);
    } else if constexpr (Products::kPerUnit == 2) {
      // Two rows of values become one row of pairs; after an odd last row, zeros.
      Unit *to = value_scratch;
      for (int64_t i = begin; i < end; i += 2, to += values.stride)
        for (int64_t u = 0; u < values.stride; u += kLanes)
          store(reinterpret_cast<float *>(to) + u,
                pairs_of_rows(head.value[i], i + 1 < end ? head.value[i + 1] : nullptr, u, width, 0));
    } else if constexpr (Head<T, Products>::kDirectValues) {
      values = {reinterpret_cast<const Unit *>(head.value[begin]), head.value.stride, 0};
    } else {
      copy_rows<T, Products>(head.value, begin, end, width, values.stride, 0, value_scratch);
    }
  }
};

// Whether keys [begin, end) hold a value that is not finite.
template <class T>
bool strange_values(Rows<const T> value, int64_t width, int64_t begin, int64_t end) {
  Int found = {};
  for (int64_t j = begin; j < end; ++j)
    for (int64_t e = 0; e < width; e += kLanes) {
      const Vec x = load_elements(value[j] + e, int(smaller<int64_t>(kLanes, width - e)));
      found |= (Int)((as_int(x) & 0x7fffffff) >= 0x7f800000);
    }
  return any(found);
}

} // namespace
