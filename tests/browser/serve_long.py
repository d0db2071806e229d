"""A server of an exact recording of 100,000 tokens, in a process of its own: prints its address and its memory."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

import regard
from tests.processes import peak_memory

TOKENS = 100_000
WIDTH = 64


def inputs() -> tuple[Tensor, Tensor]:
    """Return queries and keys of one head, the same ones each time."""
    make = torch.Generator().manual_seed(3)
    shape = (1, 1, TOKENS, WIDTH)
    return torch.randn(shape, generator=make), torch.randn(shape, generator=make)


class Model(nn.Module):
    """One head of causal attention."""

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Look at the keys."""
        return nn.functional.scaled_dot_product_attention(query, key, key, is_causal=True)


def main() -> None:
    """Record, serve, and wait for the end of the input."""
    torch.set_num_threads(1)
    model = Model().eval()
    with torch.no_grad(), regard.watch(model, keep="exact") as recording:
        model(*inputs())
    made = regard.view(recording, [f"t{n}" for n in range(TOKENS)])
    with made.serve(open_browser=False) as served:
        print(served.url, peak_memory(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
