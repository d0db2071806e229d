// The forward pass: one online softmax over blocks of keys.
//
// A group of 64 queries is the vector dimension. Its queries are turned once
// to [E][64], its scores are [key][64], its output grows as [Ev][64]. Keys and
// values are then broadcast operands, read where they lie; maxima and sums run
// down the keys without leaving their lane; and a mask, a group's share of the
// map and a rescaling are all plain vector operations.
//
// An item of work is a few groups of one head, so that what has to be rewritten
// per block of keys (values in pairs for bfloat16 products, conversions) is
// rewritten once for them. Passes over a block of keys, for each group:
//   1. products of keys and queries, with the maximum per query;
//   2. for cut or biased runs: scores, masks, and the maximum again;
//   3. the reference maximum moves only if a score exceeds it by kSlack:
//      weights up to 2^kSlack are as exact as those up to 1, and the output
//      and sums are almost never rescaled;
//   4. exponentials, sums, dropout;
//   5. products of values and weights, added to the output.
#pragma once

#include "blocks.h"
#include "decode.h"
#include "forward_tiles.h"
#include "map.h"
#include "parts_range.h"
#ifdef REGARD_HAS_TILES
#include "tile_products.h"
#endif

namespace {

constexpr float kSlack = 16; // in units of log2

// One group's share of the scratch area.
struct Group {
  Visible visible;
  int64_t row;                          // the first query
  alignas(64) float most[kGroup];       // reference maximum, in stored units
  alignas(64) float total[kGroup];      // sum of the exponentials under it
  alignas(64) float block_most[kGroup]; // maximum of the current block
  void *queries;                        // [part][E units][kGroup]
  float *output;                        // [Ev][kGroup]
  float *kept;                          // scores, [S][kGroup]; null: they are not kept
  MapRecord map;
};

// The queries of a group, turned to [part][unit][lane].
template <class T, class Products>
void turn_queries(const Head<T, Products> &head, int64_t row, int64_t queries, void *out) {
  const int64_t units = head.units();
  float *turned = static_cast<float *>(out);
  for (int v = 0; v < kGroup / kLanes; ++v) {
    for (int64_t u = 0; u < units; u += kLanes) {
      const int64_t some = smaller<int64_t>(kLanes, units - u);
      for (int part = 0; part < Products::kParts; ++part) {
        Vec x[kLanes];
        for (int i = 0; i < kLanes; ++i) {
          const int64_t at = smaller(row + v * kLanes + i, queries - 1);
          x[i] = load_units<Products>(head.query[at], u, head.width, part);
        }
        transpose(x);
        for (int64_t i = 0; i < some; ++i)
          store(turned + (part * units + u + i) * kGroup + v * kLanes, x[i]);
      }
    }
  }
}

// Pass 3.
inline void move_reference(Group &group, const Vec factor, int64_t value_width) {
  for (int v = 0; v < kGroup / kLanes; ++v) {
    const Vec old = load(group.most + v * kLanes);
    const Vec now = load(group.block_most + v * kLanes);
    const Int exceeds = (Int)((now - old) * factor > splat(kSlack));
    if (!any(exceeds))
      continue;
    const Vec most = select(exceeds, now, old);
    store(group.most + v * kLanes, most);
    if (!any(exceeds & (Int)(old > splat(-kInfinity))))
      continue; // nothing was summed in these lanes yet
    const Vec rescale = select(exceeds, exp2((old - most) * factor), splat(1.0f));
    store(group.total + v * kLanes, load(group.total + v * kLanes) * rescale);
    for (int64_t e = 0; e < value_width; ++e) {
      float *at = group.output + e * kGroup + v * kLanes;
      store(at, load(at) * rescale);
    }
  }
}

// Pass 4 for keys [begin, end) of a run: exponentials, in place where scores
// are not kept, their sums added to `sums`. With kPair, two keys become one row
// of pairs, at or before their scores (a row is read before it is overwritten).
template <bool kCut, bool kPair, class Products> struct Exponentials {
  const Group &group;
  Vec factor;
  int64_t begin, end;
  const float *scores;
  float *weights, *sums;

  template <int kV> REGARD_INLINE void run(int first) const {
    Vec most[kV], sum[kV];
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      const Vec known = load(group.most + (first + v) * kLanes);
      most[v] = select((Int)(known == splat(-kInfinity)), Vec{}, known);
      sum[v] = Vec{};
    }
    for (int64_t k = begin; k < end; k += kPair ? 2 : 1) {
      const float *row = scores + k * kGroup + first * kLanes;
      const bool alone = k + 1 == end;
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        const Vec p = weight<kCut, Products>(load(row + v * kLanes), most[v], factor);
        if constexpr (kPair) {
          Vec high = Vec{};
          if (!alone)
            high = weight<kCut, Products>(load(row + kGroup + v * kLanes), most[v], factor);
          sum[v] = sum[v] + (p + high);
          store_pairs<Products::kParts>(reinterpret_cast<int32_t *>(weights) + k / 2 * Products::kWeightRow +
                                            (first + v) * kLanes,
                                        weight_part<Products>(), p, high);
        } else {
          sum[v] = sum[v] + p;
          store(weights + k * kGroup + (first + v) * kLanes, p);
        }
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v)
      store(sums + (first + v) * kLanes, load(sums + (first + v) * kLanes) + sum[v]);
  }
};

template <int kV, class Tiles> REGARD_APART void run_apart(const Tiles &tiles, int v) {
  tiles.template run<kV>(v);
}

// weight_tile where registers are few: the scores of a part of the keys go
// through the first cache.
template <class Unit, class Products> struct ScoresThenWeights {
  ScoreTiles<Unit, Products> scores;
  Exponentials<false, Products::kPerUnit == 2, Products> weights;

  template <int kV> REGARD_INLINE void run(int v) const {
    scores.template run<kV>(v);
    run_apart<kV>(weights, v);
  }
};

inline void drop_weights(const Dropout &dropout, const Group &group, const Run &run,
                         int32_t block_begin, uint32_t head, float *weights) {
  for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
    const Int rows = iota() + int32_t(group.row + v * kLanes);
    for (int32_t chunk = run.begin / 64 * 64; chunk < run.end; chunk += 64) {
      for (int c = 0; c < 16; ++c) {
        Int keep[4];
        dropout.keep(uint32_t(chunk / 64), uint32_t(c), rows, head, keep);
        for (int w = 0; w < 4; ++w) {
          const int32_t key = chunk + w * 16 + c;
          if (key < run.begin || key >= run.end)
            continue;
          float *at = weights + int64_t(key - block_begin) * kGroup + v * kLanes;
          const Vec p = load(at);
          const Int dropped = ~keep[w] & (Int)(p > Vec{});
          store(at, select(dropped, Vec{}, p));
        }
      }
    }
  }
}

template <class Products>
void pair_weights(const Run &run, int64_t begin, int64_t end, float *weights) {
  int32_t *pairs = reinterpret_cast<int32_t *>(weights);
  for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v)
    for (int64_t k = begin; k < end; k += 2) {
      const float *at = weights + k * kGroup + v * kLanes;
      const Vec high = k + 1 < end ? load(at + kGroup) : Vec{};
      store_pairs<Products::kParts>(pairs + k / 2 * Products::kWeightRow + v * kLanes,
                                    weight_part<Products>(), load(at), high);
    }
}

// Weights of nothing after those of a run, to whole steps of units.
template <class Products>
void pad_weights(const Run &run, int64_t begin, int64_t end, float *weights) {
  for (int part = 0; part < Products::kParts; ++part, weights += weight_part<Products>())
    for (int64_t unit = begin; unit < end; ++unit)
      for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v)
        store(weights + unit * Products::kWeightRow + v * kLanes, Vec{});
}

// Pass 5 where a value of a cut run is not finite: those who may not see the
// key are left alone. Weights are floats or pairs, as pass 4 left them.
template <class T, class Products>
void output_careful(const Group &group, const Run &run, int32_t block_begin, Rows<const T> value,
                    int64_t width, const float *weights) {
  constexpr bool kPair = Products::kPerUnit == 2;
  for (int32_t key = run.begin; key < run.end; ++key) {
    const int64_t k = key - block_begin;
    for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v) {
      Int bits = load_int(reinterpret_cast<const int32_t *>(weights) +
                          k / Products::kPerUnit * Products::kWeightRow + v * kLanes);
      if (kPair)
        bits = k % 2 ? bits & int32_t(0xffff0000) : bits << 16;
      const Int seen = (Int)(bits != splat_int(INT32_MIN));
      for (int64_t e = 0; e < width; ++e) {
        float *at = group.output + e * kGroup + v * kLanes;
        const Vec before = load(at);
        const Vec after = multiply_add(splat(load_elements(value[key] + e, 1)[0]), as_vec(bits), before);
        store(at, select(seen, after, before));
      }
    }
  }
}

// The output of a group, turned back to rows, and its lse.
template <class T, class Products>
void write_group(const regard_args &a, const Head<T, Products> &head, const Group &group, double unit,
                 const float *inverse, float dropout_factor, float *lse) {
  const int64_t rows = smaller<int64_t>(kGroup, a.queries - group.row);
  for (int v = 0; v < kGroup / kLanes && v * kLanes < rows; ++v) {
    const Vec scale = load(inverse + v * kLanes) * splat(dropout_factor);
    const int some = int(smaller<int64_t>(kLanes, rows - v * kLanes));
    for (int64_t e = 0; e < head.value_width; e += kLanes) {
      const int n = int(smaller<int64_t>(kLanes, head.value_width - e));
      Vec x[kLanes] = {};
      for (int i = 0; i < n; ++i)
        x[i] = load(group.output + (e + i) * kGroup + v * kLanes) * scale;
      transpose(x);
      for (int i = 0; i < some; ++i)
        head.write(group.row + v * kLanes + i, e, x[i], n);
    }
    if (!lse)
      continue;
    // In double: the maximum times a rounded factor would be off by more than
    // the backward pass, which takes weights from it, can bear.
    const Vec powers = log2(load(group.total + v * kLanes));
    for (int i = 0; i < some; ++i) {
      const int lane = v * kLanes + i;
      lse[group.row + lane] = group.total[lane] == 0
                                  ? -kInfinity
                                  : float(group.most[lane] * unit + powers[i] * kLn2Double);
    }
  }
}

template <class Products> constexpr size_t area_bytes() {
  return size_t(weight_part<Products>()) * Products::kParts * 4;
}

// How a call is cut into items, and where an item's scratch lies.
struct Layout {
  int64_t groups;   // per item
  int64_t per_head; // items
  int64_t units, value_width, output_rows;
  size_t query_bytes, group_bytes, key_bytes, value_bytes, map_bytes, kept_bytes, bytes;
};

template <class T, class Products> Layout layout_of(const regard_args &a, bool keep_scores = false) {
  using Own = Blocks<T, Products>;
  Layout l;
  const int64_t all = ceil_div(a.queries, kGroup);
  l.groups = smaller<int64_t>(4, ceil_div(all, 4));
  if (a.map && a.map_rows > kGroup) // a cell of the map belongs to one item
    l.groups = round_up(l.groups, a.map_rows / kGroup);
  l.groups = larger<int64_t>(1, smaller(l.groups, all));
  l.per_head = ceil_div(all, l.groups);
  l.units = units_of<Products>(a.head_dim);
  l.value_width = a.value_dim;
  l.output_rows = round_up(a.value_dim, Products::kUnitStep);
  l.query_bytes = size_t(l.units) * Products::kParts * kGroup * 4;
  l.group_bytes = round_up(sizeof(Group), 64) + l.query_bytes + size_t(l.output_rows) * kGroup * 4;
  l.key_bytes = size_t(Own::key_units(a.head_dim)) * Products::kParts * 4;
  l.value_bytes = size_t(Own::value_units(a.value_dim)) * Products::kParts * 4;
  l.map_bytes = a.map ? MapRecord::bytes(a.keys, a.map_columns) : 0;
  l.kept_bytes = keep_scores ? size_t(round_up(a.keys, Products::kUnitStep)) * kGroup * 4 : 0;
  l.bytes = size_t(l.groups) * (l.group_bytes + l.map_bytes + l.kept_bytes) + l.key_bytes +
            l.value_bytes + area_bytes<Products>();
  return l;
}

template <class T, class Products> struct Forward {
  using Unit = typename Products::Unit;
  const regard_args &a;
  const Layout layout;
  const Dropout dropout;

  static void item(int64_t number, unsigned char *scratch, const void *context) {
    const typename Products::InUse in_use;
    static_cast<const Forward *>(context)->run_item(number, scratch);
  }

  void run_item(int64_t number, unsigned char *scratch) const {
    // Head by head, so that its keys and values stay in the cache; the last
    // rows first, which under a causal mask are the longest.
    run_part(number / layout.per_head, layout.per_head - 1 - number % layout.per_head, scratch);
  }

  // The groups from `part` times `layout.groups` on; what is kept of them stays
  // in `scratch` until the next part.
  void run_part(int64_t head_number, int64_t part, unsigned char *scratch) const {
    const int64_t b = head_number / a.heads, h = head_number % a.heads;
    const Head<T, Products> head(a, b, h);
    const Scoring scoring(a, b, h);
    const bool masks = scoring.masks();
    const Vec factor = splat(scoring.remaining());

    float *weights = reinterpret_cast<float *>(scratch);
    unsigned char *at = scratch + area_bytes<Products>();
    Blocks<T, Products> blocks{head, reinterpret_cast<Unit *>(at),
                               reinterpret_cast<Unit *>(at + layout.key_bytes), {}, {}, {}, 0, 0};

    int32_t begin = int32_t(a.keys), end = 0;
    int64_t count = 0;
    for (; count < layout.groups; ++count) {
      const int64_t row = (part * layout.groups + count) * kGroup;
      if (row >= a.queries)
        break;
      Group &group = group_at(scratch, count);
      start_group(group, head, b, h, row);
      begin = smaller(begin, group.visible.begin);
      end = larger(end, group.visible.end);
    }

    constexpr int32_t kPrepared = int32_t(Blocks<T, Products>::kPrepared);
    for (int32_t first = begin / 64 * 64; first < end; first += kPrepared) {
      const int32_t last = smaller(first + kPrepared, end);
      bool prepared = false;
      for (int64_t i = 0; i < count; ++i) {
        Group &group = group_at(scratch, i);
        if (group.visible.begin >= last || group.visible.end <= first)
          continue;
        if (!prepared)
          blocks.prepare(first, last);
        prepared = true;
        for (int32_t block = first; block < last; block += Products::kBlockKeys)
          if (group.visible.begin < smaller(block + Products::kBlockKeys, last) && group.visible.end > block)
            run_block(group, head, blocks, scoring, masks, factor, block,
                      smaller(block + Products::kBlockKeys, last), uint32_t(head_number), weights);
      }
    }
    float *map = a.map ? a.map + head_number * ceil_div(a.queries, a.map_rows) *
                                     ceil_div(a.keys, a.map_columns)
                       : nullptr;
    if (map)
      clear_map_rows(a, map, part * layout.groups * kGroup, count * kGroup);
    for (int64_t i = 0; i < count; ++i)
      finish_group(group_at(scratch, i), head, scoring, head_number, map);
  }

  Group &group_at(unsigned char *scratch, int64_t i) const {
    unsigned char *first =
        scratch + area_bytes<Products>() + layout.key_bytes + layout.value_bytes;
    return *reinterpret_cast<Group *>(
        first + size_t(i) * (layout.group_bytes + layout.map_bytes + layout.kept_bytes));
  }

private:
  void start_group(Group &group, const Head<T, Products> &head, int64_t b, int64_t h,
                   int64_t row) const {
    group.row = row;
    group.visible.read(a, b, h, row);
    unsigned char *at = reinterpret_cast<unsigned char *>(&group) + round_up(sizeof(Group), 64);
    group.queries = at;
    group.output = reinterpret_cast<float *>(at + layout.query_bytes);
    at += layout.group_bytes - round_up(sizeof(Group), 64);
    group.map.start(at, a.map ? a.map_columns : 0);
    group.kept = layout.kept_bytes ? reinterpret_cast<float *>(at + layout.map_bytes) : nullptr;
    for (int i = 0; i < kGroup; ++i) {
      group.most[i] = -kInfinity;
      group.total[i] = 0;
    }
    if (group.visible.begin < group.visible.end)
      turn_queries(head, row, a.queries, group.queries);
    __builtin_memset(group.output, 0, size_t(layout.output_rows) * kGroup * 4);
  }

  // Whether a block went through in one pass (weight_tile): it is one run that
  // needs no change of scores, and no score is far above the reference.
  bool run_block_at_once(Group &group, Blocks<T, Products> &blocks, Vec factor,
                         const Run &run, int32_t block, float *weights) const {
    alignas(64) float most[kGroup];
    alignas(64) float sums[kBlock / kPart][kGroup] = {};
    const int first = run.quad_begin * kQuadVectors, last = run.quad_end * kQuadVectors;
    for (int v = first; v < last; ++v) {
      store(most + v * kLanes, splat(-kInfinity));
      if (any((Int)(load(group.most + v * kLanes) == splat(-kInfinity))))
        return false;
    }
    const Unit *queries = static_cast<const Unit *>(group.queries);
    float *kept = group.kept ? group.kept + int64_t(block) * kGroup : nullptr;
    int part = 0;
    for (int32_t begin = run.begin; begin < run.end; ++part) {
      const int32_t end = part_end(begin, run.end);
      if constexpr (kFewRegisters) {
        float *scores = kept ? kept : weights;
        for_lane_tiles(run, ScoresThenWeights<Unit, Products>{
                                {blocks.keys_from(begin), queries, layout.units,
                                 end - begin, scores + int64_t(begin - block) * kGroup, most, true,
                                 &blocks.ahead},
                                {group, factor, begin - block, end - block, scores, weights,
                                 sums[part]}});
      } else {
        for_lane_tiles(run, WeightTiles<Unit, Products>{
                                blocks.keys_from(block), queries, layout.units,
                                begin - block, end - block, factor, group.most, most, sums[part],
                                weights, kept, blocks.ahead});
      }
      begin = end;
    }
    for (int v = first; v < last; ++v) {
      const Vec above = (load(most + v * kLanes) - load(group.most + v * kLanes)) * factor;
      if (any((Int)(above > splat(kSlack))))
        return false;
    }
    part = 0;
    for (int32_t begin = run.begin; begin < run.end; ++part) {
      add_sums(group, run, factor, begin, sums[part]);
      begin = part_end(begin, run.end);
    }
    return true;
  }

  void add_sums(Group &group, const Run &run, Vec factor, int32_t begin, const float *sums) const {
    for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v)
      store(group.total + v * kLanes, load(group.total + v * kLanes) + load(sums + v * kLanes));
    group.map.add(begin, run, factor, sums, group.most);
  }

  // Sums are taken over kPart keys at a time, map or no map.
  static int32_t part_end(int32_t begin, int32_t end) {
    return smaller(end, (begin / kPart + 1) * kPart);
  }

  void run_block(Group &group, const Head<T, Products> &head, Blocks<T, Products> &blocks,
                 const Scoring &scoring, bool masks, Vec factor, int32_t block,
                 int32_t block_end, uint32_t head_number, float *weights) const {
    float *scores = group.kept ? group.kept + int64_t(block) * kGroup : weights;
    Run runs[kBlock / kSubBlock];
    const int count = group.visible.plan(block, block_end, runs);
    const int quads = int(ceil_div(smaller<int64_t>(kGroup, a.queries - group.row), kQuad));
    for (int i = 0; i < count; ++i) // lanes beyond the last query see what it sees
      runs[i].quad_end = smaller(runs[i].quad_end, quads);
    if constexpr (!Products::kTiles)
      if (count == 1 && scoring.plain && !runs[0].cut && !(a.dropout > 0) &&
          run_block_at_once(group, blocks, factor, runs[0], block, weights)) {
        add_values(group, head, blocks, runs[0], block, false, weights);
        return;
      }
    for (int i = 0; i < kGroup; ++i)
      group.block_most[i] = -kInfinity;
    for (int i = 0; i < count; ++i) {
      const Run &run = runs[i];
      const bool finished = scoring.plain && !run.cut;
      const int64_t k = run.begin - block;
      for_lane_tiles(run, ScoreTiles<Unit, Products>{
                              blocks.keys_from(run.begin), static_cast<Unit *>(group.queries),
                              layout.units, run.end - run.begin,
                              scores + k * kGroup, group.block_most, finished});
      if (!finished) {
        finish_scores(scoring, group.visible, run, group.row, block, scores);
        run_most(run, block, scores, group.block_most);
      }
    }
    move_reference(group, factor, layout.value_width);
    for (int i = 0; i < count; ++i) {
      const Run &run = runs[i];
      const bool cut = run.cut || masks;
      sum_run(group, run, factor, block, cut, scores, weights);
      if (a.dropout > 0)
        drop_run(group, run, block, head_number, weights);
    }
    for (int i = count; i-- > 0;) // the padding of a run may lie on the next
      add_values(group, head, blocks, runs[i], block, runs[i].cut || masks, weights);
  }

  void sum_run(Group &group, const Run &run, Vec factor, int32_t block, bool cut,
               const float *scores, float *weights) const {
    constexpr bool kPair = Products::kPerUnit == 2;
    const bool pair = kPair && !(a.dropout > 0);
    for (int32_t begin = run.begin; begin < run.end;) {
      const int32_t end = part_end(begin, run.end);
      alignas(64) float sums[kGroup] = {};
      if (pair && cut)
        weigh<true, kPair>(group, run, factor, begin - block, end - block, scores, weights, sums);
      else if (pair)
        weigh<false, kPair>(group, run, factor, begin - block, end - block, scores, weights, sums);
      else if (cut)
        weigh<true, false>(group, run, factor, begin - block, end - block, scores, weights, sums);
      else
        weigh<false, false>(group, run, factor, begin - block, end - block, scores, weights, sums);
      add_sums(group, run, factor, begin, sums);
      begin = end;
    }
  }

  template <bool kCut, bool kPair>
  static void weigh(const Group &group, const Run &run, Vec factor, int64_t begin, int64_t end,
                    const float *scores, float *weights, float *sums) {
    for_lane_tiles(run, Exponentials<kCut, kPair, Products>{group, factor, begin, end, scores,
                                                            weights, sums});
  }

  void drop_run(const Group &group, const Run &run, int32_t block, uint32_t head_number,
                float *weights) const {
    drop_weights(dropout, group, run, block, head_number, weights);
    if constexpr (Products::kPerUnit == 2)
      pair_weights<Products>(run, run.begin - block, run.end - block, weights);
  }

  void add_values(const Group &group, const Head<T, Products> &head, const Blocks<T, Products> &blocks,
                  const Run &run, int32_t block, bool cut, float *weights) const {
    constexpr int kPer = Products::kPerUnit;
    const int64_t k = (run.begin - block) / kPer, units = ceil_div(run.end - run.begin, kPer);
    const int64_t padded = round_up(units, Products::kUnitStep);
    // Tiles read the values of a few keys more, times weights of 0.
    const int64_t read_end = smaller(run.begin + padded * kPer, blocks.end);
    if constexpr (Products::kParts == 1) // what has parts is finite
      if ((cut || read_end > run.end) &&
          strange_values(head.value, head.value_width, run.begin, larger<int64_t>(run.end, read_end))) {
        output_careful<T, Products>(group, run, block, head.value, head.value_width, weights);
        return;
      }
    pad_weights<Products>(run, k + units, k + padded, weights);
    for_lane_tiles(run, OutputTiles<Unit, Products>{
                            blocks.values_from(run.begin),
                            reinterpret_cast<const Unit *>(weights) + k * Products::kWeightRow, units,
                            layout.value_width, group.output});
  }

  void finish_group(Group &group, const Head<T, Products> &head, const Scoring &scoring, int64_t head_number,
                    float *map) const {
    alignas(64) float inverse[kGroup];
    for (int v = 0; v < kGroup / kLanes; ++v) {
      const Vec total = load(group.total + v * kLanes);
      store(inverse + v * kLanes, select((Int)(total == Vec{}), Vec{}, splat(1.0f) / total));
    }
    write_group(a, head, group, scoring.unit(), inverse, a.dropout > 0 ? dropout.factor : 1.0f,
                a.lse ? a.lse + head_number * a.queries : nullptr);
    if (map)
      group.map.write(a, group.row, splat(scoring.remaining()), group.most, inverse, map);
  }
};

template <class T, class Products> int run_forward_with(const regard_args &a) {
  if (few_queries(a))
    return run_decode<T, typename Products::Streaming>(a);
  const Layout layout = layout_of<T, Products>(a);
  const Forward<T, Products> forward{a, layout, Dropout(a)};
  const int64_t heads = a.batch * a.heads;
  const double cost =
      2.0 * double(heads) * double(a.queries) * double(a.keys) * double(a.head_dim + a.value_dim);
  return regard::for_each_item(heads * layout.per_head, cost, layout.bytes,
                               Forward<T, Products>::item, &forward);
}

template <class T> int run_forward(const regard_args &a, T) {
  return with_products<T>(a, Pass::kForward, [&](auto products) {
    return run_forward_with<T, decltype(products)>(a);
  });
}

} // namespace
