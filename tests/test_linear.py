"""Linear attention: sums against the matrix in float64, masks it honours and refuses, its state, its weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from regard import errors, linear_attention, masks
from regard.linear import LinearState

MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": lambda x: torch.where(x > 0, x + 1, x.exp()),
    "relu": lambda x: x.clamp(min=0) + 1e-3,
    "softmax": lambda x: torch.cat([x.softmax(-1), (-x).softmax(-1)], -1),
}
MASKS: dict[str, tuple[dict[str, Any], masks.Mask]] = {
    "all": ({}, masks.Mask()),
    "causal": ({"causal": True}, masks.causal()),
    "causal as a mask": ({"mask": masks.causal()}, masks.causal()),
    "top-left": ({"mask": masks.causal(offset=0)}, masks.causal(offset=0)),
    "rows that see nothing": ({"mask": masks.causal(offset=-5)}, masks.causal(offset=-5)),
    "padding": ({"mask": masks.padding([30, 53])}, masks.padding([30, 53])),
    "left padding, causal": (
        {"mask": masks.padding([30, 53], side="left"), "causal": True},
        masks.padding([30, 53], side="left") & masks.causal(),
    ),
    "prefix": ({"mask": masks.prefix(20)}, masks.prefix(20)),
    "prefix, padding": (
        {"mask": masks.prefix(20) & masks.padding([30, 53])},
        masks.prefix(20) & masks.padding([30, 53]),
    ),
}


def tensors(b: int = 2, h: int = 4, g: int = 2, rows: int = 37, keys: int = 53) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key, value in float64, values of another width."""
    make = torch.Generator().manual_seed(11)
    shapes = (b, h, rows, 6), (b, g, keys, 6), (b, g, keys, 5)
    q, k, v = (torch.randn(s, generator=make, dtype=torch.float64) for s in shapes)
    return q, k, v


def by_matrix(q: Tensor, k: Tensor, v: Tensor, name: str, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Work the weights and the output out with the whole matrix."""
    together = q.shape[1] // k.shape[1]
    phi_q, phi_k = MAPS[name](q), MAPS[name](k).repeat_interleave(together, 1)
    weights = (phi_q @ phi_k.mT).masked_fill(~visible, 0.0)
    weights = torch.nan_to_num(weights / weights.sum(-1, keepdim=True))
    return weights, weights @ v.repeat_interleave(together, 1)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_output_and_weights(mask: str, name: str, groups: int) -> None:
    """Output and weights are those of the definition, for each map, mask and number of key heads."""
    given_mask, meaning = MASKS[mask]
    q, k, v = tensors(g=groups)
    visible = meaning.to_dense(37, 53)
    expected, output = by_matrix(q, k, v, name, visible)
    for chunk in (1, 7, 128):
        found = linear_attention(q, k, v, feature_map=name, chunk_size=chunk, **given_mask)
        assert torch.allclose(found, output, atol=1e-11)
    plain = linear_attention(q, k, v, feature_map=name, **given_mask)
    found, weights = linear_attention(q, k, v, feature_map=name, need_weights=True, **given_mask)
    assert torch.equal(plain, found)
    dense = weights.dense()
    assert torch.allclose(dense, expected, atol=1e-12)
    assert bool((dense >= 0).all())
    assert bool((dense[(~visible).expand(dense.shape)] == 0).all())
    assert torch.allclose(weights @ v, output, atol=1e-11)
    entropy = -torch.special.xlogy(expected, expected).sum(-1)
    assert torch.allclose(weights.entropy(), entropy, atol=1e-10)
    assert torch.allclose(weights.received(), expected.sum(2), atol=1e-10)
    assert torch.allclose(weights.pooled(64)[..., 0, 0], expected.sum(-1).mean(-1), atol=1e-10)
    assert torch.allclose(weights.top(3).values, expected.topk(3).values, atol=1e-12)
    assert torch.allclose(weights.head(1, 3)[[5, 2], 4:9], expected[1, 3][[5, 2], 4:9], atol=1e-12)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(-45, 45))
def test_causal_chunks(rows: int, keys: int, chunk: int, offset: int) -> None:
    """Any lengths, any alignment, any chunk size give the sums of the definition."""
    q, k, v = tensors(1, 2, 1, rows, keys)
    mask = masks.causal(offset=offset)
    _, output = by_matrix(q, k, v, "elu", mask.to_dense(rows, keys))
    assert torch.allclose(linear_attention(q, k, v, mask=mask, chunk_size=chunk), output, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("causal", [False, True])
def test_sums_of_half_precision_are_float32(dtype: torch.dtype, causal: bool) -> None:
    """The error stays that of rounding the output once, over 3,000 keys."""
    q, k, v = (t.to(dtype) for t in tensors(1, 2, 2, 3000, 3000))
    found, weights = linear_attention(q, k, v, causal=causal, need_weights=True)
    visible = (masks.causal() if causal else masks.Mask()).to_dense(3000, 3000)
    _, expected = by_matrix(q.double(), k.double(), v.double(), "elu", visible)
    assert found.dtype == dtype
    assert weights.dtype == torch.float32
    assert (found.double() - expected).norm() / expected.norm() < max(torch.finfo(dtype).eps, 5e-6)


@pytest.mark.parametrize("rank", [2, 3])
def test_leading_dimensions_may_be_left_out(rank: int) -> None:
    """The output and the weights come back in the form that was given."""
    q, k, v = (t[(0,) * (4 - rank)] for t in tensors(g=4))
    found, weights = linear_attention(q, k, v, causal=True, need_weights=True)
    assert found.shape == (*q.shape[:-1], 5)
    assert weights.shape == (*q.shape[:-1], 53)
    assert torch.allclose(weights.dense() @ v, found)


def test_holes_and_masks_of_heads() -> None:
    """Keys with holes, and keys that differ between heads that share them, are honoured."""
    q, k, v = tensors()
    for holes in (torch.rand(2, 1, 1, 53) > 0.4, torch.rand(2, 4, 1, 53) > 0.4, torch.rand(53) > 0.4):
        visible = holes.expand(2, 4, 37, 53)
        for given_mask in (holes, visible):
            found, weights = linear_attention(q, k, v, mask=given_mask, need_weights=True)
            expected, output = by_matrix(q, k, v, "elu", visible)
            assert torch.allclose(found, output)
            assert torch.allclose(weights.dense(), expected)
        both = visible & masks.causal().to_dense(37, 53)
        found = linear_attention(q, k, v, mask=holes, causal=True)
        assert torch.allclose(found, by_matrix(q, k, v, "elu", both)[1])


def test_small_tensor_mask_is_read_as_spans() -> None:
    """A causal mask given as a tensor is honoured however small the call is."""
    q, k, v = tensors(1, 1, 1, 4, 4)
    assert torch.allclose(
        linear_attention(q, k, v, mask=torch.ones(4, 4).tril().bool()), linear_attention(q, k, v, causal=True)
    )


@pytest.mark.parametrize(
    "mask",
    [masks.window(3, 0), masks.documents([20, 33]), masks.spans(torch.arange(37) // 2, torch.full((37,), 53)),
     torch.rand(37, 53, generator=torch.Generator().manual_seed(0)) > 0.5],
    ids=["window", "documents", "later starts", "holes"],
)  # fmt: skip
def test_masks_that_sums_cannot_honour_are_refused(mask: masks.Mask | Tensor) -> None:
    """The reason and the way out are in the message."""
    with pytest.raises(errors.ArgumentError, match=r"sums the keys once.*Use regard\.attention"):
        linear_attention(*tensors(), mask=mask)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("causal", [False, True])
def test_hidden_poison_has_no_effect(poison: float, causal: bool) -> None:
    """NaN and infinity that nobody sees change nothing, forward or backward."""
    results = []
    for spoil in (False, True):
        q, k, v = tensors(keys=37)
        if spoil:
            k[:, :, 30:], v[:, :, 30:] = poison, poison
        q, k, v = (t.requires_grad_() for t in (q, k, v))
        out, weights = linear_attention(q, k, v, mask=masks.padding([30]), causal=causal, need_weights=True)
        total = out.square().sum() + weights.pooled(5).square().sum()
        results.append((out, weights.dense(), *torch.autograd.grad(total, (q, k, v))))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-12)
        assert other.isfinite().all()


@pytest.mark.parametrize("which", ["key", "value"])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_visible_poison_stays_in_the_rows_that_see_it(which: str, poison: float) -> None:
    """A spoilt key or value spoils the queries that see it, and not one before."""
    q, k, v = tensors(rows=40, keys=40)
    (k if which == "key" else v)[:, :, 17, 2] = poison
    out = linear_attention(q, k, v, causal=True, chunk_size=16)
    clean = linear_attention(*tensors(rows=40, keys=40), causal=True)
    assert torch.allclose(out[:, :, :17], clean[:, :, :17])
    spoilt = out[:, :, 17:] if which == "key" else out[:, :, 17:, 2]
    assert not spoilt.isfinite().any()
    if which == "value":
        assert torch.allclose(out[..., :2], clean[..., :2])


def test_rows_that_see_nothing_are_zero() -> None:
    """No keys at all, or none visible: output, weights and gradients are 0."""
    q, k, v = (t.requires_grad_() for t in tensors(rows=5, keys=3))
    out, weights = linear_attention(q, k, v, causal=True, need_weights=True)
    assert torch.equal(out[:, :, :2], torch.zeros(2, 4, 2, 5, dtype=torch.float64))
    assert torch.equal(weights[:, :, :2], torch.zeros(2, 4, 2, 3, dtype=torch.float64))
    assert bool((weights.lse[:, :, :2] == -torch.inf).all())
    (grad,) = torch.autograd.grad(out.sum() + weights.entropy().sum(), q)
    assert torch.equal(grad[:, :, :2], torch.zeros(2, 4, 2, 6, dtype=torch.float64))
    assert grad.isfinite().all()
    for b, rows, keys in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
        for causal in (False, True):
            found = linear_attention(*tensors(b, rows=rows, keys=keys), causal=causal)
            assert found.shape == (b, 4, rows, 5)
            assert bool((found == 0).all()) or keys > 0


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("causal", [False, True])
def test_gradients(name: str, causal: bool) -> None:
    """First and second derivatives of output and weights are right."""
    q, k, v = (t.requires_grad_() for t in tensors(1, 2, 1, 4, 5))

    def call(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        out, weights = linear_attention(
            q, k, v, feature_map=name, causal=causal, chunk_size=2, need_weights=True
        )  # fmt: skip
        return out, weights.dense(), weights.entropy(), weights.pooled(2)

    assert gradcheck(call, (q, k, v))
    assert gradgradcheck(lambda *a: call(*a)[:2], (q, k, v), fast_mode=True)


def test_gradient_memory_is_linear() -> None:
    """What autograd keeps doubles with the sequence, not more."""

    def kept(n: int) -> int:
        q, k, v = (torch.randn(1, 1, n, 8, requires_grad=True) for _ in range(3))
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        alive = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (alive.append(t), pack(t))[1], lambda t: t):
            linear_attention(q, k, v, causal=True, chunk_size=32)
        return sum(storages.values())

    assert kept(2048) < 2.1 * kept(1024)


@pytest.mark.parametrize("name", MAPS)
def test_state_steps_equal_chunks(name: str) -> None:
    """Decoding token by token, in pieces, or at once gives the same rows; the state does not grow."""
    q, k, v = tensors(rows=20, keys=20)
    expected = linear_attention(q, k, v, feature_map=name, causal=True)
    state = LinearState(name)
    sizes = set()
    for i in range(20):
        here = slice(i, i + 1)
        step = state.update(k[:, :, here], v[:, :, here]).read(q[:, :, here])
        assert torch.allclose(step, expected[:, :, here], atol=1e-12)
        sizes.add(state.sums.numel())
    assert len(sizes) == 1
    assert state.length == 20
    pieces = LinearState(name).update(k[:, :, :13], v[:, :, :13]).update(k[:, :, 13:], v[:, :, 13:])
    assert torch.allclose(pieces.sums, state.sums, atol=1e-12)


def test_state_keeps_form_dtype_and_gradient() -> None:
    """Fewer dimensions, half precision and gradients work as in the call."""
    k, v = torch.randn(2, 7, 4, dtype=torch.bfloat16).unbind()[0], torch.randn(7, 3, dtype=torch.bfloat16)
    state = LinearState().update(k, v)
    assert state.sums.dtype == torch.float32
    read = state.read(k)
    assert (read.shape, read.dtype) == ((7, 3), torch.bfloat16)
    k, v = (torch.randn(1, 1, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert gradcheck(lambda k, v: LinearState().update(k, v).update(k, v).read(k), (k, v))


def test_state_explains_what_does_not_fit() -> None:
    """An empty state and another batch say what to do."""
    with pytest.raises(errors.ArgumentError, match="call update"):
        LinearState().read(torch.ones(1, 2, 3, 4))
    state = LinearState().update(torch.ones(2, 2, 3, 4), torch.ones(2, 2, 3, 4))
    with pytest.raises(errors.ShapeError, match="begin another one"):
        state.update(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4))
    with pytest.raises(errors.ShapeError, match="of 2 sequences and 2 key heads"):
        state.read(torch.ones(2, 3, 1, 4))


def test_feature_maps_of_ones_own() -> None:
    """A layer can be the map; negative features, changed rows and unknown names are refused."""
    q, k, v = tensors()
    layer = torch.nn.Linear(6, 9, dtype=torch.float64)
    out, weights = linear_attention(
        q, k, v, feature_map=lambda x: layer(x).exp(), causal=True, need_weights=True
    )  # fmt: skip
    assert torch.allclose(weights @ v, out)
    out.sum().backward()
    assert layer.weight.grad.abs().sum() > 0
    zero = linear_attention(q, k, v, feature_map=lambda x: torch.zeros_like(x))
    assert torch.equal(zero, torch.zeros_like(zero))
    with pytest.raises(errors.ArgumentError, match="features must be >= 0"):
        linear_attention(q, k, v, feature_map=torch.tanh)
    with pytest.raises(errors.ShapeError, match="may change the last size only"):
        linear_attention(q, k, v, feature_map=lambda x: x.exp().flatten(2))
    with pytest.raises(errors.ArgumentError, match=r"feature_map is 'softmx'.*Did you mean 'softmax'"):
        linear_attention(q, k, v, feature_map="softmx")


def test_bad_arguments_are_explained() -> None:
    """The same wording as for the softmax call."""
    q, k, v = tensors()
    with pytest.raises(errors.UnknownArgumentError, match=r"no argument 'is_causal'.*Did you mean 'causal'"):
        linear_attention(q, k, v, is_causal=True)
    for chunk in (0, 1.5, True):
        with pytest.raises(errors.ArgumentError, match="whole number >= 1"):
            linear_attention(q, k, v, chunk_size=chunk)
    with pytest.raises(errors.ShapeError, match="do not fit together"):
        linear_attention(q, k, v[:, :, :5])
    with pytest.raises(errors.DtypeError, match="need one dtype"):
        linear_attention(q, k.float(), v)


def test_precision_is_kept_under_autocast() -> None:
    """Autocast casts the inputs as for attention, and the sums stay in float32."""
    q, k, v = (t.float() for t in tensors())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_attention(q, k, v, causal=True)
    half = linear_attention(*(t.bfloat16() for t in (q, k, v)), causal=True)
    assert torch.equal(found, half)
