"""The loss of tokens without stored scores: PyTorch's own figures and gradients."""

import pytest
import torch
from torch import Tensor, nn

from regard.errors import ShapeError
from regard.models import token_loss as room
from regard.models.token_loss import token_loss

from .examples import sequence_to_sequence


def drawn(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return states, weight, gates and chances that record gradients."""
    torch.manual_seed(0)
    shapes = ((300, 16), (50, 16), (300,), (300,))
    return [torch.rand(shape).sub(0.5 * (len(shape) > 1)).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_figures_and_gradients(smoothing: float, copies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows at a time, the last ones fewer, give what autograd gives at once; an odd upstream gradient too."""
    monkeypatch.setattr(room, "_AT_ONCE", 50 * 70)
    targets = torch.randint(50, (300,))
    found = []
    for function in (token_loss_of, by_hand):
        states, weight, gate, chance = drawn()
        loss = function(states, weight, targets, smoothing, (gate, chance) if copies else None)
        (0.3 * loss).backward()
        found.append((loss.detach(), states.grad, weight.grad, *([gate.grad, chance.grad] if copies else [])))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def by_hand(
    states: Tensor, weight: Tensor, targets: Tensor, smoothing: float, copied: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return the same by the equation."""
    shares = (states @ weight.T).softmax(-1)
    told = shares.gather(1, targets[:, None])[:, 0]
    if copied is not None:
        opened = copied[0].sigmoid()
        told = opened * told + (1 - opened) * copied[1]
    return -((1 - smoothing) * told.log() + smoothing * shares.log().mean(-1)).sum()


def token_loss_of(*given: object) -> Tensor:
    """Return the loss as `by_hand` is called."""
    return token_loss(*given[:3], label_smoothing=given[3], copied=given[4])  # type: ignore[arg-type]


def test_a_target_that_cannot_be_copied() -> None:
    """A chance of 0 leaves the softmax, and no gradient is infinite."""
    states, weight, gate, chance = drawn()
    loss = token_loss(states, weight, torch.zeros(300, dtype=torch.int64), copied=(gate, chance * 0))
    loss.backward()
    assert all(bool(one.grad.isfinite().all()) for one in (states, weight, gate))


def test_bfloat16_is_near() -> None:
    """Under autocast products are bfloat16's, the loss float32."""
    states, weight, _, _ = drawn()
    targets = torch.randint(50, (300,))
    with torch.autocast("cpu", torch.bfloat16):
        half = token_loss(states, weight, targets)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, token_loss(states, weight, targets), rtol=1e-2, atol=0.1)
    half.backward()
    assert states.grad is not None
    assert states.grad.dtype == torch.float32


def test_wrong_shapes_are_named() -> None:
    """A shape that does not fit says what the rule is."""
    with pytest.raises(ShapeError, match=r"the rule is \(N, embed_dim\), \(V, embed_dim\) and \(N,\)"):
        token_loss(torch.zeros(3, 4), torch.zeros(9, 5), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("options", [{}, {"copying": True}, {"tie_embeddings": False}])
def test_a_models_loss_is_that_of_its_logits(options: dict[str, object]) -> None:
    """`SequenceToSequence.loss` is the cross-entropy of what `forward` returns; padding counts nothing."""
    model = sequence_to_sequence(dropout=0.0, **options).model
    source, target = torch.tensor([[3, 4, 5], [6, 3, 0]]), torch.tensor([[1, 5, 4, 2], [1, 4, 2, 0]])
    lengths, written = torch.tensor([3, 2]), torch.tensor([4, 3])
    logits = model(source, target[:, :-1], lengths, written - 1)
    expected = nn.functional.cross_entropy(
        logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=0, reduction="sum"
    )
    total, count = model.loss(source, target, lengths, written)
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-4)
    assert int(count) == 5
    whole, _ = model.loss(source[:1], target[:1])
    part, _ = model.loss(source[1:], target[1:], lengths[1:], written[1:])
    torch.testing.assert_close(whole + part, total, rtol=1e-4, atol=1e-4)


def test_a_guide_adds_how_far_the_last_head_is_from_it() -> None:
    """The divergence of each token's weights, padding and tokens without a guide counting nothing."""
    model = sequence_to_sequence(dropout=0.0).model
    source, target = torch.tensor([[3, 4, 5], [6, 3, 0]]), torch.tensor([[1, 5, 4, 2], [1, 4, 2, 0]])
    lengths, written = torch.tensor([3, 2]), torch.tensor([4, 3])
    guide = torch.zeros(2, 3, 3)
    guide[0, 0], guide[0, 2], guide[1, 1] = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    guide[1, 2] = 1 / 3  # of padding
    _, weights = model(source, target[:, :-1], lengths, written - 1, need_weights=True)
    seen = weights["decoder.layers.1.cross_attention"][:, 0]
    expected = -0.5 * (2 * seen[0, 0, :2]).log().sum() - seen[0, 2, 2].log() - seen[1, 1, 1].log()
    total, count = model.loss(source, target, lengths, written, guide=guide)
    plain, _ = model.loss(source, target, lengths, written)
    torch.testing.assert_close(total - plain, expected, rtol=1e-4, atol=1e-4)
    assert int(count) == 5
    (total - plain).backward()
    last = model.decoder.layers[1].cross_attention
    assert any(one.grad is not None and bool(one.grad.any()) for one in last.parameters())
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters() if one.grad is not None)
    with pytest.raises(ShapeError, match=r"the rule is \(B, T - 1, S\), here \(2, 3, 3\)"):
        model.loss(source, target, lengths, written, guide=guide[:, :2])


def test_a_guide_teaches_where_to_look() -> None:
    """A target is the source reversed: after the same few steps a guided model looks where it should."""
    looks = {}
    for guided in (False, True):
        torch.manual_seed(0)
        model = sequence_to_sequence(dropout=0.0).model
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        source = torch.randint(3, 11, (64, 4))
        target = torch.cat([torch.ones(64, 1, dtype=torch.int64), source.flip(1)], 1)
        guide = torch.eye(4).flip(1).expand(64, 4, 4)
        for _ in range(80):
            loss, count = model.loss(source, target, guide=guide if guided else None)
            optimizer.zero_grad()
            (loss / count).backward()
            optimizer.step()
        with torch.no_grad():
            _, weights = model(source, target[:, :-1], need_weights=True)
        looks[guided] = float((weights["decoder.layers.1.cross_attention"][:, 0] * guide).sum(-1).mean())
    assert looks[True] > 0.8 > looks[False]
