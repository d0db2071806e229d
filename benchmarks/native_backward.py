"""Forward and backward of the native library beside torch's scaled_dot_product_attention.

Both run in this process, in turn; times are CPU seconds, the least of a few. The share is of the
multiply-adds that a loop of nothing else reaches on this machine, backward alone.

    python -m benchmarks.native_backward [--dtype float32] [--threads 1] [--quick]
"""

import argparse
import time

import torch
import torch.nn.functional as F

from tests.native import library
from tests.native.gradients import prepared

CASES = [  # name, batch, heads, kv heads, n, width, causal, dropout
    ("n = 2048", 1, 8, 8, 2048, 64, False, 0.0),
    ("n = 2048 causal", 1, 8, 8, 2048, 64, True, 0.0),
    ("n = 2048 dropout", 1, 8, 8, 2048, 64, False, 0.1),
    ("n = 512 causal", 2, 8, 8, 512, 64, True, 0.0),
    ("n = 128 x 16", 16, 8, 8, 128, 64, False, 0.0),
    ("n = 197 x 8", 8, 8, 8, 197, 64, False, 0.0),
    ("n = 256 x 8", 8, 8, 8, 256, 64, False, 0.0),
    ("n = 512 x 2", 2, 8, 8, 512, 64, False, 0.0),
    ("E = 32", 1, 8, 8, 1024, 32, False, 0.0),
    ("E = 80", 1, 8, 8, 1024, 80, False, 0.0),
    ("E = 96", 1, 8, 8, 1024, 96, False, 0.0),
    ("E = 128", 1, 8, 8, 1024, 128, False, 0.0),
    ("8 heads on 2", 1, 8, 2, 1024, 64, False, 0.0),
    ("n = 8192", 1, 2, 2, 8192, 64, False, 0.0),
]


def least(functions, seconds):
    """The least CPU time of each, called in turn for about so long."""
    best = [float("inf")] * len(functions)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or float("inf") in best:
        for i, function in enumerate(functions):
            begin = time.process_time()
            function()
            best[i] = min(best[i], time.process_time() - begin)
    return best


def peak(dtype):
    """Operations per second of one core."""
    rounds = 2_000_000
    best = float("inf")
    for _ in range(5):
        begin = time.process_time()
        operations = library.LIB.regard_multiply_add_loop(library.DTYPES[dtype], rounds)
        best = min(best, time.process_time() - begin)
    return operations / best


def case(dtype, seconds, b, h, g, n, e, causal, dropout):
    """Seconds of (our forward, our backward, torch's both)."""
    q, d = (torch.randn(b, h, n, e, dtype=dtype) for _ in range(2))
    k, v = (torch.randn(b, g, n, e, dtype=dtype) for _ in range(2))
    options = {"dropout": dropout, "seed": 7}
    if causal:
        stop = torch.arange(1, n + 1, dtype=torch.int32)[None, None]
        options["spans"] = (torch.zeros_like(stop), stop)
    output, lse, _ = library.forward(q, k, v, **options)
    call, _results = prepared(q, k, v, output, lse, d, **options)
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]

    def of_torch():
        x = F.scaled_dot_product_attention(*leaves, is_causal=causal, dropout_p=dropout, enable_gqa=g != h)
        torch.autograd.grad(x, leaves, d)

    return least(
        [
            lambda: library.forward(q, k, v, **options),
            lambda: library.call("backward", call),
            of_torch,
        ],
        seconds,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--case", default="")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    library.use_torch_threads(settings.threads > 1)
    for name in settings.dtype:
        dtype = getattr(torch, name)
        top = peak(dtype)
        print(f"{name} on {library.LIB.regard_isa().decode()}, peak of one core {top / 1e9:.0f} GF/s")
        print(f"{'':18}{'forward':>10}{'backward':>10}{'GF/s':>7}{'share':>7}{'torch':>10}{'ratio':>7}")
        for label, b, h, g, n, e, causal, dropout in CASES:
            if settings.case not in label:
                continue
            ours, back, torchs = case(dtype, settings.seconds, b, h, g, n, e, causal, dropout)
            pairs = n * (n + 1) / 2 if causal else n * n
            rate = 10 * b * h * pairs * e / back
            print(
                f"{label:18}{ours * 1e3:8.2f}ms{back * 1e3:8.2f}ms{rate / 1e9:7.0f}{rate / top:7.0%}"
                f"{torchs * 1e3:8.2f}ms{torchs / (ours + back):7.2f}"
            )


if __name__ == "__main__":
    main()
