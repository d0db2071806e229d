// The forward pass of few queries over many keys, as in decoding: bound by the
// memory that holds keys and values, so each is read once, as a stream, for all
// the queries of the heads that share it. Keys are the vector dimension here.
//
// An item of work is a chunk of keys of one key/value head, of a size that does
// not depend on the number of threads; the shares of the chunks are joined in
// order at the end.
#pragma once

#include "blocks.h"

namespace {

constexpr int kFewRows = 16;    // queries times heads that share a key/value head
constexpr int kFewQueries = 4;
constexpr int kChunk = 2048;    // keys of an item
constexpr int kStretch = 128;   // keys between two looks at the maximum; parts of a chunk

REGARD_INLINE Vec add_units(Vec a, Vec b, Vec sum, FloatProducts) {
  return multiply_add(a, b, sum);
}
#ifdef REGARD_HAS_DOT_BFLOAT16
REGARD_INLINE Vec add_units(Vec a, Vec b, Vec sum, PairProducts) {
  return dot_bfloat16(as_int(a), as_int(b), sum);
}
#endif

// Products of kQ queries, REGARD_MAX_WIDTH apart, with n (at most kLanes) keys
// from `key` on: four keys side by side, as one sum would wait for itself.
template <int kQ, class T, class Products>
REGARD_INLINE void key_products(const Head<T, Products> &head, const float *query, int64_t key, int n,
                                Vec (&all)[kQ]) {
  constexpr int kSide = 4;
  constexpr int64_t kStep = kLanes * Products::kPerUnit; // elements
  const int64_t whole = head.width / kStep * kLanes, units = head.units();
  Vec sum[kQ][kLanes];
#pragma GCC unroll 4
  for (int j = 0; j < kLanes; j += kSide) {
    const T *row[kSide];
    Vec own[kQ][kSide] = {};
#pragma GCC unroll 4
    for (int i = 0; i < kSide; ++i)
      row[i] = head.key[key + smaller(j + i, n - 1)];
    const auto add = [&](int64_t u, int64_t width) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int i = 0; i < kSide; ++i) {
        const Vec x = load_units<Products>(row[i], u, width);
#pragma GCC unroll 4
        for (int q = 0; q < kQ; ++q)
          own[q][i] = add_units(load(query + q * REGARD_MAX_WIDTH + u), x, own[q][i], Products{});
      }
    };
    for (int64_t u = 0; u < whole; u += kLanes)
      add(u, u * Products::kPerUnit + kStep); // known to be whole: no test
    for (int64_t u = whole; u < units; u += kLanes)
      add(u, head.width);
#pragma GCC unroll 4
    for (int q = 0; q < kQ; ++q)
#pragma GCC unroll 4
      for (int i = 0; i < kSide; ++i)
        sum[q][j + i] = own[q][i];
  }
  for (int q = 0; q < kQ; ++q) {
    transpose(sum[q]);
    all[q] = Vec{};
    for (int j = 0; j < kLanes; ++j)
      all[q] = all[q] + sum[q][j];
  }
}

// n values of a dense matrix along the keys.
REGARD_INLINE Vec load_along(const regard_matrix &x, bool bytes, int64_t row, int64_t key, int n) {
  const int64_t at = row * x.row + key * x.column;
  if (x.column == 1 && bytes)
    return load_bytes(static_cast<const uint8_t *>(x.data) + at, n);
  if (x.column == 1 && x.dtype == REGARD_FLOAT32)
    return load_elements(static_cast<const float *>(x.data) + at, n);
  float lanes[kLanes] = {};
  for (int k = 0; k < n; ++k)
    lanes[k] = bytes ? float(static_cast<const uint8_t *>(x.data)[at + k * x.column])
                     : element(x.data, x.dtype, at + k * x.column);
  return load(lanes);
}

// Scores in natural units of one query and n keys from their products.
inline Vec finish_row(const Scoring &s, int32_t start, int32_t stop, int64_t row, int64_t key, int n,
                      Vec x) {
  const Vec nothing = splat(-kInfinity);
  const Int column = iota() + int32_t(key);
  Int seen = (Int)(column >= start) & (Int)(column < smaller<int32_t>(stop, int32_t(key) + n));
  x = s.softcap > 0 ? tanh(x * splat(s.softcap_factor)) * splat(s.softcap)
                    : x * splat(float(s.scale));
  if (s.position_bias) {
    const Vec added = load_elements(s.position_bias + key - row, n);
    seen &= ~(Int)(added == nothing);
    x = add_bias(x, added);
  }
  if (s.bias.data) {
    const Vec added = load_along(s.bias, false, row, key, n);
    seen &= ~(Int)(added == nothing);
    x = add_bias(x, added);
  }
  if (s.mask.data)
    seen &= (Int)(load_along(s.mask, true, row, key, n) > Vec{});
  return select(seen, x, nothing);
}

// output[r][columns of kV vectors] += weights[r][key] * values[key], for kR rows.
// More than one vector: all of them full.
template <class T, int kR, int kV>
REGARD_INLINE void add_value_columns(Rows<const T> value, int64_t begin, int64_t end, int64_t column,
                                     int64_t width, const float *weights, float *output,
                                     int64_t stride) {
  Vec sum[kR][kV];
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v)
      sum[r][v] = load(output + r * stride + column + v * kLanes);
  for (int64_t j = begin; j < end; ++j) {
    const T *row = value[j] + column;
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      const int n = kV > 1 ? kLanes : int(smaller<int64_t>(kLanes, width - column));
      const Vec x = load_elements(row + v * kLanes, n);
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r)
        sum[r][v] = multiply_add(splat(weights[r * kStretch + j - begin]), x, sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v)
      store(output + r * stride + column + v * kLanes, sum[r][v]);
}

template <class T, class Products> struct Decode {
  const regard_args &a;
  int64_t sharing, rows, chunks; // heads of a key/value head; rows of an item
  int64_t units, stride;         // of a query, of an output row
  float *shares;                 // [item][row][length of a Share]

  // What a chunk adds to a row: the weighted sum of the values (stride), the
  // maximum and the total; and for the map, of each part the total and the
  // maximum it was taken under.
  static constexpr int64_t kParts = kChunk / kPart;
  int64_t share_length() const { return round_up(stride + 2 + 2 * kParts, kLanes); }

  static constexpr size_t kScratchBytes =
      size_t(kFewRows) * (REGARD_MAX_WIDTH + kStretch) * sizeof(float);
  float *share(int64_t item, int64_t row) const {
    return shares + (item * rows + row) * share_length();
  }

  static void item(int64_t number, unsigned char *scratch, const void *context) {
    static_cast<const Decode *>(context)->run_chunk(number, reinterpret_cast<float *>(scratch));
  }
  static void join(int64_t number, unsigned char *, const void *context) {
    static_cast<const Decode *>(context)->join_chunks(number);
  }

  struct Row {
    Scoring scoring;
    int32_t start, stop;
    int64_t query;
  };

  Row row_of(int64_t b, int64_t h, int64_t i) const {
    Row row{Scoring(a, b, h), 0, int32_t(a.keys), i};
    if (a.span_start) {
      const int64_t at = b * a.span_batch + h * a.span_head + i;
      row.start = larger(a.span_start[at], 0);
      row.stop = smaller(a.span_stop[at], int32_t(a.keys));
    }
    return row;
  }

  void run_chunk(int64_t number, float *scratch) const {
    const int64_t shared = number / chunks, b = shared / a.kv_heads, g = shared % a.kv_heads;
    const int64_t chunk = number % chunks * kChunk;
    float *queries = scratch, *weights = scratch + kFewRows * REGARD_MAX_WIDTH;
    int64_t begin = a.keys, end = 0;
    const Head<T, Products> head(a, b, g * sharing);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t h = g * sharing + r / a.queries, i = r % a.queries;
      const Head<T, Products> own(a, b, h);
      for (int64_t u = 0; u < units; u += kLanes)
        store(queries + r * REGARD_MAX_WIDTH + u,
              load_units<Products>(own.query[i], u, head.width));
      const Row row = row_of(b, h, i);
      if (row.start < row.stop) {
        begin = smaller<int64_t>(begin, row.start);
        end = larger<int64_t>(end, row.stop);
      }
      float *own_share = share(number, r);
      __builtin_memset(own_share, 0, size_t(share_length()) * sizeof(float));
      own_share[stride] = -kInfinity;
    }
    begin = larger(begin / kPart * kPart, chunk); // parts of the map start there
    end = smaller(end, chunk + kChunk);
    for (int64_t key = begin; key < end; key += kStretch)
      run_stretch(head, number, b, g, key, smaller(key + kStretch, end), queries, weights);
  }

private:
  void run_stretch(const Head<T, Products> &head, int64_t number, int64_t b, int64_t g, int64_t begin,
                   int64_t end, const float *queries, float *weights) const {
    bool hidden = false;
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2)
      hidden |= score_rows<2>(head, number, b, g, r, begin, end, queries, weights);
    if (r < rows)
      hidden |= score_rows<1>(head, number, b, g, r, begin, end, queries, weights);
    add_values(head, number, begin, end, hidden, weights);
  }

  // The weights of kQ rows from r on; whether a key is hidden from one.
  template <int kQ>
  bool score_rows(const Head<T, Products> &head, int64_t number, int64_t b, int64_t g, int64_t r,
                  int64_t begin, int64_t end, const float *queries, float *weights) const {
    bool hidden = false;
    const Row row[] = {row_of(b, g * sharing + r / a.queries, r % a.queries),
                       row_of(b, g * sharing + (r + kQ - 1) / a.queries, (r + kQ - 1) % a.queries)};
    Vec most[kQ];
    for (int q = 0; q < kQ; ++q)
      most[q] = splat(-kInfinity);
    for (int64_t key = begin; key < end; key += kLanes) {
      const int n = int(smaller<int64_t>(kLanes, end - key));
      if (r == 0) // its turn comes when the scores are done
        for (int j = 0; j < n; ++j)
          for (int64_t e = 0; e < head.value_width; e += int64_t(64 / sizeof(T)))
            __builtin_prefetch(head.value[key + j] + e);
      Vec products[kQ];
      key_products<kQ>(head, queries + r * REGARD_MAX_WIDTH, key, n, products);
      for (int q = 0; q < kQ; ++q) {
        const Vec x =
            finish_row(row[q].scoring, row[q].start, row[q].stop, row[q].query, key, n, products[q]);
        store(weights + (r + q) * kStretch + (key - begin), x);
        most[q] = largest(x, most[q]);
        hidden |= any((Int)(x == splat(-kInfinity)));
      }
    }
    for (int q = 0; q < kQ; ++q)
      weigh(share(number, r + q), largest_of(most[q]), weights + (r + q) * kStretch, begin % kChunk / kPart,
            end - begin);
    return hidden;
  }

  // Scores become weights under the row's maximum so far; -0 where hidden.
  void weigh(float *own, float highest, float *weights, int64_t part, int64_t count) const {
    float &most = own[stride], &total = own[stride + 1];
    float *parts = own + stride + 2 + 2 * part;
    if (highest > most) {
      const Vec rescale = exp2((splat(most) - splat(highest)) * splat(kLog2E));
      for (int64_t e = 0; e < stride; e += kLanes)
        store(own + e, load(own + e) * rescale);
      total *= rescale[0];
      most = highest;
    }
    const Vec base = splat(most == -kInfinity ? 0.0f : most);
    for (int64_t begin = 0; begin < count; begin += kPart, parts += 2) {
      Vec sum = Vec{};
      for (int64_t k = begin; k < smaller<int64_t>(begin + kPart, count); k += kLanes) {
        const Vec x = load(weights + k);
        const Vec p = exp2((x - base) * splat(kLog2E));
        sum = sum + p;
        store(weights + k, select((Int)(x == splat(-kInfinity)), splat(-0.0f), p));
      }
      parts[0] = sum_of(sum);
      parts[1] = base[0];
      total += parts[0];
    }
  }

  void add_values(const Head<T, Products> &head, int64_t number, int64_t begin, int64_t end,
                  bool hidden, const float *weights) const {
    if (hidden && strange_values(head.value, head.value_width, begin, end)) {
      for (int64_t r = 0; r < rows; ++r)
        add_carefully(head, share(number, r), begin, end, weights + r * kStretch);
      return;
    }
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
      add_rows<4>(head, number, r, begin, end, weights);
    for (; r < rows; ++r)
      add_rows<1>(head, number, r, begin, end, weights);
  }

  template <int kR>
  void add_rows(const Head<T, Products> &head, int64_t number, int64_t r, int64_t begin, int64_t end,
                const float *weights) const {
    const int64_t width = head.value_width;
    const float *own = weights + r * kStretch;
    float *output = share(number, r);
    constexpr int kV = !kFewRegisters ? 4 : kR == 1 ? 8 : 2; // sums enough to hide their latency
    int64_t e = 0;
    for (; e + kV * kLanes <= width; e += kV * kLanes)
      add_value_columns<T, kR, kV>(head.value, begin, end, e, width, own, output, share_length());
    for (; e < width; e += kLanes)
      add_value_columns<T, kR, 1>(head.value, begin, end, e, width, own, output, share_length());
  }

  // A value that is not finite does not touch a row that may not see its key.
  void add_carefully(const Head<T, Products> &head, float *output, int64_t begin, int64_t end,
                     const float *weights) const {
    for (int64_t j = begin; j < end; ++j) {
      const float p = weights[j - begin];
      if (p == 0.0f && __builtin_signbit(p))
        continue;
      for (int64_t e = 0; e < head.value_width; e += kLanes) {
        const int n = int(smaller<int64_t>(kLanes, head.value_width - e));
        store(output + e, multiply_add(splat(p), load_elements(head.value[j] + e, n), load(output + e)));
      }
    }
  }

  void join_chunks(int64_t shared) const {
    const int64_t b = shared / a.kv_heads, g = shared % a.kv_heads;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t h = g * sharing + r / a.queries, i = r % a.queries;
      float most = -kInfinity, total = 0;
      for (int64_t c = 0; c < chunks; ++c)
        most = larger(most, share(shared * chunks + c, r)[stride]);
      const float base = most == -kInfinity ? 0.0f : most;
      float *sum = share(shared * chunks, r);
      for (int64_t c = 0; c < chunks; ++c) {
        const float *own = share(shared * chunks + c, r);
        const Vec rescale = exp2((splat(own[stride]) - splat(base)) * splat(kLog2E));
        total += own[stride + 1] * rescale[0];
        for (int64_t e = 0; e < stride; e += kLanes)
          store(sum + e, multiply_add(load(own + e), rescale, c ? load(sum + e) : Vec{}));
      }
      const Head<T, Products> head(a, b, h);
      const Vec inverse = splat(total == 0 ? 0.0f : 1.0f / total);
      for (int64_t e = 0; e < head.value_width; e += kLanes)
        head.write(i, e, load(sum + e) * inverse,
                   int(smaller<int64_t>(kLanes, head.value_width - e)));
      if (a.map)
        add_to_map(shared, r, base, inverse[0]);
      if (a.lse)
        a.lse[(b * a.heads + h) * a.queries + i] =
            total == 0 ? -kInfinity
                       : float(double(most) + log2(splat(total))[0] * kLn2Double);
    }
  }

  // The few queries are one row of cells.
  void add_to_map(int64_t shared, int64_t r, float most, float inverse) const {
    const int64_t head = shared * sharing + r / a.queries;
    const int64_t width = ceil_div(a.keys, a.map_columns);
    float *line = a.map + head * width;
    if (r % a.queries == 0)
      __builtin_memset(line, 0, size_t(width) * sizeof(float));
    const float share_of_row = inverse / float(a.queries);
    for (int64_t part = 0; part * kPart < a.keys; ++part) {
      const float *own =
          share(shared * chunks + part / kParts, r) + stride + 2 + 2 * (part % kParts);
      if (own[0] != 0) // NaN too
        line[part * kPart / a.map_columns] +=
            own[0] * exp2(splat((own[1] - most) * kLog2E))[0] * share_of_row;
    }
  }
};

inline bool few_queries(const regard_args &a) {
  return a.queries <= kFewQueries && a.queries * (a.heads / a.kv_heads) <= kFewRows &&
         !(a.dropout > 0);
}

template <class T, class Products> int run_decode(const regard_args &a) {
  Decode<T, Products> decode{a, a.heads / a.kv_heads, 0, 0, 0, 0, nullptr};
  decode.rows = decode.sharing * a.queries;
  decode.chunks = larger<int64_t>(1, ceil_div(a.keys, kChunk));
  decode.units = ceil_div(a.head_dim, Products::kPerUnit);
  decode.stride = round_up(a.value_dim, kLanes);
  const int64_t shared = a.batch * a.kv_heads, items = shared * decode.chunks;
  const size_t bytes = size_t(items * decode.rows * decode.share_length()) * sizeof(float);
  decode.shares = static_cast<float *>(regard::allocate(bytes));
  if (!decode.shares)
    return regard::fail(REGARD_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
  // Reading a number costs about as much as ten operations of a busy kernel.
  const double cost = 20.0 * double(shared) * double(a.keys) * double(a.head_dim + a.value_dim);
  using Own = Decode<T, Products>;
  int code = regard::for_each_item(items, cost, Own::kScratchBytes, Own::item, &decode);
  if (code == REGARD_OK)
    code = regard::for_each_item(shared, 0, 0, Own::join, &decode);
  regard::release(decode.shares);
  return code;
}

} // namespace
