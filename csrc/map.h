// The map of the weights, kept on the way: an online softmax has the sum of the
// exponentials of every query over every part of the keys in its hands. Each
// is stored with the reference maximum it was taken under; once the final
// maximum and total are known they become shares of the row.
#pragma once

#include "internal.h"
#include "visibility.h"

namespace {

struct MapCell {
  alignas(64) float sum[kGroup], most[kGroup];
  int64_t column;
};

// The cells that one group of queries has touched, in order.
struct MapRecord {
  MapCell *cells;
  int64_t count, columns; // keys of a cell; 0: no map is kept

  static size_t bytes(int64_t keys, int64_t columns) {
    return size_t(ceil_div(keys, columns)) * sizeof(MapCell);
  }
  void start(void *memory, int64_t cell_columns) {
    cells = static_cast<MapCell *>(memory);
    count = 0;
    columns = cell_columns;
  }

  // Adds the sums of a part of a run, taken under `most`.
  void add(int32_t begin, const Run &run, Vec factor, const float *sums, const float *most) {
    if (!columns)
      return;
    const int64_t column = begin / columns;
    if (count == 0 || cells[count - 1].column != column) {
      MapCell &fresh = cells[count++];
      fresh.column = column;
      __builtin_memset(fresh.sum, 0, sizeof fresh.sum);
      __builtin_memcpy(fresh.most, most, sizeof fresh.most);
    }
    MapCell &cell = cells[count - 1];
    for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
      const Vec old = load(cell.most + v * kLanes), now = load(most + v * kLanes);
      const Vec rescale = select((Int)(old == now), splat(1.0f), exp2((old - now) * factor));
      store(cell.sum + v * kLanes,
            multiply_add(load(cell.sum + v * kLanes), rescale, load(sums + v * kLanes)));
      store(cell.most + v * kLanes, now);
    }
  }

  // Adds this group's rows to the map of its head.
  void write(const regard_args &a, int64_t row, Vec factor, const float *most,
             const float *inverse, float *map) const {
    const int64_t rows = smaller<int64_t>(kGroup, a.queries - row);
    const int64_t width = ceil_div(a.keys, a.map_columns);
    // Rows of the group that share a row of cells are summed first.
    const int64_t together = smaller<int64_t>(a.map_rows, kGroup);
    for (int64_t first = 0; first < rows; first += together) {
      const int64_t cell_row = (row + first) / a.map_rows;
      const int64_t height =
          smaller(a.map_rows, a.queries - cell_row * a.map_rows);
      const float share = 1.0f / float(height);
      float *line = map + cell_row * width;
      for (int64_t i = 0; i < count; ++i) {
        Vec sum = Vec{};
        for (int64_t lane = first; lane < first + together; lane += kLanes) {
          const Vec final_most = load(most + lane);
          const Vec known = select((Int)(final_most == splat(-kInfinity)), Vec{}, final_most);
          const Vec x = exp2((load(cells[i].most + lane) - known) * factor) *
                        load(cells[i].sum + lane) * load(inverse + lane);
          const Int real = (Int)(iota() < splat_int(int32_t(rows - lane)));
          sum = sum + select(real, x, Vec{});
        }
        line[cells[i].column] += sum_of(sum) * share;
      }
    }
  }
};

// The rows of cells that `rows` queries from `row` on begin.
inline void clear_map_rows(const regard_args &a, float *map, int64_t row, int64_t rows) {
  const int64_t width = ceil_div(a.keys, a.map_columns);
  const int64_t begin = ceil_div(row, a.map_rows);
  const int64_t end = ceil_div(smaller(row + rows, a.queries), a.map_rows);
  if (begin < end)
    __builtin_memset(map + begin * width, 0, size_t((end - begin) * width) * sizeof(float));
}

} // namespace
