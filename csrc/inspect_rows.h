// Passes that keep something for each query: entropy, the largest weight, the
// k largest. An item is a group of 64 rows; each row stays in its lane.
#pragma once

#include "inspect.h"

namespace {

template <class T> struct RowPass {
  using Element = T;
  const regard_args &a;
  int64_t per_head;
  size_t bytes = 0;

  explicit RowPass(const regard_args &args)
      : a(args), per_head(ceil_div(args.row_count, kGroup)) {}

  // Where the results of the group's first row lie, at `each` numbers a row.
  template <class Number>
  Number *place(Number *results, const Rectangle<T> &r, int64_t each = 1) const {
    return results + (r.number * a.row_count + r.row - a.row_start) * each;
  }
  void start(Rectangle<T> &r, int64_t part) const {
    r.start(a.row_start + part * kGroup, smaller<int64_t>(kGroup, a.row_count - part * kGroup));
  }
  int64_t results(int64_t each = 1) const { return a.batch * a.heads * a.row_count * each; }
  int nothing(int64_t each = 1) const {
    for (int64_t i = 0; i < results(each); ++i) {
      a.values[i] = 0;
      if (a.indices)
        a.indices[i] = -1;
    }
    return REGARD_OK;
  }
};

// The sum of -p log p. Runs are added with what the addition lost before, so
// that long rows lose nothing.
template <class T> struct EntropyPass : RowPass<T> {
  using RowPass<T>::RowPass;

  void item(Rectangle<T> &r, int64_t part) const {
    this->start(r, part);
    alignas(64) float total[kGroup] = {}, lost[kGroup] = {};
    r.each_run(this->a.column_start, this->a.column_start + this->a.column_count,
               [&](const Run &run, const float *scores) {
                 for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
                   const auto norm = r.norm(v);
                   Vec sum = Vec{};
                   for (int64_t k = 0; k < run.end - run.begin; ++k) {
                     const Vec x = r.log2_weight(load(scores + k * kGroup + v * kLanes), norm);
                     // 0 * -Inf is NaN; 2 to the power of the bound is 0 as well
                     sum = sum + exp2(x) * largest(splat(-16384.0f), x);
                   }
                   const Vec before = load(total + v * kLanes);
                   const Vec added = sum - load(lost + v * kLanes);
                   const Vec after = before + added;
                   store(lost + v * kLanes, (after - before) - added);
                   store(total + v * kLanes, after);
                 }
               });
    float *out = this->place(this->a.values, r);
    for (int64_t i = 0; i < r.rows; ++i)
      out[i] = total[i] >= 0 ? 0.0f : -kLn2 * total[i]; // a weight may round above 1
  }
};

// The largest weight and its first key. Scores are compared, which tells keys
// apart whose weights round to the same; the first NaN counts as the largest.
template <class T> struct PeakPass : RowPass<T> {
  using RowPass<T>::RowPass;

  void item(Rectangle<T> &r, int64_t part) const {
    this->start(r, part);
    alignas(64) float best[kGroup];
    alignas(64) int32_t index[kGroup];
    for (int i = 0; i < kGroup; ++i) {
      best[i] = -kInfinity;
      index[i] = -1;
    }
    r.each_run(this->a.column_start, this->a.column_start + this->a.column_count,
               [&](const Run &run, const float *scores) {
                 for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
                   Vec most = load(best + v * kLanes);
                   Int at = load_int(index + v * kLanes);
                   for (int32_t key = run.begin; key < run.end; ++key) {
                     const Vec x = load(scores + int64_t(key - run.begin) * kGroup + v * kLanes);
                     const Int better = (Int)(x > most) | ((Int)(x != x) & (Int)(most == most));
                     most = select(better, x, most);
                     at = better ? splat_int(key) : at;
                   }
                   store(best + v * kLanes, most);
                   store_int(index + v * kLanes, at);
                 }
               });
    for (int v = 0; v < kGroup / kLanes; ++v)
      store(best + v * kLanes, r.weight(load(best + v * kLanes), r.norm(v)));
    float *values = this->place(this->a.values, r);
    int64_t *indices = this->place(this->a.indices, r);
    for (int64_t i = 0; i < r.rows; ++i) {
      values[i] = index[i] < 0 ? 0.0f : best[i];
      indices[i] = index[i];
    }
  }
};

// The k largest of each row. A score enters the row's sorted list only if it
// exceeds the last of it, which soon is rare.
template <class T> struct TopPass : RowPass<T> {
  explicit TopPass(const regard_args &args) : RowPass<T>(args) {
    this->bytes = size_t(args.top) * kGroup * 8;
  }
  int nothing() const { return RowPass<T>::nothing(this->a.top); }

  void item(Rectangle<T> &r, int64_t part) const {
    this->start(r, part);
    const int64_t top = this->a.top;
    float *best = reinterpret_cast<float *>(r.rest);                // [lane][top]
    int32_t *index = reinterpret_cast<int32_t *>(best + top * kGroup);
    alignas(64) float last[kGroup];
    for (int i = 0; i < kGroup; ++i)
      last[i] = -kInfinity;
    for (int64_t i = 0; i < top * kGroup; ++i) {
      best[i] = -kInfinity;
      index[i] = -1;
    }
    r.each_run(this->a.column_start, this->a.column_start + this->a.column_count,
               [&](const Run &run, const float *scores) {
                 for (int32_t key = run.begin; key < run.end; ++key)
                   for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
                     const float *at = scores + int64_t(key - run.begin) * kGroup + v * kLanes;
                     const Vec x = load(at);
                     if (!any((Int)(x > load(last + v * kLanes)) | (Int)(x != x)))
                       continue;
                     for (int lane = 0; lane < kLanes; ++lane) {
                       const int i = v * kLanes + lane;
                       if (above(at[lane], last[i]))
                         last[i] = insert(best + i * top, index + i * top, top, at[lane], key);
                     }
                   }
               });
    float *values = this->place(this->a.values, r, top);
    int64_t *indices = this->place(this->a.indices, r, top);
    for (int64_t i = 0; i < r.rows; ++i)
      for (int64_t k = 0; k < top; ++k) {
        const int32_t key = index[i * top + k];
        const Vec x = r.weight(splat(best[i * top + k]), r.norm_of_lane(i));
        values[i * top + k] = key < 0 ? 0.0f : x[0];
        indices[i * top + k] = key;
      }
  }

private:
  // NaN above everything.
  static bool above(float x, float y) { return x > y || (x != x && y == y); }

  // Puts a score behind all that are not below it; returns the last one kept.
  static float insert(float *best, int32_t *index, int64_t top, float score, int32_t key) {
    int64_t at = top - 1;
    for (; at > 0 && above(score, best[at - 1]); --at) {
      best[at] = best[at - 1];
      index[at] = index[at - 1];
    }
    best[at] = score;
    index[at] = key;
    return best[top - 1];
  }
};

} // namespace
