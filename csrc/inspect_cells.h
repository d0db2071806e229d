// Passes that give a picture: the weights themselves, cells of them, and what
// each key receives.
#pragma once

#include "inspect.h"

namespace {

// The weights of the rectangle. An item is a group of rows.
template <class T> struct TilePass {
  using Element = T;
  const regard_args &a;
  int64_t per_head;
  size_t bytes = 0;

  explicit TilePass(const regard_args &args)
      : a(args), per_head(ceil_div(args.row_count, kGroup)) {}
  int nothing() const { return REGARD_OK; }

  void item(Rectangle<T> &r, int64_t part) const {
    r.start(a.row_start + part * kGroup, smaller<int64_t>(kGroup, a.row_count - part * kGroup));
    const int64_t width = a.column_count;
    float *out = a.values + (r.number * a.row_count + part * kGroup) * width;
    __builtin_memset(out, 0, size_t(r.rows * width) * sizeof(float));
    r.each_run(a.column_start, a.column_start + width, [&](const Run &run, const float *scores) {
      for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
        const auto norm = r.norm(v);
        const int64_t some = smaller<int64_t>(kLanes, r.rows - v * kLanes);
        for (int32_t key = run.begin; key < run.end; key += kLanes) {
          const int n = int(smaller<int32_t>(kLanes, run.end - key));
          Vec x[kLanes] = {};
          for (int k = 0; k < n; ++k)
            x[k] = r.weight(load(scores + int64_t(key + k - run.begin) * kGroup + v * kLanes), norm);
          transpose(x);
          for (int64_t i = 0; i < some; ++i)
            store_elements(out + (v * kLanes + i) * width + key - a.column_start, x[i], n);
        }
      }
    });
  }
};

// Cells: the mean over their rows of the sum over their keys, and the largest
// weight. An item is a row of cells (or as many as fit a group) by a stretch of
// keys, so that every cell is summed by one item, in double.
template <class T> struct PooledPass {
  using Element = T;
  static constexpr int64_t kStretch = 512; // keys

  const regard_args &a;
  int64_t height, width; // cells of the whole answer
  int64_t down, across;  // cells of an item
  int64_t stretches;     // items side by side
  int64_t per_head;
  size_t bytes;

  explicit PooledPass(const regard_args &args) : a(args) {
    height = ceil_div(a.row_count, a.cell_rows);
    width = ceil_div(a.column_count, a.cell_columns);
    down = larger<int64_t>(1, kGroup / a.cell_rows);
    across = larger<int64_t>(1, kStretch / a.cell_columns);
    stretches = ceil_div(width, across);
    per_head = ceil_div(height, down) * stretches;
    bytes = size_t(down * across) * (sizeof(double) + sizeof(float));
  }
  int nothing() const { return REGARD_OK; } // there are no cells

  void item(Rectangle<T> &r, int64_t part) const {
    double *sums = reinterpret_cast<double *>(r.rest);
    float *most = reinterpret_cast<float *>(sums + down * across);
    __builtin_memset(r.rest, 0, bytes);
    const int64_t top = part / stretches * down, left = part % stretches * across;
    const int64_t end_row = smaller((top + down) * a.cell_rows, a.row_count);
    const int64_t end_column = smaller((left + across) * a.cell_columns, a.column_count);
    const int64_t first_key = a.column_start + left * a.cell_columns;
    const int64_t step = smaller<int64_t>(kGroup, down * a.cell_rows);
    for (int64_t row = top * a.cell_rows; row < end_row; row += step) {
      r.start(a.row_start + row, smaller(step, end_row - row));
      r.each_run(first_key, a.column_start + end_column, [&](const Run &run, const float *scores) {
        for (int64_t key = run.begin; key < run.end;) {
          const int64_t cell = (key - first_key) / a.cell_columns;
          const int64_t stop =
              smaller<int64_t>(run.end, first_key + (cell + 1) * a.cell_columns);
          const float *at = scores + (key - run.begin) * kGroup;
          if (a.peaks)
            add<true>(r, run, at, stop - key, sums + cell, most + cell);
          else
            add<false>(r, run, at, stop - key, sums + cell, most + cell);
          key = stop;
        }
      });
    }
    write(r, top, left, sums, most);
  }

private:
  // Adds `count` keys that lie in one column of cells.
  template <bool kPeaks>
  void add(const Rectangle<T> &r, const Run &run, const float *scores, int64_t count, double *sums,
           float *most) const {
    alignas(64) float lane_sums[kGroup], lane_most[kGroup];
    const int first = run.quad_begin * kQuad;
    const int last = int(smaller<int64_t>(run.quad_end * kQuad, r.rows));
    for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
      const auto norm = r.norm(v);
      Vec sum = Vec{}, highest = Vec{};
      for (int64_t k = 0; k < count; ++k) {
        const Vec p = r.weight(load(scores + k * kGroup + v * kLanes), norm);
        sum = sum + p;
        if (kPeaks)
          highest = select((Int)(p > highest) | (Int)(p != p), p, highest);
      }
      store(lane_sums + v * kLanes, sum);
      store(lane_most + v * kLanes, highest);
    }
    // With cells of 64 rows and more the whole group belongs to one.
    for (int lane = first; lane < last;) {
      const int64_t cell = down > 1 ? lane / a.cell_rows : 0;
      const int end = down > 1 ? int(smaller<int64_t>(last, (cell + 1) * a.cell_rows)) : last;
      double sum = 0;
      float highest = most[cell * across];
      for (; lane < end; ++lane) {
        sum += lane_sums[lane];
        const float x = lane_most[lane];
        highest = x > highest || x != x ? x : highest;
      }
      sums[cell * across] += sum;
      most[cell * across] = highest;
    }
  }

  void write(const Rectangle<T> &r, int64_t top, int64_t left, const double *sums,
             const float *most) const {
    for (int64_t i = 0; i < smaller(down, height - top); ++i) {
      const int64_t rows = smaller(a.cell_rows, a.row_count - (top + i) * a.cell_rows);
      const int64_t at = (r.number * height + top + i) * width + left;
      for (int64_t j = 0; j < smaller(across, width - left); ++j) {
        a.values[at + j] = float(sums[i * across + j] / double(rows));
        if (a.peaks)
          a.peaks[at + j] = most[i * across + j];
      }
    }
  }
};

// What each key receives, from all rows or from weighted ones. An item is a
// stretch of keys and goes down all rows; lanes are summed last, in double.
template <class T> struct ReceivedPass {
  using Element = T;
  static constexpr int64_t kStretch = 256;
  static constexpr int kTogether = 32; // groups summed in float

  const regard_args &a;
  int64_t per_head;
  size_t bytes = size_t(kStretch) * (kLanes * sizeof(float) + sizeof(double));

  explicit ReceivedPass(const regard_args &args)
      : a(args), per_head(ceil_div(args.column_count, kStretch)) {}
  int nothing() const {
    for (int64_t i = 0; i < a.batch * a.heads * a.column_count; ++i)
      a.values[i] = 0;
    return REGARD_OK;
  }

  void item(Rectangle<T> &r, int64_t part) const {
    float *lanes = reinterpret_cast<float *>(r.rest);
    double *sums = reinterpret_cast<double *>(lanes + kStretch * kLanes);
    const int64_t first = a.column_start + part * kStretch;
    const int64_t count = smaller(kStretch, a.column_count - part * kStretch);
    __builtin_memset(r.rest, 0, bytes);
    int pending = 0;
    for (int64_t row = 0; row < a.row_count; row += kGroup) {
      r.start(a.row_start + row, smaller<int64_t>(kGroup, a.row_count - row));
      alignas(64) float share[kGroup];
      const float *given =
          a.row_weight ? a.row_weight + r.number * a.row_count + row : nullptr;
      for (int64_t i = 0; i < kGroup; ++i)
        share[i] = given && i < r.rows ? given[i] : 1.0f;
      r.each_run(first, first + count, [&](const Run &run, const float *scores) {
        for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
          const auto norm = r.norm(v);
          const Vec times = load(share + v * kLanes);
          const Int real = r.real(v);
          for (int32_t key = run.begin; key < run.end; ++key) {
            const Vec p =
                r.weight(load(scores + int64_t(key - run.begin) * kGroup + v * kLanes), norm);
            float *at = lanes + (key - first) * kLanes;
            store(at, load(at) + select(real, p * times, Vec{}));
          }
        }
      });
      if (++pending == kTogether || row + kGroup >= a.row_count) {
        flush(lanes, sums, count);
        pending = 0;
      }
    }
    float *out = a.values + r.number * a.column_count + part * kStretch;
    for (int64_t j = 0; j < count; ++j)
      out[j] = float(sums[j]);
  }

private:
  static void flush(float *lanes, double *sums, int64_t count) {
    for (int64_t j = 0; j < count; ++j) {
      sums[j] += double(sum_of(load(lanes + j * kLanes)));
      store(lanes + j * kLanes, Vec{});
    }
  }
};

} // namespace
