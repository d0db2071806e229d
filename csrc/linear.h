// Linear attention: output_i = phi(q_i) . sum over seen j of phi(k_j) [v_j, 1],
// divided by its last entry. What a query sees is all keys before its `stop`,
// and stops never go back.
//
// Keys are taken in blocks of kStep. All blocks before a row's stop are one
// `State`, of fixed size; the keys of the block in which the stop lies are
// taken one by one, through a small matrix of weights. An item of work is a
// stretch of rows of one key/value head; the sums over the parts of the keys
// before it were made by items of their own, so results depend on the sizes
// alone and not on the number of threads.
#pragma once

#include "elements.h"
#include "products.h"

namespace {

constexpr int64_t kStep = 32; // keys of a block, and rows taken at once
// A head is cut where there are fewer than kLinearHeads, into parts of at least so many tokens.
constexpr int64_t kLinearHeads = 8, kLinearPart = 1024;

// c = or += sum over k < count of a(r, k) * b[k]: rows x columns, columns whole vectors. What is added is
// summed first: a long sum that takes small numbers one by one loses more of each.
struct LinearProduct {
  const float *a, *b;
  int64_t a_stride, b_row, count;
  float *c;
  int64_t c_row;
  bool add;

  template <Along along, int kR, int kV> REGARD_INLINE void tile(int64_t row, int64_t column) const {
    const float *from = along == Along::kRows ? a + row * a_stride : a + row, *by = b + column;
    float *to = c + row * c_row + column;
    Vec sum[kR][kV];
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v)
        sum[r][v] = Vec{};
    for (int64_t k = 0; k < count; ++k) {
      Vec line[kV];
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v)
        line[v] = load(by + k * b_row + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r) {
        const Vec one = splat(along == Along::kRows ? from[r * a_stride + k] : from[k * a_stride + r]);
#pragma GCC unroll 8
        for (int v = 0; v < kV; ++v)
          sum[r][v] = multiply_add(one, line[v], sum[r][v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        float *at = to + r * c_row + v * kLanes;
        store(at, add ? load(at) + sum[r][v] : sum[r][v]);
      }
  }

  template <Along along, int kV> struct Tiles {
    const LinearProduct &of;
    int64_t row, column;
    template <int kR> REGARD_INLINE void run() const { of.tile<along, kR, kV>(row, column); }
  };

  template <Along along> __attribute__((noinline)) void run(int64_t rows, int64_t columns) const {
    for (int64_t column = 0; column < columns;) {
      const int64_t left = (columns - column) / kLanes;
      for (int64_t row = 0; row < rows; row += kTileRows) {
        if (left >= kTileVectors)
          with_rows<kTileRows>(rows - row, Tiles<along, kTileVectors>{*this, row, column});
        else if (left >= 2)
          with_rows<kTileRows>(rows - row, Tiles<along, 2>{*this, row, column});
        else
          with_rows<kTileRows>(rows - row, Tiles<along, 1>{*this, row, column});
      }
      column += kLanes * (left >= kTileVectors ? kTileVectors : left >= 2 ? 2 : 1);
    }
  }
};

// to[column][row] = from[row][column]; rows and columns are whole vectors of room.
inline void turn(const float *from, int64_t from_row, int64_t rows, int64_t columns, float *to, int64_t to_row) {
  for (int64_t row = 0; row < rows; row += kLanes)
    for (int64_t column = 0; column < columns; column += kLanes) {
      Vec x[kLanes];
      for (int i = 0; i < kLanes; ++i)
        x[i] = row + i < rows ? load(from + (row + i) * from_row + column) : Vec{};
      transpose(x);
      for (int i = 0; i < kLanes; ++i)
        store(to + (column + i) * to_row + row, x[i]);
    }
}

// Feature maps, a row of `width` elements at a time; lanes behind the features are 0.
constexpr int64_t kAsGiven = REGARD_FEATURES_GIVEN, kElu = REGARD_FEATURES_ELU, kRelu = REGARD_FEATURES_RELU,
                  kSoftmax = REGARD_FEATURES_SOFTMAX;
constexpr float kReluLeast = 1e-3f; // keeps a row of zeros from a division by zero

REGARD_INLINE Int below(int64_t n) { return (Int)(iota() < splat_int(int32_t(n))); }

// softmax(sign * x) over `width` elements, from `out` on.
template <class T> inline void softmax_features(const T *x, int64_t width, float sign, float *out) {
  Vec most = splat(-kInfinity);
  for (int64_t u = 0; u < width; u += kLanes)
    most = largest(most, select(below(width - u), load_elements(x + u, int(smaller<int64_t>(width - u, kLanes))) * splat(sign), splat(-kInfinity)));
  const float top = largest_of(most);
  Vec total = Vec{};
  for (int64_t u = 0; u < width; u += kLanes) {
    const int n = int(smaller<int64_t>(width - u, kLanes));
    const Vec p = select(below(n), exp2((load_elements(x + u, n) * splat(sign) - splat(top)) * splat(kLog2E)), Vec{});
    total = total + p;
    store_elements(out + u, p, n);
  }
  const Vec norm = splat(1.0f) / splat(sum_of(total));
  for (int64_t u = 0; u < width; u += kLanes) {
    const int n = int(smaller<int64_t>(width - u, kLanes));
    store_elements(out + u, load_elements(out + u, n) * norm, n);
  }
}

template <class T> inline void features_of(const T *x, int64_t width, int64_t map, float *out) {
  if (map == kSoftmax) {
    softmax_features(x, width, 1.0f, out);
    softmax_features(x, width, -1.0f, out + width);
    return;
  }
  for (int64_t u = 0; u < width; u += kLanes) {
    const int n = int(smaller<int64_t>(width - u, kLanes));
    const Vec y = load_elements(x + u, n);
    Vec f = y;
    if (map == kElu)
      f = select((Int)(y > Vec{}), y + splat(1.0f), exp2(y * splat(kLog2E)));
    else if (map == kRelu)
      f = select((Int)(y <= Vec{}), splat(kReluLeast), y + splat(kReluLeast));
    store_elements(out + u, f, n);
  }
}

// The gradient of x from that of its features; may be in the place of `grad`.
template <class T>
inline void gradient_of(const T *x, const float *features, int64_t width, int64_t map, const float *grad, T *out) {
  Vec first = Vec{}, second = Vec{};
  if (map == kSoftmax)
    for (int64_t u = 0; u < width; u += kLanes) {
      const int n = int(smaller<int64_t>(width - u, kLanes));
      first = first + load_elements(features + u, n) * load_elements(grad + u, n);
      second = second + load_elements(features + width + u, n) * load_elements(grad + width + u, n);
    }
  const Vec of_first = splat(sum_of(first)), of_second = splat(sum_of(second));
  for (int64_t u = 0; u < width; u += kLanes) {
    const int n = int(smaller<int64_t>(width - u, kLanes));
    const Vec y = load_elements(x + u, n), f = load_elements(features + u, n), g = load_elements(grad + u, n);
    Vec d = g;
    if (map == kElu)
      d = g * select((Int)(y > Vec{}), splat(1.0f), f);
    else if (map == kRelu)
      d = select((Int)(y <= Vec{}), Vec{}, g);
    else if (map == kSoftmax)
      d = f * (g - of_first) -
          load_elements(features + width + u, n) * (load_elements(grad + width + u, n) - of_second);
    store_elements(out + u, d, n);
  }
}

// Sizes of a call, and where its rows stop.
struct LinearCall {
  const regard_linear_args &a;
  int64_t features, fp, vp, group, parts, part; // padded widths; parts of the keys, and tokens of one

  explicit LinearCall(const regard_linear_args &args)
      : a(args), features(args.head_dim * (args.feature_map == kSoftmax ? 2 : 1)),
        fp(round_up(larger<int64_t>(features, 1), kLanes)), vp(round_up(larger<int64_t>(args.value_dim, 1), kLanes)),
        group(args.heads / args.kv_heads) {
    const int64_t matrices = larger<int64_t>(args.batch * args.kv_heads, 1);
    const int64_t longest = larger(args.queries, args.keys);
    const int64_t most = larger<int64_t>(longest / kLinearPart, 1);
    parts = matrices >= kLinearHeads ? 1 : smaller(most, ceil_div(2 * kLinearHeads, matrices));
    part = round_up(larger<int64_t>(ceil_div(longest, parts), 1), kStep);
    parts = larger<int64_t>(ceil_div(longest, part), 1);
  }
  int64_t state_floats() const { return features * vp + fp; }
  int64_t stop(int64_t row) const {
    return a.stops ? smaller<int64_t>(a.stops[row], a.keys) : a.keys;
  }
  // Where the block begins in which a row stops; all keys where it sees all.
  int64_t block(int64_t row) const {
    const int64_t at = stop(row);
    return at == a.keys ? a.keys : at / kStep * kStep;
  }
  // The first row that stops at `key` or behind.
  int64_t row_from(int64_t key) const {
    int64_t low = 0, high = a.queries;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (stop(middle) >= key)
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }
  const uint8_t *seen(int64_t b, int64_t g) const {
    return a.seen ? a.seen + b * a.seen_batch + g * a.seen_head : nullptr;
  }
};

// Areas of one item's scratch, handed out one after the other.
struct Areas {
  float *at;
  float *take(int64_t floats) {
    float *area = at;
    at += round_up(floats, 16);
    return area;
  }
};

// Features and values of a block of keys.
template <class T> struct KeyBlock {
  const LinearCall &call;
  Rows<const T> key, value;
  const uint8_t *seen;
  float *phi, *v; // (kStep, fp), (kStep, vp)
  int64_t at = -1, n = 0;
  bool strange = false;

  KeyBlock(const LinearCall &c, int64_t b, int64_t g, Areas &areas)
      : call(c), key(rows_of<const T>(c.a.key, b, g)), value(rows_of<const T>(c.a.value, b, g)), seen(c.seen(b, g)),
        phi(areas.take(kStep * c.fp)), v(areas.take(kStep * c.vp)) {
    __builtin_memset(phi, 0, size_t(kStep * c.fp) * sizeof(float));
    __builtin_memset(v, 0, size_t(kStep * c.vp) * sizeof(float));
  }
  static int64_t floats(const LinearCall &c) { return round_up(kStep * c.fp, 16) + round_up(kStep * c.vp, 16); }

  void load(int64_t from) {
    if (at == from)
      return;
    at = from, n = smaller(kStep, call.a.keys - from);
    Vec odd = Vec{};
    for (int64_t i = 0; i < n; ++i) {
      float *f = phi + i * call.fp, *row = v + i * call.vp;
      if (seen && !seen[from + i]) {
        __builtin_memset(f, 0, size_t(call.fp) * sizeof(float));
        __builtin_memset(row, 0, size_t(call.vp) * sizeof(float));
        continue;
      }
      features_of(key[from + i], call.a.head_dim, call.a.feature_map, f);
      for (int64_t u = 0; u < call.a.value_dim; u += kLanes) {
        const int some = int(smaller<int64_t>(call.a.value_dim - u, kLanes));
        store_elements(row + u, load_elements(value[from + i] + u, some), some);
      }
      for (int64_t u = 0; u < call.fp; u += kLanes)
        odd = odd + (::load(f + u) - ::load(f + u));
      for (int64_t u = 0; u < call.vp; u += kLanes)
        odd = odd + (::load(row + u) - ::load(row + u));
    }
    strange |= any((Int)(odd != odd));
  }
};

// sum phi(k) v, (features, vp), or turned, (Ev, fp); and sum phi(k), (fp).
struct State {
  float *sums, *ones;
};

// Adds the sum of some rows, each times a factor, to `to`.
template <class Factor>
REGARD_INLINE void add_sum(float *to, const float *rows, int64_t n, int64_t floats, const Factor &factor) {
  for (int64_t u = 0; u < floats; u += kLanes) {
    Vec sum = Vec{};
    for (int64_t i = 0; i < n; ++i)
      sum = multiply_add(splat(factor(i)), load(rows + i * floats + u), sum);
    store(to + u, load(to + u) + sum);
  }
}
REGARD_INLINE float once(int64_t) { return 1.0f; }

REGARD_INLINE void add_to(float *to, const float *from, int64_t floats) {
  for (int64_t u = 0; u < floats; u += kLanes)
    store(to + u, load(to + u) + load(from + u));
}

template <class T> inline void add_keys(const LinearCall &c, const KeyBlock<T> &block, const State &to) {
  LinearProduct{block.phi, block.v, c.fp, c.vp, block.n, to.sums, c.vp, true}.run<Along::kAcross>(c.features, c.vp);
  add_sum(to.ones, block.phi, block.n, c.fp, once);
}

// The state of part p of the keys, in its place among `partial`.
inline float *partial_of(const LinearCall &c, float *partial, int64_t matrix, int64_t p) {
  return partial + (matrix * c.parts + p) * c.state_floats();
}

template <class T> void sum_part(const LinearCall &c, float *partial, int64_t item, Areas areas) {
  const int64_t p = item % c.parts, matrix = item / c.parts;
  KeyBlock<T> block(c, matrix / c.a.kv_heads, matrix % c.a.kv_heads, areas);
  float *to = partial_of(c, partial, matrix, p);
  __builtin_memset(to, 0, size_t(c.state_floats()) * sizeof(float));
  const State state{to, to + c.features * c.vp};
  for (int64_t key = p * c.part; key < smaller((p + 1) * c.part, c.a.keys); key += kStep) {
    block.load(key);
    add_keys(c, block, state);
  }
  if (block.strange)
    __atomic_store_n(c.a.strange, 1, __ATOMIC_RELAXED);
}

// What a stretch of rows starts from: the keys of whole parts before `key`. Returns how many these are.
inline int64_t start_state(const LinearCall &c, const float *partial, int64_t matrix, int64_t key, const State &state) {
  __builtin_memset(state.sums, 0, size_t(c.features * c.vp) * sizeof(float));
  __builtin_memset(state.ones, 0, size_t(c.fp) * sizeof(float));
  if (c.a.state_in) { // (F, Ev + 1)
    const float *from = c.a.state_in + matrix * c.features * (c.a.value_dim + 1);
    for (int64_t f = 0; f < c.features; ++f, from += c.a.value_dim + 1) {
      __builtin_memcpy(state.sums + f * c.vp, from, size_t(c.a.value_dim) * sizeof(float));
      state.ones[f] = from[c.a.value_dim];
    }
  }
  if (!partial)
    return 0;
  const int64_t whole = key == c.a.keys ? ceil_div(key, c.part) : key / c.part;
  for (int64_t p = 0; p < whole; ++p) {
    const float *from = partial_of(c, const_cast<float *>(partial), matrix, p);
    add_to(state.sums, from, c.features * c.vp);
    add_to(state.ones, from + c.features * c.vp, c.fp);
  }
  return smaller(whole * c.part, c.a.keys);
}

// Row i: the features of the keys before the block, and of its first i keys.
inline void running_ones(const LinearCall &c, const float *ones, const float *phi, int64_t n, float *running) {
  for (int64_t u = 0; u < c.fp; u += kLanes) {
    const Vec before = load(ones + u);
    Vec sum = Vec{};
    store(running + u, before);
    for (int64_t i = 0; i < n; ++i) {
      sum = sum + load(phi + i * c.fp + u);
      store(running + (i + 1) * c.fp + u, before + sum);
    }
  }
}

REGARD_INLINE float dot(const float *x, const float *y, int64_t n) {
  Vec sum = Vec{};
  for (int64_t u = 0; u < n; u += kLanes)
    sum = multiply_add(load(x + u), load(y + u), sum);
  return sum_of(sum);
}

// Walks rows [first, last) of a key/value head in order, keeping the state of the keys before each. Calls
// enter(key block, keys of it that some row sees) and rows(head, row, n, block, seen) for up to kStep rows.
template <class T, class Advance, class Enter, class Each>
inline void walk_rows(const LinearCall &c, int64_t done, int64_t first, int64_t last, KeyBlock<T> &block,
                      const Advance &advance, const Enter &enter, const Each &rows) {
  for (int64_t row = first; row < last;) {
    const int64_t from = c.block(row);
    for (; done < from; done = smaller(done + kStep, c.a.keys)) {
      block.load(done);
      advance();
    }
    int64_t end = row + 1;
    while (end < last && end - row < kStep && c.block(end) == from)
      ++end;
    const int64_t inside = c.stop(end - 1) - from;
    if (inside)
      block.load(from);
    enter(inside);
    for (int64_t h = 0; h < c.group; ++h)
      rows(h, row, end - row, from, inside);
    row = end;
  }
}

// Hides from row i the keys of the block behind its stop.
inline void hide_ahead(const LinearCall &c, int64_t row, int64_t n, int64_t from, int64_t inside, float *weights) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = larger<int64_t>(c.stop(row + i) - from, 0); j < inside; ++j)
      weights[i * kStep + j] = 0.0f;
}

// weights * values for rows that see the first so many keys: no product with keys that none of a tile's rows sees.
inline void add_inside(const LinearCall &c, int64_t row, int64_t n, int64_t from, const float *weights, const float *b,
                       int64_t width, float *to) {
  for (int64_t i = 0; i < n; i += kTileRows) {
    const int64_t some = smaller<int64_t>(kTileRows, n - i), keys = c.stop(row + i + some - 1) - from;
    LinearProduct{weights + i * kStep, b, kStep, width, keys, to + i * width, width, true}.run<Along::kRows>(some, width);
  }
}

struct LinearRows {
  static int64_t floats(const LinearCall &c) {
    return c.features * c.vp + c.fp + 2 * kStep * c.fp + c.fp * kStep + kStep * c.vp + kStep * kStep + c.fp + 7 * 16;
  }
};

template <class T>
void forward_rows(const LinearCall &c, const float *partial, int64_t item, int64_t stretches, int64_t stretch,
                  Areas areas) {
  const regard_linear_args &a = c.a;
  const int64_t matrix = item / stretches, b = matrix / a.kv_heads, g = matrix % a.kv_heads;
  const int64_t first = item % stretches * stretch, last = smaller(first + stretch, a.queries);
  KeyBlock<T> block(c, b, g, areas);
  const State state{areas.take(c.features * c.vp), areas.take(c.fp)};
  float *phi = areas.take(kStep * c.fp), *running = areas.take((kStep + 1) * c.fp);
  float *turned = areas.take(c.fp * kStep), *out = areas.take(kStep * c.vp), *weights = areas.take(kStep * kStep);
  __builtin_memset(phi, 0, size_t(kStep * c.fp) * sizeof(float));
  int64_t done = start_state(c, partial, matrix, first < a.queries ? c.block(first) : a.keys, state);
  walk_rows<T>(
      c, done, first, last, block, [&] { add_keys(c, block, state); },
      [&](int64_t inside) {
        running_ones(c, state.ones, block.phi, inside, running);
        if (inside)
          turn(block.phi, c.fp, inside, c.fp, turned, kStep);
      },
      [&](int64_t h, int64_t row, int64_t n, int64_t from, int64_t inside) {
        const int64_t head = g * c.group + h;
        const Rows<const T> query = rows_of<const T>(a.query, b, head);
        const Rows<T> output = rows_of<T>(a.output, b, head);
        for (int64_t i = 0; i < n; ++i)
          features_of(query[row + i], a.head_dim, a.feature_map, phi + i * c.fp);
        LinearProduct{phi, state.sums, c.fp, c.vp, c.features, out, c.vp, false}.run<Along::kRows>(n, c.vp);
        if (inside) {
          LinearProduct{phi, turned, c.fp, kStep, c.features, weights, kStep, false}.run<Along::kRows>(
              n, round_up(inside, kLanes));
          hide_ahead(c, row, n, from, inside, weights);
          add_inside(c, row, n, from, weights, block.v, c.vp, out);
        }
        for (int64_t i = 0; i < n; ++i) {
          const float total = dot(phi + i * c.fp, running + (c.stop(row + i) - from) * c.fp, c.fp);
          if (a.totals)
            a.totals[(b * a.heads + head) * a.queries + row + i] = total;
          const Vec norm = splat(total == 0 ? 1.0f : 1.0f / total);
          for (int64_t u = 0; u < a.value_dim; u += kLanes)
            store_elements(output[row + i] + u, load(out + i * c.vp + u) * norm,
                           int(smaller<int64_t>(a.value_dim - u, kLanes)));
        }
      });
  if (a.state_out && first + stretch >= a.queries) { // the last item of a head: the rest of the keys, too
    if (first < last)
      done = c.block(last - 1);
    for (; done < a.keys; done += kStep) {
      block.load(done);
      add_keys(c, block, state);
    }
    float *to = a.state_out + matrix * c.features * (a.value_dim + 1);
    for (int64_t f = 0; f < c.features; ++f, to += a.value_dim + 1) {
      __builtin_memcpy(to, state.sums + f * c.vp, size_t(a.value_dim) * sizeof(float));
      to[a.value_dim] = state.ones[f];
    }
  }
  if (block.strange)
    __atomic_store_n(a.strange, 1, __ATOMIC_RELAXED);
}

// Runs body(item, areas) for every item, with so many floats of scratch each.
template <class Body_> int linear_items(int64_t items, double cost, int64_t floats, const Body_ &body) {
  return regard::for_each_item(
      items, cost, size_t(floats) * sizeof(float),
      [](int64_t item, unsigned char *scratch, const void *context) {
        (*static_cast<const Body_ *>(context))(item, Areas{reinterpret_cast<float *>(scratch)});
      },
      &body);
}

// The sums of the parts of the keys, where a head is cut; null where it is not. `code` says what went wrong.
template <class T> float *sums_of_parts(const LinearCall &c, int64_t matrices, int &code) {
  code = REGARD_OK;
  if (c.parts == 1)
    return nullptr;
  float *partial = static_cast<float *>(regard::allocate(size_t(matrices * c.parts * c.state_floats()) * sizeof(float)));
  if (!partial) {
    code = regard::fail(REGARD_OUT_OF_MEMORY, "no memory for the sums of %lld parts", (long long)c.parts);
    return nullptr;
  }
  const double cost = 2.0 * double(matrices) * double(c.a.keys) * double(c.features) * double(c.vp);
  code = linear_items(matrices * c.parts, cost, KeyBlock<T>::floats(c),
                      [&](int64_t item, Areas areas) { sum_part<T>(c, partial, item, areas); });
  return partial;
}

template <class T> int run_linear_forward(const regard_linear_args &a, T) {
  const LinearCall c(a);
  const int64_t matrices = a.batch * a.kv_heads;
  int code;
  float *partial = sums_of_parts<T>(c, matrices, code);
  if (code == REGARD_OK) {
    const int64_t stretch = c.parts == 1 ? larger<int64_t>(a.queries, 1) : c.part;
    const int64_t stretches = larger<int64_t>(ceil_div(a.queries, stretch), 1);
    const double cost = 2.0 * double(a.batch * a.heads) * double(a.queries + a.keys) * double(c.features) * double(c.vp);
    code = linear_items(matrices * stretches, cost, KeyBlock<T>::floats(c) + LinearRows::floats(c),
                        [&](int64_t item, Areas areas) { forward_rows<T>(c, partial, item, stretches, stretch, areas); });
  }
  regard::release(partial);
  return code;
}

} // namespace
