// Matrices of whole tiles (AMX), and their product.
//
// With parts, every matrix is the sum of kParts panels of bfloat16, the first
// of which holds the upper bits. Of their products those are taken whose places
// together are below kParts (six of nine, three of four): what is left out is
// below the last place of what was split. The small ones are summed first, so
// that they meet a sum of their own size.
#pragma once

#include "products.h"

#ifdef REGARD_HAS_TILES
namespace {

constexpr int64_t kTileSide = 16; // rows, and units of a row

// Where a matrix of tiles lies, in bytes.
struct TileGrid {
  const char *data;
  int64_t row, down, right; // to the next row, and to the next tile either way
  int64_t part;             // to the next part

  template <class X>
  TileGrid(const X *at, int64_t row_units, int64_t part_units = 0)
      : data(reinterpret_cast<const char *>(at)), row(row_units * 4), down(kTileSide * row), right(64),
        part(part_units * 4) {}
  REGARD_INLINE const char *at(int64_t i, int64_t j) const { return data + i * down + j * right; }
  REGARD_INLINE TileGrid from(int64_t i, int64_t j) const {
    TileGrid moved = *this;
    moved.data = at(i, j);
    return moved;
  }
};

// kI x kJ running sums in tiles 0 to 3; tiles 4 and 5 hold a, 6 and 7 hold b.
template <int kI, int kJ> struct TileSums {
  const TileGrid &a, &b;

  REGARD_INLINE void load_a(int part, int64_t k) const {
    tile_load<4>(a.at(0, k) + part * a.part, a.row);
    if constexpr (kI > 1)
      tile_load<5>(a.at(1, k) + part * a.part, a.row);
  }
  REGARD_INLINE void load_b(int part, int64_t k) const {
    tile_load<6>(b.at(k, 0) + part * b.part, b.row);
    if constexpr (kJ > 1)
      tile_load<7>(b.at(k, 1) + part * b.part, b.row);
  }
  REGARD_INLINE void add() const {
    tile_dot<0, 4, 6>();
    if constexpr (kJ > 1)
      tile_dot<1, 4, 7>();
    if constexpr (kI > 1)
      tile_dot<2, 5, 6>();
    if constexpr (kI > 1 && kJ > 1)
      tile_dot<3, 5, 7>();
  }
  // The same in the order in which the operands are wanted.
  REGARD_INLINE void load_and_add(int part_a, int part_b, int64_t k) const {
    const auto load = [&](const TileGrid &x, int part, int64_t i, int64_t j) {
      return x.at(i, j) + part * x.part;
    };
    tile_load<4>(load(a, part_a, 0, k), a.row);
    tile_load<6>(load(b, part_b, k, 0), b.row);
    tile_dot<0, 4, 6>();
    if constexpr (kJ > 1) {
      tile_load<7>(load(b, part_b, k, 1), b.row);
      tile_dot<1, 4, 7>();
    }
    if constexpr (kI > 1) {
      tile_load<5>(load(a, part_a, 1, k), a.row);
      tile_dot<2, 5, 6>();
    }
    if constexpr (kI > 1 && kJ > 1)
      tile_dot<3, 5, 7>();
  }
  // Products with a part that is not the first, of one step.
  template <int kParts> REGARD_INLINE void add_small(int64_t k) const {
    if constexpr (kParts == 2) {
      load_and_add(1, 0, k);
      load_and_add(0, 1, k);
    } else if constexpr (kParts == 3) { // each step loads one operand anew
      load_and_add(2, 0, k);
      load_a(1, k), add();
      load_b(1, k), add();
      load_a(0, k), add();
      load_b(2, k), add();
    }
  }
};

// The first kI x kJ tiles of c = or += a's rows times b's columns, over `steps` tiles.
template <int kParts, int kI, int kJ>
REGARD_INLINE void multiply_tiles(const TileGrid &a, const TileGrid &b, const TileGrid &c,
                                  int64_t steps, bool add) {
  const auto sum = [&](int64_t i, int64_t j) { return const_cast<char *>(c.at(i, j)); };
  if (add) {
    tile_load<0>(sum(0, 0), c.row);
    if constexpr (kJ > 1)
      tile_load<1>(sum(0, 1), c.row);
    if constexpr (kI > 1)
      tile_load<2>(sum(1, 0), c.row);
    if constexpr (kI > 1 && kJ > 1)
      tile_load<3>(sum(1, 1), c.row);
  } else {
    tile_zero<0>();
    tile_zero<1>();
    tile_zero<2>();
    tile_zero<3>();
  }
  const TileSums<kI, kJ> sums{a, b};
  if constexpr (kParts > 1)
    for (int64_t k = 0; k < steps; ++k)
      sums.template add_small<kParts>(k);
  for (int64_t k = 0; k < steps; ++k)
    sums.load_and_add(0, 0, k);
  tile_store<0>(sum(0, 0), c.row);
  if constexpr (kJ > 1)
    tile_store<1>(sum(0, 1), c.row);
  if constexpr (kI > 1)
    tile_store<2>(sum(1, 0), c.row);
  if constexpr (kI > 1 && kJ > 1)
    tile_store<3>(sum(1, 1), c.row);
}

// One or two tiles either way.
template <int kParts>
inline void multiply_either(const TileGrid &a, const TileGrid &b, const TileGrid &c, bool two, bool wide,
                            int64_t steps, bool add) {
  if (two && wide)
    multiply_tiles<kParts, 2, 2>(a, b, c, steps, add);
  else if (two)
    multiply_tiles<kParts, 2, 1>(a, b, c, steps, add);
  else if (wide)
    multiply_tiles<kParts, 1, 2>(a, b, c, steps, add);
  else
    multiply_tiles<kParts, 1, 1>(a, b, c, steps, add);
}

// All of c: `rows` tiles down, columns [begin, end) of it.
template <int kParts>
inline void multiply_grid(const TileGrid &a, const TileGrid &b, const TileGrid &c, int64_t rows,
                          int64_t begin, int64_t end, int64_t steps, bool add) {
  for (int64_t i = 0; i < rows; i += 2)
    for (int64_t j = begin; j < end; j += 2) {
      const TileGrid from = a.from(i, 0), by = b.from(0, j), to = c.from(i, j);
      multiply_either<kParts>(from, by, to, i + 1 < rows, j + 1 < end, steps, add);
    }
}

} // namespace
#endif
