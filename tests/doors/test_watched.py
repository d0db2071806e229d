"""The doors beyond SDPA, as `watch` sees them: weights before dropout, attention that a module computes by itself."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard import AttentionWeights, use_backend, watch
from regard.recorder import EmptyRecordingError
from tests.doors.models import Calls, HandMadeAttention, Operations, gradients, plain_and_watched

_TIMM = importlib.util.find_spec("timm") is not None and importlib.util.find_spec("torchvision") is not None


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_multi_head_attention(average: bool, batched: bool, need_weights: bool, training: bool, masked: bool) -> None:
    """The recorded weights are those before dropout; with weights what the module returns keeps its bits."""
    model = nn.MultiheadAttention(16, 4, dropout=0.4, batch_first=True).train(training)
    x = torch.randn(2, 9, 16) if batched else torch.randn(9, 16)
    past = torch.ones(9, 9, dtype=torch.bool).triu(1) if masked else None
    settings: dict[str, Any] = {"attn_mask": past, "need_weights": need_weights, "average_attn_weights": average}
    plain, found, recording = plain_and_watched(model, lambda: model(x, x, x, **settings), keep="exact")
    torch.testing.assert_close(found, plain)
    if need_weights:
        assert torch.equal(plain[0], found[0])
        torch.testing.assert_close(plain[1], found[1], rtol=0, atol=0 if not average else 1e-7)
    before = model.eval()(x, x, x, attn_mask=past, average_attn_weights=False)[1]
    weights = recording[0]
    assert isinstance(weights, AttentionWeights)
    assert weights.shape == (tuple(before.shape) if batched or need_weights else (1, 4, 9, 9))
    torch.testing.assert_close(weights.dense().view_as(before), before.detach())
    assert torch.equal(weights.masked().reshape(-1, 9, 9)[0], torch.zeros(9, 9).bool() if past is None else past)


TRAINED: dict[str, Callable[[], nn.Module]] = {
    "returns weights": lambda: nn.MultiheadAttention(16, 2, dropout=0.3, batch_first=True),
    "a layer": lambda: nn.TransformerEncoderLayer(16, 2, dropout=0.1, batch_first=True),
}


@pytest.mark.parametrize("kind", TRAINED)
def test_a_training_step_with_dropout_keeps_its_gradients(kind: str) -> None:
    """Gradients are those of the unwatched step, with the same random numbers; what is recorded needs none."""
    x = torch.randn(2, 6, 16)
    model, given = TRAINED[kind](), [x, x, x] if kind == "returns weights" else [x]

    def step() -> list[Tensor]:
        found = model(*given)
        parts = found if isinstance(found, tuple) else (found,)
        return gradients(model, torch.stack([part.sin().sum() + part.square().sum() for part in parts]).sum())

    plain, found, recording = plain_and_watched(model.train(), step)
    assert plain
    torch.testing.assert_close(found, plain)
    assert not recording[0].requires_grad


def test_a_row_without_keys_is_empty_not_nan() -> None:
    """A fully padded row of `nn.MultiheadAttention` with weights gives NaN there and 0 in the recording."""
    model = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x, padding = torch.randn(2, 4, 8), torch.zeros(2, 4, dtype=torch.bool)
    padding[1] = True
    with watch(model) as recording:
        output, _ = model(x, x, x, key_padding_mask=padding)
    assert output[1].isnan().all()
    assert not recording[0].received()[1].any()
    assert torch.allclose(recording[0].received()[0].sum(-1), torch.tensor(4.0))


def patches(fused: bool, chance: float = 0.0) -> nn.Module:
    """Return self-attention as vision models write it: one projection, fused or by hand, with dropout in between."""
    qkv, drop = nn.Linear(16, 48), nn.Dropout(chance)

    def attend(x: Tensor) -> Tensor:
        q, k, v = qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        if fused:
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=chance if drop.training else 0.0)
        else:
            out = drop(nn.Softmax(dim=-1)((q * 8**-0.5) @ k.transpose(-2, -1))) @ v
        return out.transpose(1, 2).flatten(2)

    return HandMadeAttention(attend, qkv=qkv, drop=drop)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fused", [True, False])
def test_attention_as_vision_models_write_it(fused: bool, training: bool) -> None:
    """A module that returns its output alone is recorded, fused or by hand, before dropout."""
    torch.manual_seed(0)
    model = nn.Sequential(patches(fused, 0.5), patches(fused)).train(training)
    x = torch.randn(3, 10, 16)
    plain, found, recording = plain_and_watched(model, lambda: model(x), keep="exact")
    torch.testing.assert_close(found, plain)
    assert list(recording) == ["0", "1"]
    q, k, _ = model[0].qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(recording[0].dense(), (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1))


# Models of timm, small, with the calls of one pass and what of the weights is known: shape of the first.
SMALL = {"img_size": 28, "embed_dim": 32, "depth": 2, "num_heads": 4}
OF_TIMM = {
    "vit_tiny_patch16_224": ({"img_size": 64, "depth": 2}, 2, (1, 3, 17, 17)),
    "vit_small_patch14_reg4_dinov2": (SMALL, 2, (1, 4, 9, 9)),
    "swin_tiny_patch4_window7_224": (
        {"img_size": 56, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}, 4, (4, 2, 49, 49),
    ),
}  # fmt: skip


@pytest.mark.skipif(not _TIMM, reason="timm needs torchvision; `make test TORCH=2.14.1` installs both")
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", OF_TIMM)
def test_models_of_timm(name: str, fused: bool) -> None:
    """ViT, DINOv2 with registers and Swin are recorded whole, with fused attention and without."""
    import timm

    settings, calls, shape = OF_TIMM[name]
    model = timm.create_model(name, pretrained=False, **settings).eval()
    side = settings["img_size"]
    image = torch.randn(1, 3, side, side)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    with torch.no_grad():
        plain, found, recording = plain_and_watched(model, lambda: model(image))
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)
    assert len(recording) == calls
    assert not recording.missed
    assert recording[0].shape == shape
    torch.testing.assert_close(recording[0].pooled(1).sum(-1), torch.ones(shape[:3]), rtol=0, atol=1e-4)


def test_inner_and_outer_modules_that_return_the_same_count_once() -> None:
    """A wrapper that hands the weights of its inner module on adds no second call."""

    def attend(x: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.einsum("bld,bsd->bls", x, x).softmax(-1)[:, None]
        return weights[:, 0] @ x, weights

    def add(x: Tensor) -> tuple[Tensor, Tensor]:
        output, weights = inner(x)
        return output + x, weights

    inner = HandMadeAttention(attend)
    model = HandMadeAttention(add, inner=inner)
    with watch(model) as recording:
        model(torch.randn(2, 6, 4))
    assert list(recording) == ["inner"]
    assert recording[0].shape == (2, 1, 6, 6)


def test_softmax_over_other_things_is_no_attention() -> None:
    """Probabilities of classes, and softmax in a module that is not named after attention, are left alone."""
    head = Calls(lambda x: x.softmax(-1))
    with pytest.raises(EmptyRecordingError, match="no module of it"), watch(head) as recording:
        head(torch.randn(2, 3, 4, 4))
    assert not recording.missed
    of_channels = HandMadeAttention(lambda x: x * x.reshape(2, 3, 2, 4).softmax(-1).reshape(2, 6, 4))
    with pytest.raises(EmptyRecordingError, match=r"softmax gave \(2, 3, 2, 4\)"), watch(of_channels):
        of_channels(torch.randn(2, 6, 4))


@pytest.mark.parametrize("hides", ["nothing", "past", "bool", "lowest"])
def test_without_our_kernel_nothing_is_computed_twice(hides: str) -> None:
    """Where PyTorch's kernel serves the call, it runs once, and output and gradients keep their bits."""
    torch.manual_seed(0)
    given = [torch.randn(2, 3, 40, 16, requires_grad=True) for _ in range(3)]
    mask = torch.rand(2, 1, 40, 40) < 0.7
    settings: dict[str, Any] = {
        "nothing": {}, "past": {"is_causal": True}, "bool": {"attn_mask": mask},
        "lowest": {"attn_mask": torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)},
    }[hides]  # fmt: skip

    model, counted = Calls(lambda: F.scaled_dot_product_attention(*given, **settings)), Operations()

    def step() -> list[Tensor]:
        output = model()
        return [output.detach(), *torch.autograd.grad(output.sin().sum(), given)]

    plain = step()
    with use_backend("fused"), watch(model) as recording, counted:
        watched = step()
    assert len(recording) == 1
    assert [name for name, _ in counted.ran].count("_scaled_dot_product_flash_attention_for_cpu.default") == 1
    torch.testing.assert_close(watched, plain, rtol=0, atol=0)


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_mask_that_was_added_to_a_bias_hides(dtype: torch.dtype, blind: bool) -> None:
    """As T5 gives it to SDPA: what holds the lowest number is hidden in the recording; output and gradients stay."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 9, 8, dtype=dtype) for _ in range(3))
    bias = torch.randn(1, 3, 9, 9, dtype=dtype, requires_grad=True)
    hidden = torch.ones(9, 9, dtype=torch.bool).triu(1)
    hidden[4] |= blind  # a row that PyTorch spreads evenly
    added = torch.zeros(9, 9, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)
    model = Calls(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias + added))

    def step() -> list[Tensor]:
        output = model()
        return [output.detach(), torch.autograd.grad(output.float().sin().sum(), bias)[0]]

    plain, found, recording = plain_and_watched(model, step)
    torch.testing.assert_close(found, plain, rtol=0.02, atol=0.02 if dtype != torch.float32 else 1e-5)
    weights = recording[0]
    assert isinstance(weights, AttentionWeights)
    assert torch.equal(weights.visible_keys(), (~hidden).sum(1).expand(2, 3, 9))
    assert torch.equal(weights.masked()[0, 0], hidden)


@pytest.mark.parametrize("first", [False, True])
def test_heads_in_the_batch(first: bool) -> None:
    """Older code folds heads into the batch: one sequence or one head is recorded, of others it is said why not."""

    def folded(x: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        x = x.transpose(0, 1) if first else x
        batch, length, width = x.shape
        q = x.view(batch, length, heads, -1).transpose(1, 2).reshape(batch * heads, length, -1)
        weights = torch.softmax(q @ q.mT, -1)
        out = (weights @ q).view(batch, heads, length, -1).transpose(1, 2).reshape(batch, length, width)
        return (out.transpose(0, 1) if first else out), weights

    model = HandMadeAttention(lambda x, heads: folded(x, heads)[0])
    for batch, heads in ((1, 4), (3, 1)):
        x = torch.randn(6, batch, 8) if first else torch.randn(batch, 6, 8)
        with watch(model, keep="dense") as recording:
            model(x, heads)
        torch.testing.assert_close(recording[0].dense(), folded(x, heads)[1].view(batch, heads, 6, 6))
    x = torch.randn(6, 3, 8) if first else torch.randn(3, 6, 8)
    with pytest.raises(EmptyRecordingError, match=r"softmax gave \(12, 6, 6\)"), watch(model):
        model(x, 4)
