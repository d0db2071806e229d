"""Training speed of a token classifier beside `nn.TransformerEncoder` of the same size.

Run: `python -m benchmarks.encoder_training`.

3 layers, 128 wide, 4 heads, dropout 0.1, 25 sequences of 130 to 160 tokens; forward, backward and AdamW. The two take
turns in one process; CPU seconds, the median of 40 steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from regard.models import TokenClassifier, TokenClassifierConfig

BATCH, LENGTH, WORDS, LABELS, STEPS = 25, 160, 4000, 9, 40


class Theirs(nn.Module):
    """The same on PyTorch's own layers, with learnt positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(WORDS, 128), nn.Dropout(0.1)
        self.positions = nn.Parameter(0.02 * torch.randn(LENGTH, 128))
        layer = nn.TransformerEncoderLayer(128, 4, 512, 0.1, "gelu", batch_first=True, norm_first=True)
        self.stack = nn.TransformerEncoder(layer, 3, nn.LayerNorm(128), enable_nested_tensor=False)
        self.head = nn.Linear(128, LABELS)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits."""
        padding = torch.arange(tokens.shape[1]) >= lengths[:, None]
        x = self.dropout(self.embedding(tokens) + self.positions[: tokens.shape[1]])
        logits: Tensor = self.head(self.stack(x, src_key_padding_mask=padding))
        return logits


def stepper(model: nn.Module, narrow: bool) -> Callable[[], float]:
    """Return a function that takes one step and says how many CPU seconds it took."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    tokens, labels = torch.randint(1, WORDS, (BATCH, LENGTH)), torch.randint(0, LABELS, (BATCH, LENGTH))
    lengths = torch.randint(130, LENGTH + 1, (BATCH,))

    def step() -> float:
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            logits = model(tokens, lengths)
        nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - start

    return step


def main() -> None:
    """Print one line for each precision."""
    torch.manual_seed(0)
    for name, narrow in (("fp32", False), ("bf16", True)):
        ours = stepper(TokenClassifier(TokenClassifierConfig(vocab_size=WORDS, num_labels=LABELS)), narrow)
        theirs = stepper(Theirs(), narrow)
        seconds = [(ours(), theirs()) for _ in range(STEPS + 2)][2:]
        mine, other = (statistics.median(column) for column in zip(*seconds, strict=True))
        tokens = BATCH * LENGTH
        print(f"{name}: {tokens / mine:,.0f} tokens/s, torch {tokens / other:,.0f}, ratio {other / mine:.2f}")


if __name__ == "__main__":
    main()
