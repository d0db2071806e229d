"""Scores of hand-made heads, ablation of heads, and the study."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from regard.errors import ArgumentError, DataError
from regard.layers import MultiHeadAttention
from regard.models import LanguageModel, LanguageModelConfig
from regard.studies import HeadsSettings, heads
from regard.studies._ablation import attention_layers, mean_outputs, without_head
from regard.studies._head_scores import KINDS, head_scores, kind_of, rank_correlation
from regard.studies._head_texts import code_windows, loss_of, padded
from regard.tasks.tokenizers import train_tokenizer

LENGTH = 6
TOKENS = torch.arange(1, LENGTH + 1).repeat(2)[None]  # 1 2 3 4 5 6 1 2 3 4 5 6
LENGTHS = torch.tensor([2 * LENGTH])


def head_at(place: list[int]) -> Tensor:
    """Return the weights `(1, 1, L, L)` of a head whose rows attend to one position each."""
    return torch.nn.functional.one_hot(torch.tensor(place), 2 * LENGTH).float()[None, None]


ROWS = range(2 * LENGTH)
MADE = {
    "previous": head_at([max(row - 1, 0) for row in ROWS]),
    "self": head_at(list(ROWS)),
    "first": head_at([0 for _ in ROWS]),
    # Where there is no earlier token of the kind it looks two back.
    "duplicate": head_at([row - LENGTH if row >= LENGTH else max(row - 2, 0) for row in ROWS]),
    "induction": head_at([row - LENGTH + 1 if row >= LENGTH else max(row - 2, 0) for row in ROWS]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_made_by_hand_scores_one(kind: str) -> None:
    """A pure head has score 1 for its kind and is named by it; its rows have entropy 0."""
    scores = {name: float(value) for name, value in head_scores(MADE[kind], TOKENS, LENGTHS).items()}
    assert scores[kind] == 1.0
    assert kind_of(scores) == kind
    assert scores["entropy"] == 0.0
    assert scores["largest"] == 1.0


def test_uniform_weights_are_spread() -> None:
    """Uniform weights have the maximal entropy, and the head is called spread."""
    uniform = torch.ones(2 * LENGTH, 2 * LENGTH).tril()
    weights = (uniform / uniform.sum(-1, keepdim=True))[None, None]
    scores = {name: float(value) for name, value in head_scores(weights, TOKENS, LENGTHS).items()}
    assert scores["entropy"] == pytest.approx(1.0)
    assert kind_of(scores) == "spread"


def test_padding_counts_for_nothing() -> None:
    """The scores of a window are those it has beside padding."""
    torch.manual_seed(0)
    weights = torch.rand(1, 2, 12, 12).tril()
    weights = weights / weights.sum(-1, keepdim=True)
    short = head_scores(weights[..., :9, :9], TOKENS[:, :9], torch.tensor([9]))
    padded_ = head_scores(weights, TOKENS, torch.tensor([9]))
    for name, value in short.items():
        torch.testing.assert_close(padded_[name], value)


def test_rank_correlation_knows_order_alone() -> None:
    """An increasing map changes nothing, a decreasing one the sign; ties share a rank; constants have none."""
    values = [0.3, 2.0, -1.0, 5.0]
    assert rank_correlation(values, [value**3 for value in values]) == 1.0
    assert rank_correlation(values, [-value for value in values]) == -1.0
    assert rank_correlation([1, 1, 2], [3, 3, 9]) == 1.0
    assert rank_correlation([1, 1, 1], [3, 4, 9]) is None


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """A small model with large weights, so that each head matters."""
    torch.manual_seed(0)
    made = LanguageModel(LanguageModelConfig(vocab_size=20, embed_dim=16, num_heads=2, num_layers=2)).eval()
    for layer in attention_layers(made):
        torch.nn.init.normal_(layer.output.weight, std=0.5)
        torch.nn.init.normal_(layer.query_key_value.weight, std=0.5)
    return made


BATCH = (TOKENS.repeat(3, 1), LENGTHS.repeat(3))


def test_a_head_that_the_output_does_not_read_is_free(model: LanguageModel) -> None:
    """If the output map has zeros for a head, removing it changes nothing; removing another does."""
    layer = attention_layers(model)[1]
    kept = layer.output.weight.detach().clone()
    with torch.no_grad():
        layer.output.weight[:, layer.head_dim :] = 0.0
    whole = loss_of(model, *BATCH)
    with without_head(layer, 1):
        assert loss_of(model, *BATCH) == whole
    with without_head(layer, 0):
        assert loss_of(model, *BATCH) != whole
    assert loss_of(model, *BATCH) == whole
    with torch.no_grad():
        layer.output.weight.copy_(kept)


def test_taking_every_head_out_leaves_the_bias() -> None:
    """Heads replaced by zero leave the bias of the output map alone."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(8, 2)
    torch.nn.init.normal_(layer.output.bias)
    with without_head(layer, 0), without_head(layer, 1):
        out = layer(torch.randn(2, 3, 8))
    torch.testing.assert_close(out, layer.output.bias.expand(2, 3, 8))


def test_mean_outputs_are_of_real_tokens(model: LanguageModel) -> None:
    """Padding does not move the mean, which one window at a time gives too."""
    tokens = torch.cat((TOKENS, TOKENS.flip(1)))
    tokens[1, 7:] = 0
    lengths = torch.tensor([12, 7])
    together = mean_outputs(model, [(tokens, lengths)])
    apart = mean_outputs(model, [(tokens[:1], lengths[:1]), (tokens[1:, :7], lengths[1:])])
    assert [one.shape for one in together] == [(2, 8), (2, 8)]
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other)


def test_rare_words_are_names_that_stay_within_a_window() -> None:
    """Windows hold as many different numbers as words, and a name stands for one word of its window."""
    texts = code_windows(24, 48, 0)
    assert texts.baseline is not None
    assert texts.baseline > 0
    assert max(int(one.max()) for one in (*texts.train, *texts.test)) < len(texts.words)
    assert any(int((one < texts.fresh.stop).sum()) > 1 for one in texts.test)
    assert all(int(one.min()) > 0 for one in texts.train)


def test_the_study_measures_every_head() -> None:
    """A tiny run has a row for each head, a correlation from -1 to 1, and gives the same again."""
    settings = HeadsSettings(steps=2, files=24, windows=4, embed_dim=16, num_layers=1, num_heads=2, length=24)
    first, again = heads(settings), heads(settings)
    assert [row[0] for row in first.tables[0].rows] == ["0.0", "0.1"]
    assert first.tables == again.tables
    assert all(abs(value) <= 1 for value in first.data["correlation"].values() if value is not None)
    assert "Rank correlation" in first.reading[-1]


def test_a_trained_model_from_its_folder(tmp_path: Path) -> None:
    """A model with its tokenizer, as a training leaves them, is measured on held-out code in its own tokens."""
    tokenizer = train_tokenizer("characters", ["def f(x):\n    return x\n"])
    config = LanguageModelConfig(vocab_size=tokenizer.vocab_size, embed_dim=16, num_heads=2, num_layers=1)
    LanguageModel(config).save_pretrained(tmp_path / "model")
    (tmp_path / "task.json").write_text(json.dumps({"state": {"tokenizer": tokenizer.to_dict()}}), encoding="utf-8")
    study = heads(HeadsSettings(model=str(tmp_path), windows=3, length=16, ablation="zero"))
    assert len(study.tables[0].rows) == 2
    assert study.data["baseline"] is None
    assert study.data["windows"] == 3


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    """A folder that no training wrote is refused with what to give."""
    with pytest.raises(DataError, match="regard train language-modeling"):
        heads(HeadsSettings(model=str(tmp_path)))


def test_settings_out_of_range() -> None:
    """Wrong settings are refused when they are made."""
    with pytest.raises(ArgumentError, match="length is 3"):
        HeadsSettings(length=3)
    with pytest.raises(ArgumentError, match="ablation is 'none'"):
        HeadsSettings(ablation="none")  # type: ignore[arg-type]


def test_padded_windows() -> None:
    """Windows of different lengths come as one batch with their lengths."""
    tokens, lengths = padded([torch.tensor([1, 2, 3]), torch.tensor([4])])
    assert tokens.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert lengths.tolist() == [3, 1]
