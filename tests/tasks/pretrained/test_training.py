"""Fine-tuning is the same run: killed and resumed, in two processes, of some layers, with low-rank updates."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from regard.errors import ArgumentError
from regard.tasks import Sentiment, load
from regard.training import layers_above

from ..small import LABELLED
from .checkpoints import ENCODERS, encoder, word_pieces, write
from .test_round_trip import training

TEXTS = [one.text for one in LABELLED]
MODES = {"all": (), "layers": ("--train-layers", "1"), "lora": ("--lora", "2")}
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small BERT with dropout."""
    return write(tmp_path_factory.mktemp("bert"), ENCODERS["bert"], TEXTS)


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small BERT without dropout, whose numbers do not depend on how a step is split."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return write(tmp_path_factory.mktemp("dry"), (encoder("BertConfig", **still), word_pieces), TEXTS)


def start(base: str, folder: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    """Start fine-tuning in a process of its own."""
    command = [sys.executable, "-m", "tests.tasks.pretrained.program", base, str(folder), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a run; return what it printed."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return out


@pytest.mark.parametrize("mode", ["all", pytest.param("lora", marks=needs_peft)])
def test_killed(tmp_path: Path, base: str, mode: str) -> None:
    """Killed and started again, a run ends with the weights of an undisturbed one, to the bit."""
    undisturbed = start(base, tmp_path / "whole", *MODES[mode])
    process = start(base, tmp_path / "run", *MODES[mode], "--slow", "0.2")
    deadline = time.monotonic() + 300
    while not list((tmp_path / "run").glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run had ended before it was killed"
    assert not (tmp_path / "run" / "task.json").exists()
    assert finish(start(base, tmp_path / "run", *MODES[mode])) == finish(undisturbed)


@pytest.mark.parametrize("how", [(), ("--shard",)], ids=["DDP", "FSDP2"])
@pytest.mark.parametrize("mode", ["all", "layers", pytest.param("lora", marks=needs_peft)])
def test_two_processes(tmp_path: Path, dry: str, mode: str, how: tuple[str, ...]) -> None:
    """Two processes do what one does, to rounding; the folder opens in transformers."""
    if mode == "lora":  # its own dropout draws other numbers in each process
        pytest.importorskip("peft")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    alone = start(dry, tmp_path / "one", *MODES[mode], "--weights", str(tmp_path / "one.pt"))
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    both = [
        start(
            dry, tmp_path / "two", *MODES[mode], *how, "--weights", str(tmp_path / "two.pt"),
            **place, RANK=rank, LOCAL_RANK=rank,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    for process in [alone, *both]:
        finish(process)
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    assert set(one) == set(two)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=2e-4)
    found = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "two")
    assert all(torch.equal(found.state_dict()[name], weight) for name, weight in two.items())


def changed(base: str, **more: Any) -> set[str]:
    """Return the weights that four steps change, after a round trip."""
    settings: Any = Sentiment.FineTuning(model=base, training=training(4, lr=1e-2), **more)  # type: ignore[call-arg]
    task = Sentiment(settings).fit(LABELLED[:40], LABELLED[40:60])
    before = transformers.AutoModelForSequenceClassification.from_pretrained(base).state_dict()
    after = task.model_.state_dict()
    return {name for name, weight in after.items() if not torch.equal(weight, before[name])}


def test_which_weights_learn(base: str) -> None:
    """Of all layers, the last, none; embeddings may stay; what no loss reaches stays."""
    every = changed(base)
    assert {"bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.weight"} <= every
    last = changed(base, train_layers=1)
    assert any("layer.1." in name for name in last)
    assert not any("layer.0." in name or "embeddings" in name for name in last)
    head = changed(base, train_layers=0)
    assert head
    assert all(name.startswith(("classifier", "bert.pooler")) for name in head)
    kept = changed(base, freeze_embeddings=True)
    assert not any("embeddings" in name for name in kept)
    assert any("layer.0." in name for name in kept)


@needs_peft
def test_low_rank_updates(base: str, tmp_path: Path) -> None:
    """LoRA changes the matrices of the layers and the head, by a matrix of low rank."""
    settings: Any = Sentiment.FineTuning(model=base, lora=2, training=training(6, lr=1e-2))  # type: ignore[call-arg]
    task = Sentiment(settings).fit(LABELLED[:40], LABELLED[40:60], folder=tmp_path / "run")
    before = transformers.AutoModelForSequenceClassification.from_pretrained(base).state_dict()
    after = load(tmp_path / "run").model_.state_dict()
    name = "bert.encoder.layer.0.attention.self.query.weight"
    update = after[name] - before[name]
    assert torch.linalg.matrix_rank(update, rtol=1e-3) == 2
    assert torch.equal(
        after["bert.embeddings.word_embeddings.weight"], before["bert.embeddings.word_embeddings.weight"]
    )
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])
    assert all(torch.equal(weight, after[name]) for name, weight in task.model_.state_dict().items())


def test_layers_of_encoder_and_decoder() -> None:
    """Depth counts from the output in each stack; embeddings lie below all layers."""
    config = transformers.T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2)
    above = layers_above(transformers.T5ForConditionalGeneration(config))
    assert above["shared.weight"] == 3
    assert above["encoder.block.0.layer.0.SelfAttention.q.weight"] == 2
    assert above["decoder.block.1.layer.1.EncDecAttention.q.weight"] == 1
    assert above["decoder.final_layer_norm.weight"] == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lora": 2, "train_layers": 1}, "give one of them"),
        ({"model": ""}, "model is empty"),
        ({"max_length": 0}, "max_length"),
        ({"lora": -1}, "lora"),
    ],
)
def test_settings(more: dict[str, Any], message: str) -> None:
    """Contradictory settings are refused."""
    with pytest.raises(ArgumentError, match=message):
        Sentiment.FineTuning(**{"model": "x", **more})
