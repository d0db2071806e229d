"""Small checkpoints of many architectures become each task, and open again in plain transformers, equal to the bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from regard.errors import ArgumentError
from regard.integrations.transformers import why_not
from regard.tasks import (
    ImageClassification,
    LanguageModeling,
    NamedEntities,
    Sentiment,
    Summarization,
    Task,
    Translation,
    load,
)
from regard.training import Batches, Budget, Machine, Optimizer, TrainingSettings

from ..small import DOCUMENTS, IMAGES, LABELLED, SEVERAL, TAGGED
from ..small import PAIRS as TEXT_PAIRS
from .checkpoints import CAUSAL, ENCODERS, PAIRS, PICTURES, write, write_picture_model

TEXTS = [
    *(" ".join(one.words) for one in TAGGED), *(one.text for one in SEVERAL), *(one.text for one in DOCUMENTS),
    *(f"{one.source} {one.target}" for one in TEXT_PAIRS), "translate English to German: summarize:",
]  # fmt: skip


def training(steps: int = 4, lr: float | None = None, per_step: int = 512) -> TrainingSettings:
    """Return settings of a short training in float32."""
    return TrainingSettings(
        optimizer=Optimizer(lr=lr, layer_decay=0.9),
        batches=Batches(tokens_per_step=per_step, tokens_at_once=2048),
        budget=Budget(epochs=None, steps=steps),
        machine=Machine(device="cpu"),
    )


def opens(task: Task[Any, Any], folder: Path, head: str) -> Any:
    """Save a task; plain transformers must give its weights to the bit, and its labels."""
    task.save(folder)
    found = getattr(transformers, head).from_pretrained(folder)
    ours, theirs = task.model_.state_dict(), found.state_dict()
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    return found.eval()


def same_logits(task: Task[Any, Any], plain: Any, inputs: dict[str, torch.Tensor]) -> None:
    """In the same attention, a loaded task gives the numbers of plain transformers; under "regard", to rounding.

    Both come from the file: where a tensor lies in memory can change the last bit of a product.
    """
    with torch.no_grad():
        under = task.model_(**inputs).logits
        how = plain.config._attn_implementation
        if why_not(task.model_) is None:
            assert task.model_.config._attn_implementation == "regard"
            task.model_.set_attn_implementation(how)
        torch.testing.assert_close(plain(**inputs).logits, under, atol=1e-4, rtol=1e-4)
        assert torch.equal(plain(**inputs).logits, task.model_(**inputs).logits)


def looked_at(task: Task[Any, Any], one: Any) -> Any:
    """Return the attention on an input; its rows sum to 1 and fit the tokens."""
    seen = task.attention(one)
    assert seen.weights
    for weights in seen.weights.values():
        assert weights.shape[0] == 1
        assert weights.shape[-1] in (len(seen.tokens), len(seen.source))
        torch.testing.assert_close(weights[:].sum(-1), torch.ones(weights.shape[:-1]), atol=1e-4, rtol=0)
    return seen


@pytest.mark.parametrize("kind", ENCODERS)
def test_named_entities(tmp_path: Path, kind: str) -> None:
    """Every encoder tags words: one tag a word, saved, loaded, and opened by transformers."""
    base = write(tmp_path / "base", ENCODERS[kind], TEXTS)
    settings = NamedEntities.FineTuning(model=base, training=training(40, lr=3e-3))
    task = NamedEntities(settings).fit(TAGGED[:100], TAGGED[100:120])
    assert task.evaluate(TAGGED[:50]).figures["token_accuracy"] > 0.9
    sentence = task.predict(["dr ada went to oslo"])[0]
    assert sentence.words == ("dr", "ada", "went", "to", "oslo")
    assert len(sentence.tags) == 5
    plain = opens(task, tmp_path / "run", "AutoModelForTokenClassification")
    assert plain.config.id2label == dict(enumerate(task.tags_))
    seen = looked_at(task, "dr ada went to oslo")
    assert [label for label in seen.labels if label] == list(sentence.tags)
    again = load(tmp_path / "run")
    assert again.predict(["dr ada went to oslo"]) == [sentence]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    inputs = dict(tokenizer(["dr ada went", "to oslo and paris"], padding=True, return_tensors="pt"))
    inputs.pop("token_type_ids", None)
    same_logits(load(tmp_path / "run"), plain, inputs)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("examples", [LABELLED, SEVERAL], ids=["one", "several"])
def test_texts(tmp_path: Path, kind: str, examples: Any) -> None:
    """Every encoder labels texts, one label or several."""
    base = write(tmp_path / "base", ENCODERS[kind], TEXTS)
    task = Sentiment(Sentiment.FineTuning(model=base, training=training(25, lr=3e-3)))
    task.fit(examples[:100], examples[100:120])
    plain = opens(task, tmp_path / "run", "AutoModelForSequenceClassification")
    assert plain.config.id2label == dict(enumerate(task.labels_))
    looked_at(task, "the oslo was fine")
    again = load(tmp_path / "run")
    texts = ["the oslo was fine", "", "the " * 100 + "oslo was bad"]
    assert again.predict(texts) == task.predict(texts)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    inputs = dict(tokenizer(["the oslo was fine"], return_tensors="pt"))
    inputs.pop("token_type_ids", None)
    same_logits(load(tmp_path / "run"), plain, inputs)


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures(tmp_path: Path, kind: str) -> None:
    """Every encoder of pictures gives classes; attention has a grid of patches."""
    base = write_picture_model(tmp_path / "base", kind)
    settings = ImageClassification.FineTuning(model=base, training=training(20, lr=3e-3), shift=0)
    task = ImageClassification(settings).fit(IMAGES, IMAGES)
    plain = opens(task, tmp_path / "run", "AutoModelForImageClassification")
    assert plain.config.id2label == {0: "left", 1: "right"}
    seen = looked_at(task, IMAGES.pixels[0])
    assert seen.grid is not None
    assert len(seen.tokens) - seen.grid[0] * seen.grid[1] == {"vit": 1, "dinov2": 1, "swin": 0}[kind]
    assert load(tmp_path / "run").predict(IMAGES.pixels[:3]) == task.predict(IMAGES.pixels[:3])
    same_logits(load(tmp_path / "run"), plain, {"pixel_values": torch.randn(2, 3, 16, 16)})


@pytest.mark.parametrize("kind", CAUSAL)
def test_language_models(tmp_path: Path, kind: str) -> None:
    """Every causal model learns to go on."""
    base = write(tmp_path / "base", CAUSAL[kind], TEXTS)
    settings = LanguageModeling.FineTuning(model=base, max_length=32, max_new_tokens=8, training=training(20, lr=3e-3))
    task = LanguageModeling(settings).fit(DOCUMENTS[:16], DOCUMENTS[16:])
    evaluation = task.evaluate(DOCUMENTS[16:])
    assert evaluation.figures["nats_per_token"] < 5
    written = task.predict(["red gre"])
    assert written[0].startswith("red gre")
    plain = opens(task, tmp_path / "run", "AutoModelForCausalLM")
    looked_at(task, "red green")
    assert load(tmp_path / "run").predict(["red gre"]) == written
    same_logits(load(tmp_path / "run"), plain, {"input_ids": torch.tensor([[5, 6, 7, 8]])})


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("task_class", [Translation, Summarization], ids=["translation", "summarization"])
def test_pairs(tmp_path: Path, kind: str, task_class: type[Task[Any, Any]]) -> None:
    """Every encoder-decoder writes targets."""
    base = write(tmp_path / "base", PAIRS[kind], TEXTS)
    settings: Any = task_class.FineTuning(model=base, max_target=8, beams=2, training=training(10, lr=3e-3))
    if task_class is Translation:
        settings = dataclasses.replace(settings, source_language="en", target_language="de")
    elif kind == "mbart":
        with pytest.raises(ArgumentError, match="needs source_language"):
            task_class(settings).fit(TEXT_PAIRS[:100], TEXT_PAIRS[100:110])
        settings = dataclasses.replace(settings, source_language="de")
    task = task_class(settings).fit(TEXT_PAIRS[:100], TEXT_PAIRS[100:110])
    answers = task.predict(["red green", ""])
    plain = opens(task, tmp_path / "run", "AutoModelForSeq2SeqLM")
    seen = looked_at(task, "red green")
    assert any("cross" in name for name in seen.weights)
    assert load(tmp_path / "run").predict(["red green", ""]) == answers
    inputs = {"input_ids": torch.tensor([[5, 6, 7]]), "decoder_input_ids": torch.tensor([[1, 5]])}
    same_logits(load(tmp_path / "run"), plain, inputs)
    if kind == "t5":
        usual = "translate English to German: " if task_class is Translation else "summarize: "
        assert task._prefix == usual  # type: ignore[attr-defined]
    if kind == "mbart":
        assert plain.generation_config.decoder_start_token_id == task.tokenizer_.convert_tokens_to_ids("de_DE")  # type: ignore[attr-defined]
