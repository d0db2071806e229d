// Products of whole tiles (AMX), in the places of the register tiles of
// forward_tiles.h: the same areas, so that masks, biases, softmax, dropout, map
// and lse are the code of every other unit.
//
//   scores [key][lane] = keys [key][units] x queries [unit][lane]
//   output [column][lane] += values turned [column][units] x weights [unit][lane]
//
// A unit is a pair: of dimensions in the first, of keys in the second. The right
// operands are what turn_queries and pair_bfloat16 leave; keys are read where
// they lie. Rows and units are counted in steps of 16: widths are padded with
// zeros, keys beyond a run get the weight 0 (its caller sees to it that no value
// there is infinite), scores beyond a run are not read.
#pragma once

#include "forward_tiles.h"
#include "tile_grid.h"

namespace {

template <> struct ScoreTiles<int32_t, TileProducts> {
  const int32_t *keys, *queries;
  int64_t stride, units, count;
  float *scores, *most;
  bool keep_most;

  void run(int quad_begin, int quad_end) const {
    multiply_grid(TileGrid(keys, stride), TileGrid(queries, kGroup), TileGrid(scores, kGroup),
                  ceil_div(count, kTileSide), quad_begin, quad_end, units / kTileSide, false);
    if (!keep_most)
      return;
    Run run{0, int32_t(count), quad_begin, quad_end, false};
    run_most(run, 0, scores, most);
  }
};

// `count` is in steps of 16 units.
template <> struct OutputTiles<int32_t, TileProducts> {
  const int32_t *values, *weights;
  int64_t stride, count, width;
  float *output;

  void run(int quad_begin, int quad_end) const {
    multiply_grid(TileGrid(values, stride), TileGrid(weights, TileProducts::kWeightRow), TileGrid(output, kGroup),
                  ceil_div(width, kTileSide), quad_begin, quad_end, ceil_div(count, kTileSide), true);
  }
};

inline void for_lane_tiles(const Run &run, const ScoreTiles<int32_t, TileProducts> &tiles) {
  tiles.run(run.quad_begin, run.quad_end);
}
inline void for_lane_tiles(const Run &run, const OutputTiles<int32_t, TileProducts> &tiles) {
  tiles.run(run.quad_begin, run.quad_end);
}

} // namespace
