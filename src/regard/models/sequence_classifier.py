"""Text classification: sentiment, topic, or several labels at once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .._values import check_sizes, floating, instance
from ..errors import ArgumentError, ShapeError
from ..layers import Encoder, Projection, Weights
from ..layers.stack import output_and_weights
from ._config import TextConfig
from ._lengths import check_lengths, padding_mask
from ._pooling import ClassToken, Pooling, mean
from ._pretrained import PretrainedModel
from ._start import start_head, start_stack
from .embedding import TokenEmbedding, check_ids


@dataclass(frozen=True, kw_only=True)
class SequenceClassifierConfig(TextConfig):
    """Settings of a `SequenceClassifier`."""

    num_labels: int
    """How many labels there are."""
    evidence_dim: int = 0
    """Number of extra features of each token, mapped into its vector; 0: none."""
    pooling: Pooling = "mean"
    """How a text becomes one vector: the mean of its tokens, or a class token in front."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "num_labels")
        check_sizes(self, "evidence_dim", low=0)


class SequenceClassifier(PretrainedModel[SequenceClassifierConfig]):
    """A pre-norm encoder, pooled to one vector, and a linear map to labels.

    Shapes: `tokens` int64 `(B, L)` to logits `(B, num_labels)`.

    With `pooling="class"` attention sees one more token in each sequence, the first. Source: Devlin et al. 2019
    (BERT) for that token.

    >>> import torch
    >>> model = SequenceClassifier(SequenceClassifierConfig(vocab_size=9, num_labels=2, embed_dim=16)).eval()
    >>> one, padded = torch.tensor([[1, 2]]), torch.tensor([[1, 2, 0, 0]])
    >>> bool(torch.allclose(model(one), model(padded, torch.tensor([2])), atol=1e-5))
    True
    """

    config_class = SequenceClassifierConfig

    def __init__(self, config: SequenceClassifierConfig) -> None:
        super().__init__()
        self.config = instance("config", config, SequenceClassifierConfig, "a SequenceClassifierConfig")
        self.embedding = TokenEmbedding(config)
        self.evidence = Projection(config.evidence_dim, config.embed_dim) if config.evidence_dim else None
        if self.evidence is not None:
            start_head(self.evidence)
        self.class_token = ClassToken(config.embed_dim) if config.pooling == "class" else None
        self.encoder = Encoder(config.encoder_layer(), config.num_layers)
        start_stack(self.encoder, config.stochastic_depth)
        self.head = Projection(config.embed_dim, config.num_labels)
        start_head(self.head)

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        *,
        evidence: Tensor | None = None,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Return the logits; with `need_weights=True` also the weights of every layer by name.

        Args:
            tokens: int64 `(B, L)`, padded on the right.
            lengths: int64 `(B,)`, how many are real; None: all.
            evidence: floating `(B, L, evidence_dim)`, required if `evidence_dim > 0`, else not allowed.

        Raises `ShapeError`, `DtypeError`, `ArgumentError`.
        """
        check_ids("tokens", tokens, self.config.vocab_size, 2)
        lengths = check_lengths(lengths, tokens)
        x = self.embedding(tokens, more=self._of_evidence(tokens, evidence))
        if x.shape[1] == 0 and self.class_token is None:
            raise ArgumentError("tokens has no column; a batch needs at least one token to take the mean of.")
        if self.class_token is not None:
            x = self.class_token(x)
            lengths = None if lengths is None else lengths + 1
        encoded = self.encoder(x, mask=padding_mask(lengths), need_weights=need_weights)
        x, weights = output_and_weights(encoded, need_weights, "encoder")
        logits: Tensor = self.head(mean(x, lengths) if self.class_token is None else x[:, 0])
        return (logits, weights) if need_weights else logits

    def _of_evidence(self, tokens: Tensor, evidence: Tensor | None) -> Tensor | None:
        wanted = (*tokens.shape, self.config.evidence_dim)
        if self.evidence is None and evidence is None:
            return None
        if evidence is not None:
            floating("evidence", evidence)
        if self.evidence is None or evidence is None or tuple(evidence.shape) != wanted:
            given = "none" if evidence is None else f"shape {tuple(evidence.shape)}"
            raise ShapeError(
                f"evidence was given as {given}; the rule is (B, L, evidence_dim) = {wanted}, and none where "
                "evidence_dim is 0."
            )
        found: Tensor = self.evidence(evidence)
        return found
