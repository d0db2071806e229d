"""The function that transformers calls, beyond what the table of families shows."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regard import AttentionWeights, masks
from regard.errors import ArgumentError, MissingExtraError
from regard.integrations.transformers import SpanMask, attention_forward, register, use_fast_attention
from tests.integrations.transformers.families import FAMILIES, assert_states_agree, set_dropout, tensors, write

register()


def _heads(length: int = 6, heads: int = 4) -> torch.Tensor:
    return torch.randn(2, heads, length, 8)


def _attend(*given: Any, module: nn.Module | None = None, **settings: Any) -> torch.Tensor:
    """Return the output of a call without a mask, or with the one given fourth, laid out as SDPA lays it out."""
    mask = () if len(given) == 4 else (None,)
    return attention_forward(module or nn.Module(), *given, *mask, **settings)[0].transpose(1, 2)


def test_no_mask_means_what_it_means_to_sdpa() -> None:
    """Without a mask the module's `is_causal` counts, the argument first, from the first key."""
    module = nn.Module()
    q, k = _heads(), _heads(9)
    for flag, argument, expected in ((True, None, True), (False, None, False), (True, False, False)):
        module.is_causal = flag  # type: ignore[assignment]
        out, weights = attention_forward(module, q, k, k, None, is_causal=argument)
        plain = F.scaled_dot_product_attention(q, k, k, is_causal=expected)
        assert torch.allclose(out.transpose(1, 2), plain, atol=1e-6)
        assert weights is None
    one = q[:, :, :1]
    assert torch.allclose(_attend(one, k, k, module=module), F.scaled_dot_product_attention(one, k, k), atol=1e-6)
    # A module that says nothing sees everything, as in "eager".
    assert torch.allclose(_attend(q, k, k), F.scaled_dot_product_attention(q, k, k), atol=1e-6)


def test_position_bias_joins_a_mask() -> None:
    """A bias of the positions holds beside a mask of either kind, in the query's dtype."""
    q, bias = _heads(), torch.randn(1, 4, 6, 6, dtype=torch.float64)
    hidden = torch.zeros(6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), torch.finfo(torch.float32).min)
    for mask in (hidden[None, None], (hidden == 0)[None, None]):
        plain = F.scaled_dot_product_attention(q, q, q, attn_mask=bias.float() + hidden)
        assert torch.allclose(_attend(q, q, q, mask, position_bias=bias), plain, atol=1e-5)


def _with_a_sink(q: torch.Tensor, sinks: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the weights beside one more key, worked out by hand; the sinks are given for each row."""
    scores = (q @ q.transpose(-2, -1) / 8**0.5).masked_fill(~seen, -torch.inf)
    return torch.cat([scores, sinks.expand(2, 4, 6, 1)], -1).softmax(-1)[..., :-1]


def test_sinks_have_gradients_and_leave_empty_rows_at_zero() -> None:
    """A sink takes its share, gets its gradient, and all of a row that sees nothing."""
    q = _heads().double().requires_grad_()
    sinks = torch.randn(4, dtype=torch.float64, requires_grad=True)
    seen = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    seen[..., 2, :] = False
    out, weights = attention_forward(nn.Module(), q, q, q, seen, s_aux=sinks, output_attentions=True)
    expected = _with_a_sink(q, sinks[:, None, None], seen) @ q
    assert torch.allclose(out.transpose(1, 2), expected)
    assert isinstance(weights, AttentionWeights)
    assert torch.allclose(weights.dense() @ q, expected)
    assert not out[:, 2].any()
    found = torch.autograd.grad(out.sin().sum(), (q, sinks))
    wanted = torch.autograd.grad(expected.sin().sum(), (q, sinks))
    torch.testing.assert_close(found, wanted)
    through = torch.autograd.grad(weights.dense().square().sum(), sinks)[0]
    assert through.abs().min() > 0


def test_a_sink_for_each_row() -> None:
    """Inkling-2 computes the score of its sinks from each token."""
    q, sinks = _heads(), torch.randn(2, 4, 6, 1)
    out, weights = attention_forward(nn.Module(), q, q, q, None, sinks=sinks, output_attentions=True)
    expected = _with_a_sink(q, sinks, torch.ones(6, 6, dtype=torch.bool))
    assert torch.allclose(weights.dense(), expected, atol=1e-6)
    assert torch.allclose(out.transpose(1, 2), expected @ q, atol=1e-5)


@torch.no_grad()
def test_asking_for_weights_changes_no_bit() -> None:
    """`output_attentions=True` leaves the states as they are."""
    for name in ("BERT", "GPT-2", "Gemma-2", "T5"):
        model = FAMILIES[name].build("regard")
        inputs, _ = FAMILIES[name].example("right")
        plain, asked = tensors(model(**inputs)), tensors(model(**inputs, output_attentions=True))
        assert all(torch.equal(plain[key], asked[key]) for key in plain)


def test_dropout_in_training() -> None:
    """In training the weights are dropped, from torch's generator; the recorded weights are those before."""
    family = FAMILIES["BERT"]
    model = family.build("regard").train()
    set_dropout(model, 0.0)
    for layer in model.encoder.layer:  # type: ignore[union-attr, operator]
        layer.attention.self.dropout.p = 0.5
    inputs, _ = family.example()
    states, weights = [], []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found = model(**inputs, output_attentions=True)
        states.append(found.last_hidden_state)
        weights.append(found.attentions[0].dense())
    assert torch.equal(states[0], states[1])
    assert not torch.allclose(states[0], states[2])
    assert torch.equal(weights[0], weights[2])
    states[2].sum().backward()


@pytest.mark.parametrize("name", ["BERT", "GPT-OSS", "T5"])
@torch.no_grad()
def test_compiled_models(name: str) -> None:
    """A whole model compiles into one graph and gives the same states, with padding."""
    family = FAMILIES[name]
    model = family.build("regard")
    inputs, real = family.example("left")
    expected = model(**inputs)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_states_agree(compiled(**inputs), expected, real, 1e-5)


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5"])
@torch.no_grad()
def test_generating_inside_a_block(name: str) -> None:
    """A model on SDPA writes the same text with its long calls on the native kernel, padded on the left."""
    family = FAMILIES[name]
    model: Any = family.build("sdpa")
    ids = torch.randint(4, 60, (2, 56))
    real = torch.ones_like(ids)
    real[0, :9] = 0
    given = {"input_ids": ids, "attention_mask": real, "pad_token_id": 0}
    expected = write(model, 5, **given)
    with use_fast_attention() as fast:
        assert torch.equal(write(model, 5, **given), expected)
    assert fast.taken == 2
    assert set(fast.left) == {"so small that PyTorch is faster"}


@torch.no_grad()
def test_packed_documents_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Position ids that start anew keep documents apart, as spans."""
    seen: list[Any] = []

    def spied(module: nn.Module, *tensors: Any, **settings: Any) -> Any:
        seen.append(tensors[3])
        return attention_forward(module, *tensors, **settings)

    family = FAMILIES["Llama"]
    model, ids = family.build("regard"), family.example()[0]["input_ids"]
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]] * 2)
    interface = __import__("transformers").AttentionInterface
    monkeypatch.setitem(interface._global_mapping, "regard", spied)
    together = model(ids, position_ids=positions, use_cache=False).logits
    apart = torch.cat([model(part).logits for part in (ids[:, :4], ids[:, 4:])], 1)
    assert torch.allclose(together, apart, atol=1e-5)
    assert isinstance(seen[0], SpanMask)
    assert seen[0].mask.resolve(9, 9).dense is None


def test_a_batch_of_one_stands_for_any() -> None:
    """Eager attention multiplies a batch of 1 with any other, and so does this one, masks included."""
    q, k = _heads(), _heads(9)[:1]
    twice = k.repeat(2, 1, 1, 1)
    assert torch.allclose(_attend(q, k, k), _attend(q, twice, twice))
    assert _attend(q[:1], _heads(9), _heads(9)).shape == (2, 4, 6, 8)


def test_dropout_counts_in_training_alone() -> None:
    """A family may pass its rate always and leave the rest to `module.training`, as eager attention looks at it."""
    q = _heads()
    plain = _attend(q, q, q)
    assert torch.equal(_attend(q, q, q, module=nn.Module().eval(), dropout=0.5), plain)
    assert not torch.allclose(_attend(q, q, q, module=nn.Module().train(), dropout=0.5), plain)


def test_keys_that_an_indexer_chose() -> None:
    """`indices` names keys and `block_indices` blocks of them for each group of heads; -1 names nothing."""
    q = _heads()
    causal = torch.ones(6, 6).tril().bool()
    mask = SpanMask(masks.causal(), (2, 1, 6, 6))
    keys = torch.tensor([[0, -1], [1, 0], [1, 2], [3, 0], [4, 2], [0, 5]]).expand(2, 6, 2).int()
    chosen = torch.zeros(6, 6, dtype=torch.bool)
    for row, named in enumerate(keys[0].tolist()):
        chosen[row, [key for key in named if key >= 0]] = True
    plain = F.scaled_dot_product_attention(q, q, q, attn_mask=causal & chosen)
    assert torch.allclose(_attend(q, q, q, mask, indices=keys), plain, atol=1e-6)

    module: Any = nn.Module()
    module.indexer = SimpleNamespace(block_size=4)
    blocks = torch.tensor([[[[0], [0], [0], [0], [1], [1]], [[0], [0], [0], [0], [0], [0]]]]).expand(2, 2, 6, 1)
    seen = torch.zeros(4, 6, 6, dtype=torch.bool)
    seen[:2, :4, :4], seen[:2, 4:, 4:], seen[2:, :, :4] = True, True, True
    plain = F.scaled_dot_product_attention(q, q, q, attn_mask=causal & seen)
    assert torch.allclose(_attend(q, q, q, mask, module=module, block_indices=blocks), plain, atol=1e-6)
    with pytest.raises(ArgumentError, match=r"no module\.indexer\.block_size"):
        _attend(q, q, q, mask, block_indices=blocks)


def test_a_tensor_that_nobody_knows_is_refused_where_the_module_hands_it_over() -> None:
    """What the code of a module gives may change the result; what a user adds to the call of a model is left out."""

    class Newer(nn.Module):
        def forward(self, q: torch.Tensor, **settings: Any) -> Any:
            return attention_forward(self, q, q, q, None, gates=q.mean(), **settings)

    class Plain(nn.Module):
        def forward(self, q: torch.Tensor, **settings: Any) -> Any:
            return attention_forward(self, q, q, q, None, **settings)

    q = _heads()
    with pytest.raises(ArgumentError, match=r'Newer hands gates to its attention.*Use "eager"'):
        Newer()(q)
    assert torch.equal(Plain()(q, gates=q.mean(), position_ids=q)[0], Plain()(q)[0])


def test_a_paged_cache_is_refused() -> None:
    """Continuous batching keeps keys in pages, which are not read."""
    q, cache = _heads(), type("PagedAttentionCache", (), {})()
    with pytest.raises(ArgumentError, match="paged cache"):
        _attend(q, q, q, cache=cache)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is missing the message is the line that installs it."""
    from regard.integrations.transformers import _package

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="transformers")

    monkeypatch.setattr(_package, "_loaded", {})
    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[hf\]"'):
        register()
