"""Properties of every model: weights, files, gradients, autocast, compiling, settings."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from regard.errors import ArgumentError, DtypeError, ShapeError
from regard.models import LanguageModelConfig, SequenceClassifierConfig
from regard.models._start import StochasticDepth
from tests.models.examples import KINDS, POSITIONS, TEXT, image_classifier, language_model, token_classifier


@pytest.mark.parametrize("kind", KINDS)
def test_weights_on_request(kind: str) -> None:
    """Weights come from every attention module, by its name; the logits do not change by a bit."""
    example = KINDS[kind]()
    logits, weights = example(need_weights=True)
    assert torch.equal(logits, example())
    modules = {name for name, part in example.model.named_modules() if type(part).__name__ == "MultiHeadAttention"}
    assert set(weights) - {"copying"} == modules
    assert ("copying" in weights) == (kind == "pointing")
    for matrix in weights.values():
        sums = matrix.dense().sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str) -> None:
    """A loss reaches each parameter, so that processes that share gradients never wait for one."""
    torch.manual_seed(3)
    example = KINDS[kind](dropout=0.0)
    example(example.model.train()).square().sum().backward()
    idle = [name for name, p in example.model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert not idle


@pytest.mark.parametrize("kind", KINDS)
def test_options_run_in_training(kind: str) -> None:
    """Swiglu, RMSNorm, dropout and stochastic depth train; evaluation is repeatable."""
    example = KINDS[kind](activation="swiglu", norm="rms", dropout=0.2, stochastic_depth=0.3)
    example(example.model.train()).sum().backward()
    example.model.eval()
    assert torch.equal(example(), example())


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast(kind: str) -> None:
    """Under autocast forward and backward run in bfloat16, near float32."""
    example = KINDS[kind](dropout=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        logits = example()
    torch.testing.assert_close(logits.float(), example(), atol=0.05, rtol=0.05)
    logits.float().square().sum().backward()
    assert all(p.grad is not None for p in example.model.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiles(kind: str) -> None:
    """The forward is compiled and gives the same."""
    torch.compiler.reset()
    example = KINDS[kind]()
    with torch.no_grad():
        compiled = torch.compile(example.model, backend="aot_eager")
        torch.testing.assert_close(example(compiled), example(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "image_classifier"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_padding_has_no_influence(kind: str, positions: str) -> None:
    """With each kind of positions, a padded sequence gives what it gives alone, whatever fills it up."""
    example = KINDS[kind](positions=positions, max_length=8)
    last = len(example.inputs[0]) - 1
    sizes = [int(x[last]) for x in example.inputs if x.ndim == 1]
    texts = [x for x in example.inputs if x.ndim == 2]
    alone = [x[last:, :size] for x, size in zip(texts, sizes, strict=True)]
    named = {name: x[last:, : sizes[0]] for name, x in example.named.items()}
    with torch.no_grad():
        padded, expected = example()[last], example.model(*alone, **named)[0]
    found = padded[: sizes[-1]] if padded.ndim == 2 else padded
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_residuals_start_scaled() -> None:
    """The last map of each residual starts smaller by the root of their number; heads and tables near 0.02."""
    torch.manual_seed(0)
    model = language_model(embed_dim=64, num_layers=3, vocab_size=500).model
    down = model.decoder.layers[1].feed_forward.down.weight
    assert down.abs().max().item() == pytest.approx(math.sqrt(6 / (64 + 256) / 6), rel=0.02)
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_stochastic_depth() -> None:
    """Whole examples are left out, the mean stays, deeper layers leave out more; evaluation leaves nothing out."""
    leave = StochasticDepth(0.25).train()
    x = torch.ones(4000, 2)
    out = leave(x)
    assert out.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert bool((out[:, 0] == out[:, 1]).all())
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    assert leave.eval()(x) is x
    layers = language_model(stochastic_depth=0.2).model.decoder.layers
    assert [layer.dropout[1].probability for layer in layers] == [pytest.approx(0.1), pytest.approx(0.2)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"embed_dim": 0}, "embed_dim is 0"),
        ({"embed_dim": 10, "num_heads": 4}, "does not divide"),
        ({"embed_dim": 6, "num_heads": 2}, "odd width"),
        ({"num_layers": -1}, "num_layers is -1"),
        ({"num_layers": 2.0}, "whole number"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout"),
        ({"positions": "rotery"}, "Did you mean 'rotary'"),
        ({"activation": "gello"}, "activation is 'gello'"),
        ({"norm": "batch"}, "norm is 'batch'"),
        ({"positions": "learned"}, "needs max_length"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"pad_id": 11}, "pad_id is 11"),
    ],
)
def test_settings_are_checked(options: dict[str, Any], words: str) -> None:
    """A setting that makes no sense is refused, by name, when the config is made."""
    with pytest.raises(ArgumentError, match=words):
        LanguageModelConfig(**{**TEXT, **options})


def test_settings_of_one_kind_are_checked() -> None:
    """So are the settings that only one kind of model has."""
    for build, options in (
        (token_classifier, {"tags": ("O",)}),
        (token_classifier, {"char_vocab_size": -1}),
        (image_classifier, {"stem": "conv", "patch_size": 3}),
        (image_classifier, {"stem": "patch", "patch_size": 3}),
        (image_classifier, {"positions": "alibi"}),
        (image_classifier, {"positions": "rotary", "embed_dim": 12}),
        (image_classifier, {"pooling": "max"}),
    ):
        with pytest.raises(ArgumentError):
            build(**options)
    with pytest.raises(ArgumentError, match="Did you mean 'mean'"):
        SequenceClassifierConfig(**TEXT, num_labels=2, pooling="meen")


def test_inputs_are_checked() -> None:
    """Ids out of range, wrong dtypes and lengths that do not fit are refused, and say what was given."""
    model = language_model().model
    for tokens, lengths, error, words in (
        (torch.tensor([[11]]), None, ArgumentError, "holds the id 11; ids are 0 to 10"),
        (torch.tensor([[-1]]), None, ArgumentError, "holds the id -1"),
        (torch.zeros(1, 2), None, DtypeError, "torch.float32"),
        (torch.zeros(2, dtype=torch.int64), None, ShapeError, r"\(2,\)"),
        (torch.ones(2, 3, dtype=torch.int64), torch.tensor([1]), ShapeError, "B=2"),
        (torch.ones(2, 3, dtype=torch.int64), torch.tensor([1, 4]), ArgumentError, "lengths holds 4"),
        (torch.ones(2, 3, dtype=torch.int64), torch.tensor([1.0, 2.0]), DtypeError, "lengths is torch.float32"),
    ):
        with pytest.raises(error, match=words):
            model(tokens, lengths)
    words_model = token_classifier().model
    with pytest.raises(ArgumentError, match="was given no characters"):
        words_model(torch.ones(1, 2, dtype=torch.int64))
    with pytest.raises(ShapeError, match="characters has shape"):
        words_model(torch.ones(1, 2, dtype=torch.int64), characters=torch.ones(1, 3, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match="Resize"):
        image_classifier().model(torch.zeros(1, 1, 8, 8))
    with pytest.raises(DtypeError, match="floating"):
        image_classifier().model(torch.zeros(1, 1, 8, 12, dtype=torch.uint8))
