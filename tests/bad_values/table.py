"""One valid call of everything public, from which the wrong calls are made one parameter at a time."""

import contextlib
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import nn

import regard
from regard import biases, integrations, layers, masks, models, positions, recorder, studies, tasks, training, viewer
from regard.linear import LinearState, linear_attention
from regard.tasks import exporting, serving


class Entry(NamedTuple):
    """A call that works: what is called, and its arguments by name."""

    call: Callable[..., Any]
    valid: dict[str, Any]
    words: tuple[str, ...] = ()
    """Names that an error may use instead of the parameter's: of another that contradicts it, or of a callee's."""


def entry(call: Callable[..., Any], **valid: Any) -> Entry:
    """Write an entry."""
    return Entry(call, valid)


X = torch.randn(2, 3, 8)
IDS = torch.tensor([[1, 2, 3], [4, 5, 0]])
Q = torch.randn(1, 2, 3, 4)
CALL = {
    "query": Q, "key": Q, "value": Q, "mask": None, "causal": True, "window": (2, 1), "bias": None, "scale": 0.5,
    "softcap": 5.0, "sinks": None, "dropout": 0.0, "generator": None, "need_weights": True,
}  # fmt: skip
LAYER = {
    "embed_dim": 8, "num_heads": 2, "ffn_dim": 16, "num_kv_heads": 1, "activation": "relu", "norm": "layer",
    "norm_first": True, "norm_eps": 1e-5, "dropout": 0.0, "attention_dropout": 0.0, "bias": True, "qk_norm": False,
    "position": None,
}  # fmt: skip
FORWARD = {"mask": None, "causal": True, "window": (1, 0), "bias": None, "need_weights": True, "backend": None}
SMALL = {"embed_dim": 8, "num_heads": 2, "num_layers": 1, "dropout": 0.0}
WEIGHTS = regard.attention(Q, Q, Q, need_weights=True)[1]
_layer = layers.EncoderLayer(8, 2, 16)
_decoder_layer = layers.DecoderLayer(8, 2, 16)


def _key_value_cache() -> layers.KeyValueCache:
    cache = layers.KeyValueCache()
    cache.append(Q, Q)
    return cache


LANGUAGE = models.LanguageModel(models.LanguageModelConfig(vocab_size=9, **SMALL))
TOKENS = models.TokenClassifier(models.TokenClassifierConfig(vocab_size=9, num_labels=3, **SMALL))
TEXTS = models.SequenceClassifier(models.SequenceClassifierConfig(vocab_size=9, num_labels=3, **SMALL))
PAIRS = models.SequenceToSequence(models.SequenceToSequenceConfig(vocab_size=9, **SMALL))
IMAGES = models.ImageClassifier(
    models.ImageClassifierConfig(num_labels=3, height=8, width=8, in_channels=1, patch_size=4, **SMALL)
)
CONFIG = {
    **SMALL, "ffn_dim": None, "activation": "gelu", "norm": "layer", "attention_dropout": None,
    "stochastic_depth": 0.0, "positions": "rotary", "max_length": None,
}  # fmt: skip
TEXT = {**CONFIG, "vocab_size": 9, "pad_id": 0}
PICTURE = {
    "tokens": ["a", "b", "c"], "key_tokens": None, "labels": None, "key_labels": None, "batch": 0, "scale": "linear",
    "highest": None, "title": None, "caption": True, "cmap": "cividis",
    "width": 8.5, "fontsize": 8.0,
}  # fmt: skip


class Stopped(Exception):
    """The study has started: stop here, its settings were accepted."""


def stop(share: float, text: str) -> None:
    """A progress that stops a study at its first call."""
    raise Stopped


def _begun(study: Callable[..., Any]) -> Entry:
    def call(**given: Any) -> None:
        with contextlib.suppress(Stopped):
            study(**given)

    return Entry(call, {"settings": None, "progress": stop})


def _fast(model: Any) -> None:
    with integrations.use_fast_attention(model):
        pass


def _use_backend(**given: Any) -> None:
    with regard.use_backend(**given):
        pass


def _export(**given: Any) -> None:
    # What has learnt nothing is refused last, so nothing is written.
    with contextlib.suppress(tasks.NotFittedError):
        exporting.export(**given)


def _serve(**given: Any) -> None:
    with contextlib.suppress(tasks.NotFittedError):
        serving.serve(**given).close()


TABLE: dict[str, Entry] = {
    "regard.attention": entry(regard.attention, **CALL, backend=None),
    "regard.explain": entry(regard.explain, **CALL),
    "regard.use_backend": Entry(_use_backend, {"name": "math", "fp32": "plain"}, ("backend",)),
    "regard.linear_attention": entry(
        linear_attention,
        query=Q,
        key=Q,
        value=Q,
        feature_map="elu",
        causal=True,
        mask=None,
        need_weights=True,
        chunk_size=2,
    ),
    "regard.view": entry(
        regard.view,
        weights=WEIGHTS,
        tokens=["a", "b", "c"],
        key_tokens=None,
        labels=None,
        key_labels=None,
        words=None,
        grid=None,
        key_grid=None,
        title=None,
    ),
    "regard.linear.LinearState": entry(LinearState, feature_map="elu"),
    "regard.linear.LinearState.update": entry(LinearState().update, key=Q, value=Q),
    "regard.linear.LinearState.read": entry(LinearState().update(Q, Q).read, query=Q),
    "regard.biases.ALiBi": entry(biases.ALiBi, slopes=2),
    "regard.biases.RelativeBias": entry(biases.RelativeBias, values=torch.zeros(2, 5)),
    "regard.biases.RelativeBias.vector": entry(
        biases.RelativeBias(torch.zeros(2, 5)).vector, num_queries=3, num_keys=3, device="cpu"
    ),
    "regard.biases.T5Bias": entry(biases.T5Bias, weight=torch.zeros(8, 2), bidirectional=True, max_distance=128),
    "regard.biases.T5Bias.bucket": entry(biases.T5Bias(torch.zeros(8, 2)).bucket, distance=torch.arange(3)),
    "regard.biases.T5Bias.vector": entry(
        biases.T5Bias(torch.zeros(8, 2)).vector, num_queries=3, num_keys=3, device="cpu"
    ),
    "regard.biases.alibi_slopes": entry(biases.alibi_slopes, num_heads=2),
    "regard.biases.distances": entry(biases.distances, num_queries=2, num_keys=3, device="cpu"),
    "regard.masks.Mask": entry(masks.Mask, parts=()),
    "regard.masks.Mask.resolve": entry(masks.causal().resolve, num_queries=2, num_keys=3, device="cpu"),
    "regard.masks.Mask.to_dense": entry(masks.causal().to_dense, num_queries=2, num_keys=3, device="cpu"),
    "regard.masks.Mask.is_causal": entry(masks.causal().is_causal, num_queries=2, num_keys=3),
    "regard.masks.causal": entry(masks.causal, offset=0),
    "regard.masks.dense": Entry(masks.dense, {"visible": torch.ones(2, 3).bool()}, ("mask",)),
    "regard.masks.documents": entry(masks.documents, lengths=[1, 2], ids=None),
    "regard.masks.documents by ids": entry(masks.documents, ids=torch.tensor([0, 1, 1])),
    "regard.masks.padding": entry(masks.padding, real=[1, 2], side="left"),
    "regard.masks.prefix": entry(masks.prefix, lengths=2),
    "regard.masks.recognise": entry(masks.recognise, mask=torch.ones(2, 3).bool()),
    "regard.masks.spans": entry(masks.spans, start=torch.tensor([0, 1]), stop=torch.tensor([2, 3])),
    "regard.masks.window": entry(masks.window, left=1, right=None, offset=None),
    "regard.positions.rotary": entry(positions.rotary, positions=torch.arange(3), dim=4, base=100.0),
    "regard.positions.rotate": entry(
        positions.rotate, x=X, cos=torch.ones(3, 2), sin=torch.zeros(3, 2), interleaved=True
    ),
    "regard.positions.sinusoidal": entry(positions.sinusoidal, positions=torch.arange(3), dim=4, base=100.0),
    "regard.MultiHeadAttention": entry(
        layers.MultiHeadAttention,
        embed_dim=8,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        kdim=8,
        vdim=8,
        bias=True,
        dropout=0.0,
        qk_norm=True,
        scale=0.5,
        softcap=3.0,
        position=None,
    ),
    "regard.layers.MultiHeadAttention.forward": entry(
        layers.MultiHeadAttention(8, 2), query=X, key=X, value=X, **FORWARD, cache=None
    ),
    "regard.Transformer": entry(layers.Transformer, num_encoder_layers=1, num_decoder_layers=1, **LAYER),
    "regard.layers.Transformer.forward": entry(
        layers.Transformer(8, 2, 1, 1, 16),
        source=X,
        target=X,
        source_padding=[3, 2],
        target_padding=[3, 3],
        source_mask=None,
        target_mask=None,
        memory_mask=None,
        causal=True,
        need_weights=True,
        backend=None,
    ),
    "regard.layers.ALiBi": entry(layers.ALiBi, num_heads=2),
    "regard.layers.Decoder": entry(layers.Decoder, layer=_decoder_layer, num_layers=1, final_norm=True),
    "regard.layers.Decoder.forward": entry(
        layers.Decoder(_decoder_layer, 1), x=X, memory=X, memory_mask=None, **FORWARD, cache=None
    ),
    "regard.layers.DecoderLayer": entry(layers.DecoderLayer, **LAYER, head_dim=4, memory_dim=8),
    "regard.layers.DecoderLayer.forward": entry(_decoder_layer, x=X, memory=X, memory_mask=None, **FORWARD, cache=None),
    "regard.layers.Dropout": entry(layers.Dropout, p=0.5, inplace=False),
    "regard.layers.Dropout.forward": entry(layers.Dropout(), input=X),
    "regard.layers.Encoder": entry(layers.Encoder, layer=_layer, num_layers=1, final_norm=None),
    "regard.layers.Encoder.forward": entry(layers.Encoder(_layer, 1), x=X, **FORWARD, cache=None),
    "regard.layers.EncoderLayer": entry(layers.EncoderLayer, **LAYER, head_dim=4),
    "regard.layers.EncoderLayer.forward": entry(_layer, x=X, **FORWARD, cache=None),
    "regard.layers.FeedForward": entry(
        layers.FeedForward, embed_dim=8, ffn_dim=16, activation="swiglu", dropout=0.0, bias=True
    ),
    "regard.layers.FeedForward.forward": entry(layers.FeedForward(8), x=X),
    "regard.layers.KeyValueCache": entry(layers.KeyValueCache, max_length=4),
    "regard.layers.KeyValueCache.append": entry(lambda **given: _key_value_cache().append(**given), key=Q, value=Q),
    "regard.layers.KeyValueCache.reorder": entry(
        lambda **given: _key_value_cache().reorder(**given), index=torch.tensor([0])
    ),
    "regard.layers.LayerCache": entry(layers.LayerCache, max_length=4),
    "regard.layers.LearnedEncoding": entry(layers.LearnedEncoding, max_length=4, embed_dim=8, dropout=0.0),
    "regard.layers.LearnedEncoding.forward": entry(layers.LearnedEncoding(4, 8), x=X, offset=1),
    "regard.layers.PatchEmbedding": entry(layers.PatchEmbedding, embed_dim=8, patch_size=2, in_channels=1, bias=True),
    "regard.layers.PatchEmbedding.forward": entry(layers.PatchEmbedding(8, 2, in_channels=1), images=Q[:, :1, :2]),
    "regard.layers.RelativeBias": entry(
        layers.RelativeBias, num_heads=2, num_buckets=8, max_distance=128, bidirectional=True
    ),
    "regard.layers.Rotary": entry(layers.Rotary, dim=4, base=100.0, interleaved=False),
    "regard.layers.Rotary.forward": entry(layers.Rotary(), x=X, offset=0),
    "regard.layers.SinusoidalEncoding": entry(layers.SinusoidalEncoding, embed_dim=8, base=100.0, dropout=0.0),
    "regard.layers.SinusoidalEncoding.forward": entry(layers.SinusoidalEncoding(8), x=X, offset=0),
    "regard.layers.Projection": entry(layers.Projection, in_features=4, out_features=8, bias=True),
    "regard.layers.Projection.forward": entry(layers.Projection(8, 4), input=X),
    "regard.layers.linear": entry(layers.linear, input=X, weight=torch.zeros(4, 8), bias=None),
    "regard.layers.from_torch": entry(layers.from_torch, module=nn.MultiheadAttention(8, 2, batch_first=True)),
    "regard.layers.to_torch": entry(layers.to_torch, module=layers.MultiHeadAttention(8, 2), batch_first=True),
    "regard.layers.masks_from_torch": entry(
        layers.masks_from_torch,
        attn_mask=torch.zeros(3, 3).bool(),
        key_padding_mask=torch.zeros(2, 3).bool(),
        num_heads=1,
    ),
    "regard.layers.StackCache": entry(layers.StackCache, num_layers=2, max_length=4),
    "regard.models.CharacterFeatures": entry(
        models.CharacterFeatures, char_vocab_size=9, embed_dim=8, char_dim=4, channels=4
    ),
    "regard.models.CharacterFeatures.forward": entry(models.CharacterFeatures(9, 8), characters=IDS[None]),
    "regard.models.ConditionalField": entry(models.ConditionalField, num_labels=3, tags=["O", "B-x", "I-x"]),
    "regard.models.TransformerConfig": entry(models.TransformerConfig, **CONFIG),
    "regard.models.TextConfig": entry(models.TextConfig, **TEXT),
    "regard.models.LanguageModelConfig": entry(models.LanguageModelConfig, **TEXT, tie_embeddings=True),
    "regard.models.LanguageModel": entry(models.LanguageModel, config=LANGUAGE.config),
    "regard.models.LanguageModel.forward": entry(LANGUAGE, tokens=IDS, lengths=None, cache=None, need_weights=False),
    "regard.models.LanguageModel.generate": entry(
        LANGUAGE.generate,
        tokens=IDS,
        max_new_tokens=1,
        temperature=1.0,
        top_k=2,
        top_p=0.9,
        stop_id=1,
        generator=None,
        lengths=None,
        use_cache=True,
        blend=None,
    ),
    "regard.models.LanguageModel.new_cache": entry(LANGUAGE.new_cache, max_length=3),
    "regard.models.TokenClassifierConfig": entry(
        models.TokenClassifierConfig,
        **TEXT,
        num_labels=3,
        tags=(),
        char_vocab_size=0,
        char_dim=4,
        char_channels=4,
        repeats=True,
        crf=True,
    ),
    "regard.models.TokenClassifier": entry(models.TokenClassifier, config=TOKENS.config),
    "regard.models.TokenClassifier.forward": entry(
        TOKENS, tokens=IDS, lengths=torch.tensor([3, 2]), characters=None, need_weights=False
    ),
    "regard.models.TokenClassifier.loss": entry(TOKENS.loss, logits=torch.zeros(2, 3, 3), labels=IDS % 3),
    "regard.models.TokenClassifier.decode": entry(
        TOKENS.decode, logits=torch.zeros(2, 3, 3), lengths=torch.tensor([3, 2]), labelled=torch.ones(2, 3).bool()
    ),
    "regard.models.SequenceClassifierConfig": entry(
        models.SequenceClassifierConfig, **TEXT, num_labels=3, evidence_dim=0, pooling="mean"
    ),
    "regard.models.SequenceClassifier": entry(models.SequenceClassifier, config=TEXTS.config),
    "regard.models.SequenceClassifier.forward": entry(
        TEXTS, tokens=IDS, lengths=torch.tensor([3, 2]), evidence=None, need_weights=False
    ),
    "regard.models.SequenceToSequenceConfig": entry(
        models.SequenceToSequenceConfig,
        **TEXT,
        source_vocab_size=None,
        num_decoder_layers=1,
        tie_embeddings=True,
        copying=False,
        bos_id=1,
        eos_id=2,
    ),
    "regard.models.SequenceToSequence": entry(models.SequenceToSequence, config=PAIRS.config),
    "regard.models.SequenceToSequence.forward": entry(
        PAIRS, source=IDS, target=IDS, source_lengths=torch.tensor([3, 2]), target_lengths=None, need_weights=False
    ),
    "regard.models.SequenceToSequence.loss": entry(
        PAIRS.loss,
        source=IDS,
        target=IDS,
        source_lengths=torch.tensor([3, 2]),
        target_lengths=None,
        label_smoothing=0.1,
        guide=None,
    ),
    "regard.models.SequenceToSequence.generate": entry(
        PAIRS.generate,
        source=IDS,
        source_lengths=None,
        max_length=2,
        beams=2,
        length_penalty=0.6,
        no_repeat_ngram_size=0,
    ),
    "regard.models.ImageClassifierConfig": entry(
        models.ImageClassifierConfig,
        **{**CONFIG, "positions": "learned"},
        num_labels=3,
        height=8,
        width=8,
        in_channels=1,
        patch_size=4,
        stem="conv",
        pooling="mean",
    ),
    "regard.models.ImageClassifier": entry(models.ImageClassifier, config=IMAGES.config),
    "regard.models.ImageClassifier.forward": entry(IMAGES, images=torch.zeros(1, 1, 8, 8), need_weights=False),
    "regard.models.RepeatFeatures": entry(models.RepeatFeatures, embed_dim=8, places=4),
    "regard.models.RepeatFeatures.forward": entry(models.RepeatFeatures(8), keys=IDS),
    "regard.models.TokenEmbedding": entry(models.TokenEmbedding, config=LANGUAGE.config, vocab_size=9),
    "regard.models.TokenEmbedding.forward": entry(
        models.TokenEmbedding(LANGUAGE.config), tokens=IDS, offset=0, padding=None, more=None
    ),
    "regard.viewer.label_colours": entry(viewer.label_colours, names=["a", "b"]),
    "regard.viewer.Grid": entry(viewer.Grid, rows=1, columns=2, first=0, image=None),
    "regard.viewer.static.heatmap": entry(
        viewer.static.heatmap, weights=WEIGHTS, head=0, average=False, numbers=None, ax=None, **PICTURE
    ),
    "regard.viewer.static.heads_grid": entry(viewer.static.heads_grid, weights=WEIGHTS, **PICTURE),
    "regard.viewer.static.distance_profile": entry(
        viewer.static.distance_profile,
        weights=WEIGHTS,
        heads=[0],
        batch=0,
        title=None,
        caption=True,
        ax=None,
        width=8.5,
        fontsize=8.0,
    ),
    "regard.viewer.static.positional_encoding": entry(
        viewer.static.positional_encoding, table=torch.randn(3, 4), title=None, caption=True, width=8.5, fontsize=8.0
    ),
}


def _settings(kind: type) -> Entry:
    made = kind()
    return Entry(kind, {field: getattr(made, field) for field in kind.__dataclass_fields__})


TABLE |= {
    f"regard.studies.{name}": _begun(getattr(studies, name))
    for name in ("heads", "linear", "long_range", "positions", "regularization", "scaling")
}
TABLE |= {f"regard.tasks.{kind.__name__}": entry(kind, settings=None) for kind in tasks.TASKS.values()}
TABLE |= {
    "regard.watch": entry(
        regard.watch, model=LANGUAGE, layers=None, heads=None, keep="summary", compare=False, folder=None
    ),
    "regard.recorder.record": entry(recorder.record, weights={"a": WEIGHTS}, layers=None, keep="summary"),
    "regard.integrations.use_fast_attention": entry(_fast, model=LANGUAGE),
    "regard.studies.Table": entry(studies.Table, title="a", columns=("b",), rows=((1,),)),
}
TABLE |= {
    "regard.tasks.exporting.export": entry(_export, task=tasks.Sentiment(), folder="never-written", to="torch"),
    "regard.tasks.serving.serve": entry(
        _serve, task=tasks.Sentiment(), host="127.0.0.1", port=0, token=None, limits=None, pictures=None
    ),
    "regard.tasks.serving.Limits": _settings(serving.Limits),
}
_PARTS = ("Settings", "Optimizer", "Batches", "Budget", "training.Evaluation", "Checkpoints", "Machine")
_NAMES = [f"{module.__name__}.{name}" for module in (training, tasks, studies) for name in module.__all__]
# The default of every field of a frozen dataclass of settings is a valid call of it.
TABLE |= {name: _settings(attrgetter(name.removeprefix("regard."))(regard)) for name in _NAMES if name.endswith(_PARTS)}
_WORDS = {
    "regard.layers.linear": ("input",),
    "regard.view": ("tokens", "key_tokens"),
    "regard.viewer.static.heatmap": ("tokens",),
    "regard.viewer.static.heads_grid": ("tokens",),
    "regard.layers.Transformer.forward": ("source_padding", "target_padding", "x", "mask"),
    "regard.layers.Decoder.forward": ("mask",),
    "regard.layers.DecoderLayer.forward": ("mask",),
}
TABLE |= {name: TABLE[name]._replace(words=words) for name, words in _WORDS.items()}

MODULES = (
    "regard", "regard.biases", "regard.masks", "regard.positions", "regard.layers", "regard.linear", "regard.models",
    "regard.training", "regard.tasks", "regard.viewer", "regard.viewer.static", "regard.studies", "regard.recorder",
    "regard.integrations", "regard.tasks.exporting", "regard.tasks.serving",
)  # fmt: skip
"""The modules whose public names have rows."""
RESULTS = frozenset({
    "regard.AttentionWeights", "regard.Explanation", "regard.Recording", "regard.biases.PositionBias",
    "regard.layers.TorchMasks", "regard.models.Hypothesis", "regard.models.PretrainedModel", "regard.recorder.Texts",
    "regard.recorder.RecordedCall", "regard.viewer.View", "regard.studies.Study", "regard.studies.Entry",
    "regard.integrations.FastAttention", "regard.tasks.Attention",
    "regard.tasks.Entity", "regard.tasks.Evaluation", "regard.tasks.Sentence", "regard.tasks.Task",
    "regard.tasks.Report", "regard.tasks.Verdict", "regard.training.DataOrder", "regard.training.Ended",
    "regard.training.Evaluated", "regard.training.Decided",
    "regard.training.Objective", "regard.training.Saved", "regard.training.SkippedCheckpoint",
    "regard.training.Started", "regard.training.Stepped", "regard.training.TrainingResult",
    "regard.tasks.exporting.Exported", "regard.training.Evaluating",
})  # fmt: skip
"""Classes that users do not construct: results of calls, and base classes."""
ELSEWHERE = frozenset({
    "regard.load", "regard.tasks.load", "regard.studies.load", "regard.studies.redraw", "regard.training.CsvLog",
    "regard.training.CurvePicture", "regard.training.TensorBoardLog", "regard.training.draw_curves",
    "regard.training.train", "regard.training.layers_above", "regard.tasks.serving.application",
    "regard.tasks.serving.plain", "regard.tasks.read_description",
})  # fmt: skip
"""Names tested elsewhere: they read or write files, train, or are called by other libraries."""
