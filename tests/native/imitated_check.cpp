// Every entry point against plain loops in double, as a program of its own: for
// machines that this one can only imitate, and under a checker of memory.
// Prints the instruction set, the worst error of each call, and their number.
#include <cstdio>

#include "linear_check.h"
#include "plain.h"

namespace {

// Of results and lse, by dtype: as a share of the largest entry, where that is
// above 1, and for gradients of the largest sum of their terms without signs.
constexpr double kAllowed[][2] = {{2e-6, 4e-6}, {1e-2, 2e-3}, {1e-3, 2e-4}};

bool by_parts = false; // as the command line says

class Worst {
public:
  double share = 0; // of what is allowed; a NaN stays

  template <class Found>
  void compare(const char *what, const Found &found, const std::vector<double> &wanted,
               double allowed, double largest = 1) {
    for (const double x : wanted)
      largest = std::isinf(x) ? largest : std::max(largest, std::fabs(x));
    double here = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const double x = double(found[int64_t(i)]);
      const double error = x == wanted[i] ? 0 : std::fabs(x - wanted[i]) / largest / allowed;
      here = error <= here ? here : error;
    }
    share = here <= share ? share : here;
    if (!(here <= 1))
      std::printf("%s is off by %.3g of what is allowed\n", what, here);
  }
  void done(const char *what, int code) {
    if (code == REGARD_OK)
      return;
    std::printf("%s: %s\n", what, regard_last_error());
    share = NAN;
  }
};

regard_rows rows(Numbers &x, int64_t heads, int64_t count, int64_t width) {
  return {x.data(), heads * count * width, count * width, width};
}

regard_args arguments(const Call &c, Given &x) {
  regard_args a = {};
  a.size = sizeof a;
  a.dtype = c.dtype, a.batch = c.b, a.heads = c.h, a.kv_heads = c.g, a.queries = c.n;
  a.keys = c.s, a.head_dim = c.e, a.value_dim = c.ev, a.scale = 1 / std::sqrt(double(c.e));
  a.query = rows(x.query, c.h, c.n, c.e);
  a.key = rows(x.key, c.g, c.s, c.e);
  a.value = rows(x.value, c.g, c.s, c.ev);
  a.span_start = x.start.data(), a.span_stop = x.stop.data();
  a.span_batch = c.h * c.n, a.span_head = c.n;
  if (c.has(kMask))
    a.mask = {x.mask.data(), 0, c.n * c.s, 0, c.s, 1};
  if (c.has(kPositionBias))
    a.position_bias = x.position_bias.floats(), a.position_bias_head = c.n + c.s - 1;
  if (c.has(kBias))
    a.bias = {x.bias.data(), c.dtype, 0, c.n * c.s, c.s, 1};
  a.softcap = c.has(kSoftcap) ? kCap : 0;
  a.dropout = c.has(kDropout) ? kDropped : 0;
  a.seed = kSeed;
  a.parts = by_parts;
  return a;
}

// Mean over the rows, sum over the keys; or the largest.
std::vector<double> cells(const Call &c, const Plain &plain, int64_t height, int64_t width,
                          bool peaks) {
  const int64_t down = (c.n + height - 1) / height, across = (c.s + width - 1) / width;
  std::vector<double> found(size_t(c.b * c.h * down * across), 0);
  for (int64_t row = 0; row < c.rows(); ++row)
    for (int64_t j = 0; j < c.s; ++j) {
      const int64_t i = row % c.n / height;
      double &cell = found[size_t((row / c.n * down + i) * across + j / width)];
      const double weight = plain.weights[size_t(row * c.s + j)];
      const double count = double(std::min(height, c.n - i * height));
      cell = peaks ? std::max(cell, weight) : cell + weight / count;
    }
  return found;
}

void check_backward(const Call &c, Given &x, const Plain &plain, regard_args a, Worst &worst) {
  Numbers query(c.dtype, c.rows() * c.e), key(c.dtype, c.key_rows() * c.e),
      value(c.dtype, c.key_rows() * c.ev), bias(REGARD_FLOAT32, c.rows() * c.s),
      position(REGARD_FLOAT32, c.h * (c.n + c.s - 1));
  a.grad_output = rows(x.grad_output, c.h, c.n, c.ev);
  a.grad_lse = x.grad_lse.floats();
  a.grad_query = rows(query, c.h, c.n, c.e);
  a.grad_key = rows(key, c.g, c.s, c.e);
  a.grad_value = rows(value, c.g, c.s, c.ev);
  if (c.has(kPositionBias))
    a.grad_position_bias = position.floats(), a.grad_position_bias_head = c.n + c.s - 1;
  if (c.has(kBias))
    a.grad_bias = {bias.data(), REGARD_FLOAT32, c.h * c.n * c.s, c.n * c.s, c.s, 1};
  worst.done("backward", regard_backward(&a));
  const double allowed = kAllowed[c.dtype][0];
  worst.compare("grad_query", query, plain.grad_query, allowed, plain.largest_sum);
  worst.compare("grad_key", key, plain.grad_key, allowed, plain.largest_sum);
  worst.compare("grad_value", value, plain.grad_value, allowed);
  if (c.has(kPositionBias))
    worst.compare("grad_position_bias", position, plain.grad_position_bias, allowed, plain.largest_sum);
  if (c.has(kBias))
    worst.compare("grad_bias", bias, plain.grad_score, allowed, plain.largest_sum);
}

// The summary alone, or with the forward pass, whose results `output` and `lse` must come again.
void check_summary(const Call &c, const Plain &plain, regard_args a, bool with_forward,
                   const Numbers &output, const Numbers &lse,
                   const std::vector<double> &received, const std::vector<double> &entropy,
                   const Numbers &tops, const std::vector<int64_t, Memory<int64_t>> &keys_of_tops,
                   Worst &worst) {
  constexpr int64_t kCell = 4, kPart = 64, kNeighbours = 3, kTop = REGARD_TOP;
  const double allowed = kAllowed[c.dtype][1];
  const int64_t parts = (c.n + kPart - 1) / kPart, matrices = c.b * c.h, shift = c.s - c.n;
  std::vector<double> far(size_t(c.rows()), 0), beside(size_t(matrices * kNeighbours), 0);
  for (int64_t row = 0; row < c.rows(); ++row)
    for (int64_t j = 0; j < c.s; ++j) {
      const int64_t apart = j - (row % c.n + shift);
      const double weight = plain.weights[size_t(row * c.s + j)];
      far[size_t(row)] += weight * double(std::llabs(apart));
      if (apart >= -1 && apart <= 1)
        beside[size_t(row / c.n * kNeighbours + apart + 1)] += weight;
    }
  const auto mass = cells(c, plain, kCell, kCell, false);
  Numbers map(REGARD_FLOAT32, int64_t(mass.size())), top(REGARD_FLOAT32, c.rows() * kTop);
  Numbers entropies(REGARD_FLOAT32, c.rows()), distances(REGARD_FLOAT32, c.rows());
  std::vector<int32_t, Memory<int32_t>> keys(size_t(c.rows() * kTop), -2);
  std::vector<double, Memory<double>> sums(size_t(matrices * parts * c.s), NAN);
  std::vector<double, Memory<double>> neighbours(size_t(matrices * parts * kNeighbours), NAN);
  a.cell_rows = a.cell_columns = kCell, a.part_rows = kPart;
  a.values = map.floats(), a.peaks = top.floats(), a.top_keys = keys.data();
  a.entropy = entropies.floats(), a.distance = distances.floats();
  a.received = sums.data(), a.neighbours = neighbours.data();
  Numbers again(c.dtype, c.rows() * c.ev), lse_again(REGARD_FLOAT32, c.rows());
  if (with_forward) {
    a.output = rows(again, c.h, c.n, c.ev), a.lse = lse_again.floats();
    worst.done("forward_summary", regard_forward_summary(&a));
    for (int64_t i = 0; i < c.rows() * c.ev; ++i)
      worst.share = again[i] == output[i] ? worst.share : NAN;
    for (int64_t i = 0; i < c.rows(); ++i)
      worst.share = lse_again[i] == lse[i] ? worst.share : NAN;
  } else {
    worst.done("summary", regard_summary(&a));
  }
  worst.compare("summary map", map, mass, allowed);
  worst.compare("summary entropy", entropies, entropy, 4 * allowed);
  worst.compare("summary distance", distances, far, double(c.s) * allowed);
  const auto joined = [&](const auto &given, int64_t each) {
    Numbers found(REGARD_FLOAT32, matrices * each);
    for (int64_t i = 0; i < matrices * each; ++i) {
      double sum = 0;
      for (int64_t part = 0; part < parts; ++part)
        sum += given[size_t((i / each * parts + part) * each + i % each)];
      found.floats()[i] = float(sum);
    }
    return found;
  };
  worst.compare("summary received", joined(sums, c.s), received, allowed);
  worst.compare("summary neighbours", joined(neighbours, kNeighbours), beside, allowed);
  for (int64_t i = 0; i < c.rows() * kTop; ++i)
    if (top[i] != tops[i] || keys[size_t(i)] != keys_of_tops[size_t(i)])
      worst.share = NAN;
}

void check_inspection(const Call &c, const Plain &plain, regard_args a, const Numbers &output,
                      const Numbers &lse, Worst &worst) {
  constexpr int64_t kHeight = 5, kWidth = 3, kTop = REGARD_TOP;
  a.row_count = c.n, a.column_count = c.s;
  const double allowed = kAllowed[c.dtype][1];
  const auto results = [&](int64_t each) { return Numbers(REGARD_FLOAT32, c.b * c.h * each); };

  Numbers tile = results(c.n * c.s);
  a.values = tile.floats();
  worst.done("tile", regard_tile(&a));
  worst.compare("tile", tile, plain.weights, allowed);

  a.cell_rows = kHeight, a.cell_columns = kWidth;
  const auto mass = cells(c, plain, kHeight, kWidth, false);
  Numbers pooled(REGARD_FLOAT32, int64_t(mass.size())), peaks = pooled;
  a.values = pooled.floats(), a.peaks = peaks.floats();
  worst.done("pooled", regard_pooled(&a));
  worst.compare("pooled", pooled, mass, allowed);
  worst.compare("peaks", peaks, cells(c, plain, kHeight, kWidth, true), allowed);

  std::vector<double> received(size_t(c.b * c.h * c.s), 0), entropy(size_t(c.rows()), 0);
  std::vector<double> largest(size_t(c.rows() * kTop), 0);
  for (int64_t row = 0; row < c.rows(); ++row) {
    const double *weight = &plain.weights[size_t(row * c.s)];
    for (int64_t j = 0; j < c.s; ++j) {
      received[size_t(row / c.n * c.s + j)] += weight[j];
      entropy[size_t(row)] -= weight[j] > 0 ? weight[j] * std::log(weight[j]) : 0;
    }
    std::vector<double> sorted(weight, weight + c.s);
    sorted.resize(size_t(std::max(c.s, kTop)), 0);
    std::partial_sort(sorted.begin(), sorted.begin() + kTop, sorted.end(), std::greater<double>());
    std::copy(sorted.begin(), sorted.begin() + kTop, &largest[size_t(row * kTop)]);
  }
  Numbers sums = results(c.s), entropies = results(c.n), tops = results(c.n * kTop);
  a.values = sums.floats();
  worst.done("received", regard_received(&a));
  worst.compare("received", sums, received, allowed);
  a.values = entropies.floats();
  worst.done("entropy", regard_entropy(&a));
  worst.compare("entropy", entropies, entropy, 4 * allowed);

  std::vector<int64_t, Memory<int64_t>> indices(size_t(c.rows() * kTop), -2);
  a.indices = indices.data(), a.values = tops.floats(), a.top = kTop;
  worst.done("top", regard_top(&a));
  worst.compare("top", tops, largest, allowed);
  for (int64_t i = 0; i < c.rows() * kTop; ++i) {
    const int64_t j = indices[size_t(i)];
    const bool fits = tops[i] == 0 ? j == -1 : j >= 0 && j < c.s;
    if (!fits || (j >= 0 && std::fabs(plain.weights[size_t(i / kTop * c.s + j)] - tops[i]) > allowed))
      worst.share = NAN;
  }
  const auto keys_of_tops = indices;
  Numbers most = results(c.n);
  a.values = most.floats();
  worst.done("peak", regard_peak(&a));
  for (int64_t row = 0; row < c.rows(); ++row)
    if (most[row] != tops[row * kTop])
      worst.share = NAN;
  for (const bool with_forward : {false, true})
    check_summary(c, plain, a, with_forward, output, lse, received, entropy, tops, keys_of_tops, worst);
}

double share_of_allowed(const Call &c) {
  Given x(c);
  const Plain plain(c, x);
  Numbers output(c.dtype, c.rows() * c.ev), lse(REGARD_FLOAT32, c.rows());
  const auto pooled = cells(c, plain, 64, 64, false);
  Numbers map(REGARD_FLOAT32, int64_t(pooled.size()));

  regard_args a = arguments(c, x);
  a.output = rows(output, c.h, c.n, c.ev), a.lse = lse.floats();
  a.map = map.floats(), a.map_rows = 64, a.map_columns = 64;
  Worst worst;
  worst.done("forward", regard_forward(&a));
  worst.compare("output", output, plain.output, kAllowed[c.dtype][0]);
  worst.compare("lse", lse, plain.lse, kAllowed[c.dtype][1]);
  worst.compare("map", map, pooled, kAllowed[c.dtype][1]);
  check_backward(c, x, plain, a, worst);
  check_inspection(c, plain, a, output, lse, worst);
  const auto compare = [&](const char *what, const Numbers &found, const std::vector<double> &wanted, double largest) {
    worst.compare(what, found, wanted, kAllowed[c.dtype][0], largest);
  };
  check_linear(c, (c.n + c.s) % 4, compare, [&](const char *what, int code) { worst.done(what, code); });
  return worst.share;
}

} // namespace

// With the word `fenced`, memory ends at a fence, and every shape up to 70 x 70 is run. With `parts` numbers may be
// multiplied by parts of bfloat16.
int main(int count, char **words) {
  for (int i = 1; i < count; ++i) {
    fenced = fenced || std::strcmp(words[i], "fenced") == 0;
    by_parts = by_parts || std::strcmp(words[i], "parts") == 0;
  }
  constexpr unsigned kAll = kCausal | kMask | kPositionBias | kBias | kSoftcap | kDropout;
  constexpr unsigned features[] = {0,     kCausal,  kSpans,             kMask | kDropout, kPositionBias,
                                   kBias, kSoftcap, kCausal | kDropout, kAll};
  std::vector<Call> calls = {
      {0, 1, 2, 1, 64, 64, 64, 64, kCausal}, {0, 1, 2, 2, 70, 130, 33, 40, kCausal},
      {0, 2, 2, 1, 1, 300, 64, 24, 0},       {1, 2, 4, 2, 1, 150, 64, 64, kMask},
      {2, 1, 2, 2, 1, 99, 40, 64, kDropout}, {0, 1, 1, 1, 150, 150, 20, 128, kSoftcap},
      {0, 1, 1, 1, 65, 257, 128, 7, 0},      {1, 1, 2, 1, 100, 140, 64, 64, kCausal},
      {0, 1, 1, 1, 5, 70, 256, 256, 0},      {1, 1, 1, 1, 70, 5, 255, 129, kSpans},
  };
  // Odd tails of everything, up to 70; each feature with each dtype.
  for (int64_t t = 0; t < 27; ++t) {
    const int64_t n = t * 31 % 70 + 1;
    calls.push_back({t / 9, 1 + t % 2, 2, 1, n, n * 7 % 70 + 1, n * 5 % 70 + 1, n * 11 % 70 + 1,
                     features[t % 9]});
  }
  // Every shape; dtypes, widths and features take turns that share no period with it.
  for (int64_t n = 1; fenced && n <= 70; ++n)
    for (int64_t s = 1; s <= 70; ++s) {
      const int64_t t = n * 71 + s;
      calls.push_back({t % 3, 1, 2, 1 + t % 2, n, s, t * 5 % 37 + 1, t * 11 % 41 + 1, features[t % 9]});
    }
  std::printf("%s\n", regard_isa());
  bool good = true;
  for (const Call &c : calls) {
    const double share = share_of_allowed(c);
    std::printf("dtype=%d L=%d S=%d E=%d Ev=%d features=%u: %.2f of what is allowed\n",
                int(c.dtype), int(c.n), int(c.s), int(c.e), int(c.ev), c.features, share);
    good = good && share <= 1;
  }
  std::printf("%zu calls\n", calls.size());
  return good ? 0 : 1;
}
