// Everything that a recording keeps of a call, in one look at each weight: a
// map of cells, what each key receives, and of each row its entropy, largest
// weights, mean distance and the weights beside its own place.
//
// An item is a stretch of `part_rows` rows of one head, so that each key's sum
// is taken in one order whatever the threads; the parts are added by the
// caller.
#pragma once

#include "inspect.h"

namespace {

// Keys of rows that count as short: 64 rows of their scores take 512 KiB.
constexpr int64_t kShortKeys = 2048;

template <class T> struct SummaryPass {
  using Element = T;
  static constexpr int kTop = REGARD_TOP;
  static constexpr int kTogether = 8; // groups whose sums for a key are taken in float
  static constexpr int kNeighbours = 3; // the keys before, at and after a row's own place

  const regard_args &a;
  const int64_t shift, height, width; // keys less queries; cells
  const bool whole; // what keys receive is added over groups, not over a run
  int64_t per_head;
  size_t bytes;

  explicit SummaryPass(const regard_args &args)
      : a(args), shift(args.keys - args.queries), height(ceil_div(args.queries, args.cell_rows)),
        width(ceil_div(args.keys, args.cell_columns)), whole(args.keys <= kShortKeys),
        per_head(ceil_div(args.queries, args.part_rows)),
        bytes(size_t(width) * (kGroup * sizeof(float) + sizeof(double)) +
              size_t(whole ? args.keys : kBlock) * kLanes * sizeof(float)) {}
  int nothing() const { return REGARD_OK; }

  // r is a Rectangle, or KeptRows (forward_summary.h).
  template <class Scored> void item(Scored &r, int64_t part) const {
    const Sums sums = of(r, part);
    __builtin_memset(sums.received, 0, size_t(a.keys) * sizeof(double));
    __builtin_memset(sums.cells, 0, size_t(width) * sizeof(double));
    __builtin_memset(sums.keys, 0, size_t(whole ? a.keys : kBlock) * kLanes * sizeof(float));
    double neighbours[kNeighbours] = {};
    const int64_t end = smaller(a.queries, (part + 1) * a.part_rows);
    for (int64_t row = part * a.part_rows; row < end; row += kGroup) {
      r.start(row, smaller<int64_t>(kGroup, end - row));
      Rows rows;
      __builtin_memset(sums.lanes, 0, size_t(width) * kGroup * sizeof(float));
      r.each_run(0, a.keys, [&](const Run &run, const float *scores) {
        add(r, run, scores, rows, sums);
        beside(r, run, scores, rows);
      });
      write(r, rows, neighbours);
      const bool last = row + kGroup >= end;
      fold(r, sums, last);
      if (whole && (last || row / kGroup % kTogether == kTogether - 1))
        receive(sums, 0, a.keys);
    }
    for (int i = 0; i < kNeighbours; ++i)
      a.neighbours[(r.number * per_head + part) * kNeighbours + i] = neighbours[i];
  }

private:
  struct Rows {
    alignas(64) float entropy[kGroup] = {}, lost[kGroup] = {}, distance[kGroup] = {};
    alignas(64) float best[kTop][kGroup]; // scores, the largest first
    alignas(64) int32_t index[kTop][kGroup];
    alignas(64) float neighbours[kNeighbours][kGroup]; // scores
    Rows() {
      for (int i = 0; i < kGroup; ++i) {
        for (int rank = 0; rank < kTop; ++rank) {
          best[rank][i] = -kInfinity;
          index[rank][i] = -1;
        }
        for (int side = 0; side < kNeighbours; ++side)
          neighbours[side][i] = -kInfinity;
      }
    }
  };
  // The largest scores of a vector's rows; ties stay with the lower key, the
  // first NaN counts as the largest.
  struct TopWeights {
    Vec best[kTop];
    Int index[kTop];

    TopWeights(const Rows &rows, int v) {
      for (int rank = 0; rank < kTop; ++rank) {
        best[rank] = load(rows.best[rank] + v * kLanes);
        index[rank] = load_int(rows.index[rank] + v * kLanes);
      }
    }
    void keep(Rows &rows, int v) const {
      for (int rank = 0; rank < kTop; ++rank) {
        store(rows.best[rank] + v * kLanes, best[rank]);
        store_int(rows.index[rank] + v * kLanes, index[rank]);
      }
    }
    void add(Vec score, int32_t key) {
      const Vec last = best[kTop - 1];
      if (!any(~(Int)(score <= last)))
        return;
      if (any((Int)(score != score)))
        return add_odd(score, key);
      // A row that takes a score in moves down what is below it.
      const Int from = splat_int(key);
#pragma GCC unroll 8
      for (int rank = kTop - 1; rank > 0; --rank) {
        const Int here = (Int)(score > best[rank]), above = (Int)(score > best[rank - 1]);
        best[rank] = select(here, select(above, best[rank - 1], score), best[rank]);
        index[rank] = here ? (above ? index[rank - 1] : from) : index[rank];
      }
      const Int first = (Int)(score > best[0]);
      best[0] = select(first, score, best[0]);
      index[0] = first ? from : index[0];
    }
    void add_odd(Vec score, int32_t key) {
      const Int odd = (Int)(score != score);
      Int below = Int{}; // rows whose score went in above, which moves the others down
      Vec moved = score;
      Int from = splat_int(key);
      for (int rank = 0; rank < kTop; ++rank) {
        const Int in = below | (Int)(score > best[rank]) | (odd & (Int)(best[rank] == best[rank]));
        const Vec old = best[rank];
        const Int place = index[rank];
        best[rank] = select(in, moved, old);
        index[rank] = in ? from : place;
        moved = select(in, old, moved);
        from = in ? place : from;
        below = in;
      }
    }
  };
  struct Sums {
    double *received; // [keys]
    double *cells;    // [width], of the rows of a cell so far
    float *lanes;     // [width][kGroup], of the group
    float *keys;      // [S][kLanes] of some groups where `whole`, else [kBlock][kLanes] of the run
  };

  Sums of(const RowsInLanes &r, int64_t part) const {
    float *lanes = reinterpret_cast<float *>(r.rest), *keys = lanes + width * kGroup;
    double *cells = reinterpret_cast<double *>(keys + (whole ? a.keys : kBlock) * kLanes);
    return {a.received + (r.number * per_head + part) * a.keys, cells, lanes, keys};
  }

  // Runs are added with what the addition lost before, as in EntropyPass.
  void add(const RowsInLanes &r, const Run &run, const float *scores, Rows &rows,
           const Sums &sums) const {
    float *keys = sums.keys + (whole ? int64_t(run.begin) * kLanes : 0);
    for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
      const auto norm = r.norm(v);
      const Int real = r.real(v);
      TopWeights top(rows, v);
      Vec surprise = Vec{}, far = Vec{}, apart = splat(float(run.begin)) - places(r, v);
      int64_t cell = run.begin / a.cell_columns;
      for (int32_t key = run.begin; key < run.end; ++cell) {
        const int32_t stop = int32_t(smaller<int64_t>(run.end, (cell + 1) * a.cell_columns));
        Vec sum = Vec{};
        for (; key < stop; ++key) {
          const Vec score = load(scores + int64_t(key - run.begin) * kGroup + v * kLanes);
          const Vec x = r.log2_weight(score, norm), p = exp2(x);
          sum = sum + p;
          surprise = surprise + p * largest(splat(-16384.0f), x);
          far = far + p * largest(apart, -apart);
          apart = apart + splat(1.0f);
          top.add(score, key);
          float *own = keys + int64_t(key - run.begin) * kLanes;
          store(own, load(own) + select(real, p, Vec{}));
        }
        float *lanes = sums.lanes + cell * kGroup + v * kLanes;
        store(lanes, load(lanes) + sum);
      }
      top.keep(rows, v);
      store(rows.distance + v * kLanes, load(rows.distance + v * kLanes) + far);
      const Vec before = load(rows.entropy + v * kLanes);
      const Vec added = surprise - load(rows.lost + v * kLanes), after = before + added;
      store(rows.lost + v * kLanes, (after - before) - added);
      store(rows.entropy + v * kLanes, after);
    }
    if (!whole)
      receive(sums, run.begin, run.end);
  }

  // Adds the lanes of keys [begin, end) to what each received, and clears them.
  void receive(const Sums &sums, int64_t begin, int64_t end) const {
    float *keys = sums.keys;
    for (int64_t key = begin; key < end; key += kLanes, keys += kLanes * kLanes) {
      const int n = int(smaller<int64_t>(kLanes, end - key));
      Vec x[kLanes] = {};
      for (int k = 0; k < n; ++k) {
        x[k] = load(keys + k * kLanes);
        store(keys + k * kLanes, Vec{});
      }
      transpose(x);
      for (int half = kLanes / 2; half; half /= 2)
        for (int k = 0; k < half; ++k)
          x[k] = x[k] + x[k + half];
      for (int k = 0; k < n; ++k)
        sums.received[key + k] += double(x[0][k]);
    }
  }

  // The positions of a vector's rows among the keys, the last row on the last key.
  Vec places(const RowsInLanes &r, int v) const {
    alignas(64) float at[kLanes];
    for (int i = 0; i < kLanes; ++i)
      at[i] = float(r.row + v * kLanes + i + shift);
    return load(at);
  }

  void beside(const RowsInLanes &r, const Run &run, const float *scores, Rows &rows) const {
    const int64_t first = r.row + shift - 1;
    if (run.end <= first || run.begin >= first + kGroup + kNeighbours - 1)
      return;
    const int last = int(smaller<int64_t>(run.quad_end * kQuad, r.rows));
    for (int i = run.quad_begin * kQuad; i < last; ++i)
      for (int side = 0; side < kNeighbours; ++side) {
        const int64_t key = first + i + side;
        if (key >= run.begin && key < run.end)
          rows.neighbours[side][i] = scores[(key - run.begin) * kGroup + i];
      }
  }

  void write(const RowsInLanes &r, Rows &rows, double *neighbours) const {
    for (int v = 0; v < kGroup / kLanes; ++v) {
      const auto norm = r.norm(v);
      for (float *best : rows.best)
        store(best + v * kLanes, r.weight(load(best + v * kLanes), norm));
      for (int side = 0; side < kNeighbours; ++side)
        store(rows.neighbours[side] + v * kLanes, r.weight(load(rows.neighbours[side] + v * kLanes), norm));
    }
    const int64_t at = r.number * a.queries + r.row;
    for (int64_t i = 0; i < r.rows; ++i) {
      a.entropy[at + i] = rows.entropy[i] >= 0 ? 0.0f : -kLn2 * rows.entropy[i];
      a.distance[at + i] = rows.distance[i];
      for (int rank = 0; rank < kTop; ++rank) {
        const int32_t key = rows.index[rank][i];
        a.peaks[(at + i) * kTop + rank] = key < 0 ? 0.0f : rows.best[rank][i];
        a.top_keys[(at + i) * kTop + rank] = key;
      }
      for (int side = 0; side < kNeighbours; ++side)
        neighbours[side] += double(rows.neighbours[side][i]);
    }
  }

  // A group holds whole cells, or is a part of one. Columns become lanes, so
  // that rows are added as they are.
  void fold(const RowsInLanes &r, const Sums &sums, bool part_ends) const {
    for (int64_t j = 0; j < width; j += kLanes) {
      const int n = int(smaller<int64_t>(kLanes, width - j));
      Vec sum = Vec{};
      for (int64_t first = 0; first < r.rows; first += kLanes) {
        Vec x[kLanes] = {};
        for (int k = 0; k < n; ++k)
          x[k] = load(sums.lanes + (j + k) * kGroup + first);
        transpose(x);
        const int64_t count = smaller<int64_t>(kLanes, r.rows - first);
        for (int64_t i = 0; i < count; ++i) {
          sum = sum + x[i];
          const int64_t end = r.row + first + i + 1;
          if (end % a.cell_rows == 0 || first + i + 1 == r.rows) {
            fold_cells(r, sums, (end - 1) / a.cell_rows, j, n, sum, end, part_ends);
            sum = Vec{};
          }
        }
      }
    }
  }

  // Adds a group's rows to cells [j, j + n) of a row of cells.
  void fold_cells(const RowsInLanes &r, const Sums &sums, int64_t cell, int64_t j, int n, Vec sum,
                  int64_t end, bool part_ends) const {
    float *out = a.values + (r.number * height + cell) * width + j;
    const int64_t last = smaller((cell + 1) * a.cell_rows, a.queries);
    const float rows = float(last - cell * a.cell_rows);
    if (a.cell_rows <= kGroup) {
      store_elements(out, sum * splat(1.0f / rows), n);
      return;
    }
    for (int k = 0; k < n; ++k) {
      sums.cells[j + k] += double(sum[k]);
      if (end == last || part_ends) {
        out[k] = float(sums.cells[j + k] / double(rows));
        sums.cells[j + k] = 0;
      }
    }
  }
};

} // namespace
