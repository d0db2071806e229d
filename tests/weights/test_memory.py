"""Long sequences: a map of 65,536 x 65,536 weights in the memory of the inputs, measured in a fresh process."""

import json

import torch

from regard.weights import _memory
from tests.processes import output_of

SCRIPT = """
import json, torch
from regard._inputs import AttentionInputs, AttentionResult, Spans
from regard import AttentionWeights, masks
from tests.processes import peak_memory
torch.set_num_threads(1)
n = 65536
make = torch.Generator().manual_seed(0)
q, k = (torch.randn(1, 1, n, 16, generator=make) for _ in range(2))
mask = masks.causal() & masks.window(None, 0)
weights = AttentionWeights.of_call(
    AttentionInputs(q, k, k, 0.25, Spans(*mask.resolve(n, n)[:2]), need_weights=True), AttentionResult(q), 4
)
pooled = weights.pooled(64)
rows = torch.tensor([0, 63, 40000, 65535])
exact = weights[0, 0, rows].double()
score = (q[0, 0, rows].double() @ k[0, 0].double().T) * 0.25
expected = score.masked_fill(torch.arange(n) > rows[:, None], -torch.inf).softmax(-1)
print(json.dumps({
    "peak": peak_memory(),
    "shape": list(pooled.shape),
    "rows": (pooled.sum(-1) - 1).abs().max().item(),
    "above": pooled[0, 0].triu(1).abs().max().item(),
    "exact": (exact - expected).abs().max().item(),
    "first": (pooled[0, 0, 0, 0] - 1).abs().item(),
}))
"""


def test_map_of_65536_tokens_in_one_and_a_half_gibibytes() -> None:
    """65,536 tokens on one head, lse included, pooled to 1,024 x 1,024: at most 1.5 GiB of process memory."""
    found = json.loads(output_of(SCRIPT))
    assert found["shape"] == [1, 1, 1024, 1024]
    assert found["peak"] < 1.5 * 1024
    assert found["rows"] < 1e-4
    assert found["first"] < 1e-4
    assert found["above"] == 0
    assert found["exact"] < 1e-5


def test_free_memory_is_known_or_assumed(monkeypatch, tmp_path) -> None:
    """A container's limit counts where there is one; without any word from the system 4 GiB are assumed."""
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr(_memory, "_CONTAINER", tmp_path)
    assert _memory.free_bytes(torch.device("cpu")) == 600000
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(_memory, "_available", lambda: None)
    assert _memory.free_bytes(torch.device("cpu")) == 4 << 30
    assert _memory.free_bytes(torch.device("meta")) == 4 << 30


def test_sizes_are_written_with_units() -> None:
    """Numbers of bytes are readable."""
    sizes = [0, 1023, 1024, 1536, 1 << 20, 16 << 30, 5 << 50]
    texts = ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "1.0 MiB", "16.0 GiB", "5120.0 TiB"]
    assert [_memory.readable_size(size) for size in sizes] == texts
