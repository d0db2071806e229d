// Products of whole tiles (AMX), in the places of the register tiles of
// forward_tiles.h: the same areas, so that masks, biases, softmax, dropout, map
// and lse are the code of every other unit.
//
//   scores [key][lane] = keys [key][units] x queries [unit][lane]
//   output [column][lane] += values turned [column][units] x weights [unit][lane]
//
// A unit is a pair: of dimensions in the first, of keys in the second. The right
// operands are what turn_queries and store_pairs leave; keys are read where
// they lie. Rows and units are counted in steps of 16: widths are padded with
// zeros, keys beyond a run get the weight 0 (its caller sees to it that no value
// there is infinite), scores beyond a run are not read.
#pragma once

#include "forward_tiles.h"
#include "tile_grid.h"

namespace {

template <int kParts> struct ScoreTiles<int32_t, TileProducts<kParts>> {
  Operand<int32_t> keys;
  const int32_t *queries;
  int64_t units, count;
  float *scores, *most;
  bool keep_most;

  void run(int quad_begin, int quad_end) const {
    multiply_grid<kParts>(TileGrid(keys.units, keys.stride, keys.part), TileGrid(queries, kGroup, units * kGroup),
                          TileGrid(scores, kGroup), ceil_div(count, kTileSide), quad_begin, quad_end,
                          units / kTileSide, false);
    if (!keep_most)
      return;
    Run run{0, int32_t(count), quad_begin, quad_end, false};
    run_most(run, 0, scores, most);
  }
};

// `count` is in steps of 16 units.
template <int kParts> struct OutputTiles<int32_t, TileProducts<kParts>> {
  using Products = TileProducts<kParts>;
  Operand<int32_t> values;
  const int32_t *weights;
  int64_t count, width;
  float *output;

  void run(int quad_begin, int quad_end) const {
    multiply_grid<kParts>(TileGrid(values.units, values.stride, values.part),
                          TileGrid(weights, Products::kWeightRow, weight_part<Products>()),
                          TileGrid(output, kGroup), ceil_div(width, kTileSide), quad_begin, quad_end,
                          ceil_div(count, kTileSide), true);
  }
};

template <int kParts>
inline void for_lane_tiles(const Run &run, const ScoreTiles<int32_t, TileProducts<kParts>> &tiles) {
  tiles.run(run.quad_begin, run.quad_end);
}
template <int kParts>
inline void for_lane_tiles(const Run &run, const OutputTiles<int32_t, TileProducts<kParts>> &tiles) {
  tiles.run(run.quad_begin, run.quad_end);
}

} // namespace
