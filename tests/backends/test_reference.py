"""The textbook against plain loops, and against what torch's own layers compute."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import regard
from regard import reference as book
from regard.errors import BackendError

Numbers = np.ndarray
SIZE = st.integers(1, 5)


def rng() -> np.random.Generator:
    """Return the same random numbers for every test."""
    return np.random.default_rng(0)


def by_hand(query: Numbers, key: Numbers, value: Numbers, sees: Callable[[int, int], bool], bias: Numbers) -> Numbers:
    """Write attention of one head as sums over single numbers."""
    output = np.zeros((len(query), value.shape[1]))
    for i, q in enumerate(query):
        scores = {
            j: sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(len(q)) + bias[i, j]
            for j, k in enumerate(key)
            if sees(i, j)
        }
        total = sum(math.exp(score) for score in scores.values())
        for j, score in scores.items():
            output[i] += math.exp(score) / total * value[j]
    return output


@given(SIZE, SIZE, SIZE, SIZE, st.integers(-3, 3))
def test_scaled_dot_product_by_hand(queries: int, keys: int, width: int, value_width: int, offset: int) -> None:
    """Scores, mask, bias and mean, number by number; a row that sees nothing gives 0."""
    r = rng()
    query, key, value = (
        r.normal(size=(queries, width)),
        r.normal(size=(keys, width)),
        r.normal(size=(keys, value_width)),
    )
    bias = r.normal(size=(queries, keys))
    expected = by_hand(query, key, value, lambda i, j: j <= i + offset, bias)
    mask = book.see_past(queries, keys, offset)
    output, weights, lse = book.scaled_dot_product(query, key, value, mask=mask, bias=bias)
    np.testing.assert_allclose(output, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(weights.sum(-1), mask.any(-1))
    assert np.array_equal(lse == -np.inf, ~mask.any(-1))
    assert np.array_equal(weights > 0, mask)


@given(SIZE, SIZE, st.one_of(st.none(), st.integers(0, 4)), st.one_of(st.none(), st.integers(0, 4)))
def test_masks_of_the_book_are_the_masks_of_the_library(queries, keys, left, right) -> None:  # type: ignore[no-untyped-def]
    """See_past and see_window, written for reading, agree with the span algebra."""
    for offset in (None, -1, 0, 2):
        ours = regard.masks.causal(offset).to_dense(queries, keys)[0, 0].numpy()
        assert np.array_equal(book.see_past(queries, keys, offset), ours)
    ours = regard.masks.window(left, right).to_dense(queries, keys)[0, 0].numpy()
    assert np.array_equal(book.see_window(queries, keys, left, right), ours)


def test_softmax_does_not_overflow() -> None:
    """Scores of a thousand, and of minus a thousand, are as good as small ones."""
    for shift in (-1000.0, 0.0, 1000.0):
        weights, lse = book.softmax([shift, shift + math.log(3)])
        np.testing.assert_allclose(weights, [0.25, 0.75])
        assert float(lse) == pytest.approx(shift + math.log(4))


def test_what_is_hidden_has_no_effect() -> None:
    """NaN and infinity in hidden keys and values stay there; in visible ones they reach the rows that see them."""
    r = rng()
    query, key, value = r.normal(size=(3, 4, 2)), r.normal(size=(3, 4, 2)), r.normal(size=(3, 4, 2))
    clean = book.scaled_dot_product(query, key, value, mask=book.see_past(4, 4)).output
    for poison in (np.nan, np.inf, -np.inf):
        key[1, 2], value[1, 2] = poison, poison
        output, weights, _ = book.scaled_dot_product(query, key, value, mask=book.see_past(4, 4))
        assert np.array_equal(output[[0, 2]], clean[[0, 2]])
        assert np.array_equal(output[1, :2], clean[1, :2])
        assert not np.isfinite(output[1, 2:]).any()
        assert np.isfinite(weights[1, :2]).all()
        bias = np.where(book.see_past(4, 4), 0.0, -np.inf)
        hidden = book.scaled_dot_product(query, key, value, bias=bias).output
        assert np.array_equal(hidden[1, :2], clean[1, :2])


def test_softcap_scale_and_dropout() -> None:
    """The cap bends scores before the bias; dropout changes the output but not the weights that are returned."""
    r = rng()
    query, key, value = r.normal(size=(2, 5, 4)), r.normal(size=(2, 6, 4)), np.eye(6)[None].repeat(2, 0)
    bias = r.normal(size=(5, 6))
    plain = book.scaled_dot_product(query, key, value, bias=bias, scale=3.0, softcap=2.0)
    scores = 2.0 * np.tanh(3.0 * np.einsum("hie,hje->hij", query, key) / 2.0) + bias
    powers = np.exp(scores)
    np.testing.assert_allclose(plain.weights, powers / powers.sum(-1, keepdims=True), rtol=1e-12)
    dropped = book.scaled_dot_product(query, key, value, bias=bias, scale=3.0, softcap=2.0, dropout=0.4, seed=9)
    assert np.array_equal(dropped.weights, plain.weights)
    kept = book.keep(9, (2, 5, 6), 0.4)
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(dropped.output, np.where(kept, plain.weights / 0.6, 0.0))


def test_along_diagonals() -> None:
    """Entry j - i + L - 1, for each head."""
    vector = rng().normal(size=(2, 6))
    matrix = book.along_diagonals(vector, 3, 4)
    assert matrix.shape == (2, 3, 4)
    assert all(matrix[h, i, j] == vector[h, j - i + 2] for h in range(2) for i in range(3) for j in range(4))


@given(st.sampled_from([1, 2, 4]), st.booleans(), st.integers(1, 4))
def test_multi_head_attention_is_that_of_torch(num_heads: int, same: bool, queries: int) -> None:
    """Split, attend, combine, project: what torch.nn.MultiheadAttention computes."""
    torch.manual_seed(queries)
    layer = torch.nn.MultiheadAttention(8, num_heads, bias=False, batch_first=True, dtype=torch.float64)
    x = torch.randn(3, queries, 8, dtype=torch.float64)
    context = x if same else torch.randn(3, 5, 8, dtype=torch.float64)
    expected, weights = layer(x, context, context, average_attn_weights=False)
    w_query, w_key, w_value = (w.detach().numpy().T for w in layer.in_proj_weight.chunk(3))
    learnt = book.Projections(w_query, w_key, w_value, layer.out_proj.weight.detach().numpy().T)
    found = book.multi_head_attention(x.numpy(), context.numpy(), learnt, num_heads=num_heads)
    np.testing.assert_allclose(found.output, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.weights, weights.detach().numpy(), rtol=1e-10)
    if num_heads == 1:
        alone = book.cross_attention(x.numpy(), context.numpy(), w_query, w_key, w_value)
        np.testing.assert_allclose(alone.output @ learnt.output, found.output, rtol=1e-10, atol=1e-12)


def test_grouped_heads_are_repeated_heads() -> None:
    """Six query heads over two key heads: heads 0 to 2 read the first, 3 to 5 the second."""
    r = rng()
    x, context = r.normal(size=(2, 3, 12)), r.normal(size=(2, 4, 12))
    few = book.Projections(*(r.normal(size=shape) for shape in ((12, 12), (12, 4), (12, 6), (18, 12))))
    many = few._replace(
        key=np.concatenate([few.key[:, :2]] * 3 + [few.key[:, 2:]] * 3, 1),
        value=np.concatenate([few.value[:, :3]] * 3 + [few.value[:, 3:]] * 3, 1),
    )
    a = book.multi_head_attention(x, context, few, num_heads=6, num_kv_heads=2, mask=book.see_past(3, 4))
    b = book.multi_head_attention(x, context, many, num_heads=6, mask=book.see_past(3, 4))
    np.testing.assert_allclose(a.output, b.output, rtol=1e-12)
    assert a.output.shape == (2, 3, 12)


def test_self_attention_is_cross_attention_with_itself() -> None:
    """One sequence, three matrices: each token's output is the mean of the tokens' values under its weights."""
    r = rng()
    x, w = r.normal(size=(2, 5, 6)), r.normal(size=(3, 6, 4))
    output, weights, _ = book.self_attention(x, *w, mask=book.see_past(5, 5))
    np.testing.assert_allclose(output, weights @ (x @ w[2]))
    scores = (x @ w[0]) @ (x @ w[1]).swapaxes(-1, -2) / 2.0
    np.testing.assert_allclose(weights, book.softmax(np.where(book.see_past(5, 5), scores, -np.inf))[0])


@given(SIZE, SIZE, SIZE)
def test_linear_attention(length: int, width: int, value_width: int) -> None:
    """Weights are φ(q)·φ(k) over their sum; walking over the tokens gives the causal one."""
    r = rng()
    query, key = r.normal(size=(2, 3, length, width)), r.normal(size=(2, 3, length, width))
    value = r.normal(size=(2, 3, length, value_width))

    def feature(x: Numbers) -> Numbers:
        return torch.nn.functional.elu(torch.from_numpy(x)).numpy() + 1

    output, weights, lse = book.linear_attention(query, key, value)
    top = np.einsum("...ie,...je->...ij", feature(query), feature(key))
    np.testing.assert_allclose(weights, top / top.sum(-1, keepdims=True))
    np.testing.assert_allclose(np.exp(lse), top.sum(-1))
    np.testing.assert_allclose(output, weights @ value)
    causal = book.linear_attention(query, key, value, mask=book.see_past(length, length)).output
    np.testing.assert_allclose(book.linear_attention_by_steps(query, key, value), causal, rtol=1e-10, atol=1e-12)


def test_linear_attention_of_a_row_that_sees_nothing() -> None:
    """It gives 0 and an lse of -inf, as softmax attention does."""
    output, weights, lse = book.linear_attention(np.ones((1, 2)), np.ones((3, 2)), np.ones((3, 1)), mask=[[False] * 3])
    assert not output.any()
    assert not weights.any()
    assert lse[0] == -np.inf


@pytest.mark.parametrize("width", [1, 4, 5])
def test_sinusoidal_encoding(width: int) -> None:
    """Sine in the even features, cosine in the odd ones; a shift in position is a rotation."""
    encoding = book.sinusoidal_encoding(50, width)
    for position in (0, 1, 49):
        for feature in range(width):
            angle = position / 10000 ** ((feature - feature % 2) / width)
            wave = math.cos if feature % 2 else math.sin
            assert encoding[position, feature] == pytest.approx(wave(angle), abs=1e-12)
    if width == 4:
        products = encoding @ encoding.T
        assert products[3, 10] == pytest.approx(products[33, 40])


def test_as_a_backend_it_computes_in_float64() -> None:
    """A float32 call on it is the float64 result, rounded once; lse too."""
    q, k, v = torch.randn(3, 2, 4, 6, 8)
    exact = regard.attention(q.double(), k.double(), v.double(), causal=True, backend="reference")
    assert torch.equal(regard.attention(q, k, v, causal=True, backend="reference"), exact.float())
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        assert regard.attention(q.to(dtype), k.to(dtype), v.to(dtype), backend="reference").dtype == dtype


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, in make_dual
def test_as_a_backend_it_refuses_gradients_and_tracing() -> None:
    """It says why; without a gradient to compute it runs."""
    q = torch.randn(1, 2, 3, 4, requires_grad=True)
    with pytest.raises(BackendError, match=r"'reference' was asked for, but it has no gradient.*use one of"):
        regard.attention(q, q, q, backend="reference")
    with torch.no_grad():
        assert regard.attention(q, q, q, backend="reference").shape == q.shape
    with torch._subclasses.FakeTensorMode():
        fake = torch.empty(1, 2, 3, 4)
        with pytest.raises(BackendError, match="computes in NumPy, which cannot be traced"):
            regard.attention(fake, fake, fake, backend="reference")
    plain = q.detach()
    with pytest.raises(BackendError, match=r"which torch\.func and forward-mode gradients cannot look into"):
        torch.func.vmap(lambda x: regard.attention(x, x, x, backend="reference"))(plain)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(plain, plain)
        with pytest.raises(BackendError, match="forward-mode"):
            regard.attention(dual, dual, dual, backend="reference")


def test_nothing_falls_back_on_the_reference() -> None:
    """It stands last: some backend before it accepts every call."""
    assert regard.backends.backend_names()[-1] == "reference"
    q = torch.randn(2, 3, 4)
    assert regard.explain(q, q, q, softcap=1.0, dropout=0.5).chosen != "reference"
