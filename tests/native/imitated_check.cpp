// Forward and backward against plain loops in double, as a program of its own:
// for machines that this one can only imitate.
//
//   aarch64-linux-gnu-g++ -O1 -std=c++17 tests/native/imitated_check.cpp -Icsrc
//       -L<build> -lregard_native -o check
//   LD_LIBRARY_PATH=<build> qemu-aarch64 -L /usr/aarch64-linux-gnu ./check
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "regard_native.h"

namespace {

struct Shape {
  int64_t b, h, g, n, s, e, ev;
  bool causal;
  double softcap;
};

uint32_t state = 1;
float random_value() {
  state = state * 1664525u + 1013904223u;
  return float(state >> 8) / float(1 << 23) - 1.0f;
}

std::vector<float> random_values(int64_t count) {
  std::vector<float> x(size_t(count) + 1);
  for (float &one : x)
    one = 2 * random_value();
  return x;
}

// The gradients of sum(output * grad) beside the formulas in double. `a` is the
// call as the forward left it.
double worst_gradient(const Shape &c, regard_args a, const std::vector<float> &out) {
  const auto up = random_values(c.b * c.h * c.n * c.ev);
  std::vector<float> dq(size_t(c.b * c.h * c.n * c.e), NAN), dk(size_t(c.b * c.g * c.s * c.e), NAN),
      dv(size_t(c.b * c.g * c.s * c.ev), NAN);
  a.grad_output = {const_cast<float *>(up.data()), c.h * c.n * c.ev, c.n * c.ev, c.ev};
  a.grad_query = {dq.data(), c.h * c.n * c.e, c.n * c.e, c.e};
  a.grad_key = {dk.data(), c.g * c.s * c.e, c.s * c.e, c.e};
  a.grad_value = {dv.data(), c.g * c.s * c.ev, c.s * c.ev, c.ev};
  if (regard_backward(&a) != REGARD_OK) {
    std::printf("%s\n", regard_last_error());
    return INFINITY;
  }
  const float *q = static_cast<float *>(a.query.data), *k = static_cast<float *>(a.key.data),
              *v = static_cast<float *>(a.value.data);
  std::vector<double> want_q(dq.size()), want_k(dk.size()), want_v(dv.size());
  for (int64_t head = 0; head < c.b * c.h; ++head) {
    const int64_t shared = head / c.h * c.g + head % c.h / (c.h / c.g);
    for (int64_t i = 0; i < c.n; ++i) {
      const int64_t row = head * c.n + i;
      for (int64_t j = 0; j < std::min<int64_t>(c.s, a.span_stop[i]); ++j) {
        const int64_t key = shared * c.s + j;
        double score = 0, slope = 0;
        for (int64_t e = 0; e < c.e; ++e)
          score += double(q[row * c.e + e]) * double(k[key * c.e + e]);
        const double p = std::exp(score * a.scale - double(a.lse[row]));
        for (int64_t e = 0; e < c.ev; ++e) {
          const double g = up[size_t(row * c.ev + e)];
          slope += g * (double(v[key * c.ev + e]) - double(out[size_t(row * c.ev + e)]));
          want_v[size_t(key * c.ev + e)] += p * g;
        }
        for (int64_t e = 0; e < c.e; ++e) {
          want_q[size_t(row * c.e + e)] += a.scale * p * slope * double(k[key * c.e + e]);
          want_k[size_t(key * c.e + e)] += a.scale * p * slope * double(q[row * c.e + e]);
        }
      }
    }
  }
  // As a share of the largest entry, where that is large: sums over many queries grow.
  double worst = 0;
  const std::vector<float> *found[] = {&dq, &dk, &dv};
  const std::vector<double> *wanted[] = {&want_q, &want_k, &want_v};
  for (int which = 0; which < 3; ++which) {
    double largest = 1; // a softmax over one key has no gradient at all
    for (const double x : *wanted[which])
      largest = std::max(largest, std::fabs(x));
    for (size_t i = 0; i < found[which]->size(); ++i) {
      const double error = std::fabs((*wanted[which])[i] - double((*found[which])[i])) / largest;
      worst = error <= worst ? worst : error; // NaN is kept
    }
  }
  return worst;
}

double worst_error(const Shape &c) {
  const auto q = random_values(c.b * c.h * c.n * c.e), k = random_values(c.b * c.g * c.s * c.e),
             v = random_values(c.b * c.g * c.s * c.ev);
  std::vector<float> out(size_t(c.b * c.h * c.n * c.ev), NAN), lse(size_t(c.b * c.h * c.n), NAN);
  std::vector<int32_t> start(size_t(c.n), 0), stop(size_t(c.n), int32_t(c.s));
  for (int64_t i = 0; c.causal && i < c.n; ++i)
    stop[size_t(i)] = int32_t(i + c.s - c.n + 1);

  regard_args a = {};
  a.size = sizeof a;
  a.batch = c.b, a.heads = c.h, a.kv_heads = c.g, a.queries = c.n, a.keys = c.s;
  a.head_dim = c.e, a.value_dim = c.ev, a.scale = 1 / std::sqrt(double(c.e));
  a.softcap = c.softcap;
  a.query = {const_cast<float *>(q.data()), c.h * c.n * c.e, c.n * c.e, c.e};
  a.key = {const_cast<float *>(k.data()), c.g * c.s * c.e, c.s * c.e, c.e};
  a.value = {const_cast<float *>(v.data()), c.g * c.s * c.ev, c.s * c.ev, c.ev};
  a.output = {out.data(), c.h * c.n * c.ev, c.n * c.ev, c.ev};
  a.lse = lse.data();
  a.span_start = start.data(), a.span_stop = stop.data();
  if (regard_forward(&a) != REGARD_OK) {
    std::printf("%s\n", regard_last_error());
    return INFINITY;
  }

  double worst = 0;
  for (int64_t head = 0; head < c.b * c.h; ++head) {
    const int64_t shared = head / c.h * c.g + head % c.h / (c.h / c.g);
    for (int64_t i = 0; i < c.n; ++i) {
      std::vector<double> sum(size_t(c.ev), 0.0);
      double total = 0;
      for (int64_t j = 0; j < std::min<int64_t>(c.s, stop[size_t(i)]); ++j) {
        double x = 0;
        for (int64_t e = 0; e < c.e; ++e)
          x += double(q[(head * c.n + i) * c.e + e]) * double(k[(shared * c.s + j) * c.e + e]);
        x *= a.scale;
        x = c.softcap > 0 ? c.softcap * std::tanh(x / c.softcap) : x;
        total += std::exp(x);
        for (int64_t e = 0; e < c.ev; ++e)
          sum[size_t(e)] += std::exp(x) * double(v[(shared * c.s + j) * c.ev + e]);
      }
      const double got_lse = lse[size_t(head * c.n + i)];
      if (total == 0 ? got_lse != -INFINITY : !(std::fabs(got_lse - std::log(total)) < 1e-5))
        return INFINITY;
      for (int64_t e = 0; e < c.ev; ++e) {
        const double want = total > 0 ? sum[size_t(e)] / total : 0;
        const double error = std::fabs(want - out[size_t((head * c.n + i) * c.ev + e)]);
        worst = error <= worst ? worst : error; // NaN is kept
      }
    }
  }
  if (c.softcap > 0)
    return worst;
  const double error = worst_gradient(c, a, out);
  return error <= worst ? worst : error;
}

} // namespace

int main() {
  std::vector<Shape> shapes = {
      {1, 2, 1, 64, 64, 64, 64, false, 0},  {1, 2, 2, 70, 130, 33, 40, true, 0},
      {2, 2, 1, 1, 300, 64, 24, false, 0},  {1, 1, 1, 3, 5, 1, 1, true, 2},
      {1, 2, 1, 17, 9, 80, 96, true, 0},    {1, 1, 1, 200, 200, 20, 128, true, 3},
      {1, 1, 1, 65, 257, 128, 7, false, 0},
  };
  // Odd tails of everything, up to 70.
  for (int64_t n = 1; n <= 70; n += 3)
    shapes.push_back({1, 2, 1, n, n * 7 % 70 + 1, n * 5 % 70 + 1, n * 11 % 70 + 1, n % 2 == 0, 0});
  std::printf("%s\n", regard_isa());
  bool good = true;
  for (const Shape &shape : shapes) {
    const double error = worst_error(shape);
    std::printf("L=%lld S=%lld E=%lld Ev=%lld: %.1e\n", (long long)shape.n, (long long)shape.s,
                (long long)shape.e, (long long)shape.ev, error);
    good = good && error < 3e-6;
  }
  return good ? 0 : 1;
}
