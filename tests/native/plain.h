// Attention by plain loops in double, forward and backward, with every feature
// of the interface: what imitated_check.cpp compares the library with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <sys/mman.h>

#include "regard_native.h"

enum Feature : unsigned {
  kCausal = 1,
  kSpans = 2, // of every head its own, some empty
  kMask = 4,
  kPositionBias = 8,
  kBias = 16, // with entries of -inf
  kSoftcap = 32,
  kDropout = 64,
};

struct Call {
  int64_t dtype, b, h, g, n, s, e, ev;
  unsigned features;

  bool has(Feature feature) const { return (features & feature) != 0; }
  int64_t rows() const { return b * h * n; }
  int64_t key_rows() const { return b * g * s; }
  // The key/value head that row (of rows()) reads, over the whole batch.
  int64_t shared(int64_t row) const {
    const int64_t head = row / n;
    return head / h * g + head % h / (h / g);
  }
};

constexpr double kCap = 1.5, kDropped = 0.3;
constexpr uint64_t kSeed = 0x123456789abcdef0u;

// Memory of the exact size. With `fenced` it ends where a page ends that nobody
// may touch: the machine itself then stops at the first byte beyond, in masked
// vector instructions too, which the address sanitizer does not see.
inline bool fenced = false;

template <class T> struct Memory {
  using value_type = T;
  static constexpr size_t kPage = 4096;

  Memory() = default;
  template <class Other> Memory(const Memory<Other> &) {}

  T *allocate(size_t count) {
    const size_t bytes = count * sizeof(T), mapped = (bytes + kPage - 1) / kPage * kPage;
    if (!fenced)
      return static_cast<T *>(std::malloc(bytes));
    void *start = mmap(nullptr, mapped + kPage, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *fence = static_cast<unsigned char *>(start) + mapped;
    if (start == MAP_FAILED || mprotect(fence, kPage, PROT_NONE) != 0)
      std::abort();
    return reinterpret_cast<T *>(fence - bytes);
  }
  void deallocate(T *data, size_t count) {
    const size_t bytes = count * sizeof(T), mapped = (bytes + kPage - 1) / kPage * kPage;
    if (fenced)
      munmap(reinterpret_cast<unsigned char *>(data) + bytes - mapped, mapped + kPage);
    else
      std::free(data);
  }
  template <class Other> bool operator==(const Memory<Other> &) const { return true; }
  template <class Other> bool operator!=(const Memory<Other> &) const { return false; }
};

// Numbers as the library reads and writes them. They start as NaN, in each
// dtype, so that what is not written shows.
class Numbers {
public:
  Numbers(int64_t dtype, int64_t count) : dtype_(dtype), bytes_(size_t(count) * width(), 0xff) {}

  void *data() { return bytes_.data(); }
  float *floats() { return reinterpret_cast<float *>(bytes_.data()); }
  int64_t count() const { return int64_t(bytes_.size() / width()); }

  double operator[](int64_t i) const {
    uint32_t bits = 0;
    std::memcpy(&bits, bytes_.data() + size_t(i) * width(), width());
    if (dtype_ == REGARD_FLOAT16)
      return half(bits);
    if (dtype_ == REGARD_BFLOAT16)
      bits <<= 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  // value: one that the dtype holds, in [-2, 2], or infinite.
  void set(int64_t i, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (dtype_ == REGARD_BFLOAT16)
      bits >>= 16;
    if (dtype_ == REGARD_FLOAT16) {
      const uint32_t sign = bits >> 16 & 0x8000, rest = bits >> 13 & 0x3ffff;
      bits = sign | (value == 0 ? 0 : std::isinf(value) ? 0x7c00 : rest - (112u << 10));
    }
    std::memcpy(bytes_.data() + size_t(i) * width(), &bits, width());
  }

private:
  size_t width() const { return dtype_ == REGARD_FLOAT32 ? 4 : 2; }
  static double half(uint32_t bits) {
    const int exponent = int(bits >> 10 & 31);
    const double sign = bits & 0x8000 ? -1 : 1, fraction = bits & 0x3ff;
    if (exponent == 31)
      return fraction != 0 ? NAN : sign * INFINITY;
    // 2^(exponent - 25) by its bits; std::ldexp took a fifth of all checks.
    const uint32_t power = uint32_t(std::max(exponent, 1) - 25 + 127) << 23;
    float factor;
    std::memcpy(&factor, &power, sizeof factor);
    return sign * (exponent ? 1024 + fraction : fraction) * double(factor);
  }

  int64_t dtype_;
  std::vector<unsigned char, Memory<unsigned char>> bytes_;
};

inline uint32_t next_random() {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

// Multiples of a step in [-2, 2], with all bits that the dtype has for them.
inline Numbers random_numbers(int64_t dtype, int64_t count) {
  Numbers numbers(dtype, count);
  const int half = dtype == REGARD_FLOAT32 ? 1 << 21 : dtype == REGARD_FLOAT16 ? 1 << 10 : 128;
  for (int64_t i = 0; i < count; ++i)
    numbers.set(i, float(int(next_random() % uint32_t(2 * half + 1)) - half) / float(half / 2));
  return numbers;
}

// What a call is given. The dense bias is shared over the batch.
struct Given {
  Numbers query, key, value, position_bias, bias, grad_output, grad_lse;
  std::vector<int32_t, Memory<int32_t>> start, stop;
  std::vector<uint8_t, Memory<uint8_t>> mask; // (B, 1, L, S)

  explicit Given(const Call &c)
      : query(random_numbers(c.dtype, c.rows() * c.e)),
        key(random_numbers(c.dtype, c.key_rows() * c.e)),
        value(random_numbers(c.dtype, c.key_rows() * c.ev)),
        position_bias(random_numbers(REGARD_FLOAT32, c.h * (c.n + c.s - 1))),
        bias(random_numbers(c.dtype, c.h * c.n * c.s)),
        grad_output(random_numbers(c.dtype, c.rows() * c.ev)),
        grad_lse(random_numbers(REGARD_FLOAT32, c.rows())), start(size_t(c.rows()), 0),
        stop(size_t(c.rows()), int32_t(c.s)), mask(size_t(c.b * c.n * c.s)) {
    for (int64_t row = 0; row < c.rows(); ++row) {
      if (c.has(kCausal))
        stop[size_t(row)] = int32_t(row % c.n + c.s - c.n + 1);
      if (c.has(kSpans)) {
        start[size_t(row)] = int32_t(next_random() % uint32_t(c.s + 3)) - 3;
        stop[size_t(row)] = start[size_t(row)] + int32_t(next_random() % uint32_t(c.s));
      }
    }
    for (uint8_t &one : mask)
      one = next_random() % 10 < 7;
    for (int64_t i = 0; i < bias.count(); i += 7)
      bias.set(i, -INFINITY);
  }
};

// Philox4x32 with 7 rounds (Salmon et al. 2011): is this weight kept?
inline bool kept(int64_t head, int64_t i, int64_t j) {
  uint32_t c[4] = {uint32_t(j / 64 * 16 + j % 16), uint32_t(i), uint32_t(head), 0};
  uint32_t low = uint32_t(kSeed), high = uint32_t(kSeed >> 32);
  for (int round = 0; round < 7; ++round) {
    const uint64_t first = 0xD2511F53ull * c[0], second = 0xCD9E8D57ull * c[2];
    const uint32_t next[] = {uint32_t(second >> 32) ^ c[1] ^ low, uint32_t(second),
                             uint32_t(first >> 32) ^ c[3] ^ high, uint32_t(first)};
    std::copy(next, next + 4, c);
    low += 0x9E3779B9u, high += 0xBB67AE85u;
  }
  return c[j % 64 / 16] >= uint32_t(std::floor(kDropped * 4294967296.0 + 0.5));
}

// The call in double: matrices are [row][key], rows over batch and heads.
struct Plain {
  std::vector<double> weights, factor, slope; // of dropout; of the softcap, times the scale
  std::vector<double> lse, output;
  std::vector<double> grad_score; // at the sum of the capped score and the biases
  std::vector<double> grad_query, grad_key, grad_value, grad_position_bias;
  double largest_sum = 1; // of one gradient's terms, none cancelling another

  Plain(const Call &c, const Given &x)
      : weights(size_t(c.rows() * c.s), 0), factor(weights.size(), 1), slope(weights.size(), 0),
        lse(size_t(c.rows()), -INFINITY), output(size_t(c.rows() * c.ev), 0),
        grad_score(weights.size(), 0), grad_query(size_t(c.rows() * c.e), 0),
        grad_key(size_t(c.key_rows() * c.e), 0), grad_value(size_t(c.key_rows() * c.ev), 0),
        grad_position_bias(size_t(c.h * (c.n + c.s - 1)), 0) {
    for (int64_t row = 0; row < c.rows(); ++row) {
      look(c, x, row);
      if (lse[size_t(row)] > -INFINITY)
        look_back(c, x, row);
    }
    for (const double sum : key_sums)
      largest_sum = std::max(largest_sum, sum);
  }

private:
  std::vector<double> key_sums; // of a key's terms: what its gradient would be without signs

  void look(const Call &c, const Given &x, int64_t row) {
    const int64_t head = row / c.n % c.h, i = row % c.n, from = c.shared(row) * c.s;
    double *weight = &weights[size_t(row * c.s)];
    double total = 0;
    const int64_t stop = std::min<int64_t>(c.s, x.stop[size_t(row)]);
    for (int64_t j = std::max(0, x.start[size_t(row)]); j < stop; ++j) {
      const double bias = c.has(kBias) ? x.bias[(head * c.n + i) * c.s + j] : 0;
      const int64_t at = (row / c.n / c.h * c.n + i) * c.s + j;
      if (std::isinf(bias) || (c.has(kMask) && !x.mask[size_t(at)]))
        continue;
      const double scale = 1 / std::sqrt(double(c.e));
      double score = 0;
      for (int64_t e = 0; e < c.e; ++e)
        score += scale * x.query[row * c.e + e] * x.key[(from + j) * c.e + e];
      const double bent = c.has(kSoftcap) ? std::tanh(score / kCap) : 0;
      slope[size_t(row * c.s + j)] = scale * (1 - bent * bent);
      score = (c.has(kSoftcap) ? kCap * bent : score) + bias;
      if (c.has(kPositionBias))
        score += x.position_bias[head * (c.n + c.s - 1) + j - i + c.n - 1];
      total += weight[j] = std::exp(score);
    }
    if (total == 0)
      return;
    lse[size_t(row)] = std::log(total);
    for (int64_t j = 0; j < c.s; ++j) {
      weight[j] /= total;
      if (c.has(kDropout))
        factor[size_t(row * c.s + j)] = kept(row / c.n, i, j) ? 1 / (1 - kDropped) : 0;
      for (int64_t e = 0; e < c.ev; ++e)
        output[size_t(row * c.ev + e)] +=
            factor[size_t(row * c.s + j)] * weight[j] * x.value[(from + j) * c.ev + e];
    }
  }

  void look_back(const Call &c, const Given &x, int64_t row) {
    const int64_t head = row / c.n % c.h, i = row % c.n, from = c.shared(row) * c.s;
    key_sums.resize(size_t(c.key_rows()), 0);
    double delta = -x.grad_lse[row];
    for (int64_t e = 0; e < c.ev; ++e)
      delta += x.grad_output[row * c.ev + e] * output[size_t(row * c.ev + e)];
    for (int64_t j = 0; j < c.s; ++j) {
      const size_t at = size_t(row * c.s + j);
      double product = 0;
      for (int64_t e = 0; e < c.ev; ++e) {
        const double up = x.grad_output[row * c.ev + e];
        product += up * x.value[(from + j) * c.ev + e];
        grad_value[size_t((from + j) * c.ev + e)] += factor[at] * weights[at] * up;
      }
      grad_score[at] = weights[at] * (factor[at] * product - delta);
      grad_position_bias[size_t(head * (c.n + c.s - 1) + j - i + c.n - 1)] += grad_score[at];
      const double size = weights[at] * (std::fabs(factor[at] * product) + std::fabs(delta));
      key_sums[size_t(from + j)] += size;
      largest_sum = std::max(largest_sum, size);
      for (int64_t e = 0; e < c.e; ++e) {
        const double by = grad_score[at] * slope[at];
        grad_query[size_t(row * c.e + e)] += by * x.key[(from + j) * c.e + e];
        grad_key[size_t((from + j) * c.e + e)] += by * x.query[row * c.e + e];
      }
    }
  }
};
