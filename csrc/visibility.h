// Which keys a group of queries can see, and how little of a block of keys has
// to be computed for it.
#pragma once

#include "internal.h"
#include "products.h"

namespace {

constexpr int kSubBlock = 16; // keys whose visibility is told apart

// A run of keys inside a block, for some quads (16 lanes each) of the group.
struct Run {
  int32_t begin, end;           // keys
  int32_t quad_begin, quad_end; // quads that see any of them
  bool cut;                     // some of these lanes do not see some of these keys
};

// The spans of the kGroup queries from `row` on. Lanes beyond the last query
// repeat it: they cost nothing extra, cut nothing and are never written.
struct Visible {
  alignas(64) int32_t start[kGroup], stop[kGroup];
  // Per quad: the keys that any lane sees, and those that every lane sees.
  int32_t any_begin[kQuads], any_end[kQuads], all_begin[kQuads], all_end[kQuads];
  int32_t begin, end; // keys that anyone sees; begin >= end: none

  void read(const regard_args &a, int64_t b, int64_t h, int64_t row) {
    const int64_t rows = smaller<int64_t>(kGroup, a.queries - row);
    const int32_t keys = int32_t(a.keys);
    const int64_t at = b * a.span_batch + h * a.span_head + row;
    begin = keys;
    end = 0;
    for (int q = 0; q < kQuads; ++q) {
      any_begin[q] = keys;
      any_end[q] = 0;
      all_begin[q] = 0;
      all_end[q] = keys;
      for (int i = q * kQuad; i < (q + 1) * kQuad; ++i) {
        const int64_t lane = at + smaller<int64_t>(i, rows - 1);
        const int32_t from = a.span_start ? larger(a.span_start[lane], 0) : 0;
        const int32_t to = a.span_start ? smaller(a.span_stop[lane], keys) : keys;
        start[i] = from;
        stop[i] = to;
        all_begin[q] = larger(all_begin[q], from);
        all_end[q] = smaller(all_end[q], to);
        if (from < to) {
          any_begin[q] = smaller(any_begin[q], from);
          any_end[q] = larger(any_end[q], to);
        }
      }
      begin = smaller(begin, any_begin[q]);
      end = larger(end, any_end[q]);
    }
  }

  // Fills `runs` for the keys [from, to), at most kBlock of them; from is a
  // multiple of kSubBlock. Returns how many runs.
  int plan(int32_t from, int32_t to, Run *runs) const {
    int count = 0;
    for (int32_t key = from; key < to; key += kSubBlock) {
      const int32_t key_end = smaller(key + kSubBlock, to);
      Run run{key, key_end, kQuads, 0, false};
      for (int q = 0; q < kQuads; ++q) {
        if (any_begin[q] >= key_end || any_end[q] <= key)
          continue;
        run.quad_begin = smaller(run.quad_begin, q);
        run.quad_end = q + 1;
      }
      if (run.quad_begin >= run.quad_end)
        continue;
      for (int q = run.quad_begin; q < run.quad_end; ++q)
        run.cut |= all_begin[q] > key || all_end[q] < key_end;
      if (count) {
        Run &last = runs[count - 1];
        if (last.end == key && last.cut == run.cut && last.quad_begin == run.quad_begin &&
            last.quad_end == run.quad_end) {
          last.end = key_end;
          continue;
        }
      }
      runs[count++] = run;
    }
    return count;
  }
};

} // namespace
