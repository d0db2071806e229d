"""A linear-chain conditional random field: the tags of a sequence are scored together, by their transitions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._values import described, listed, size
from ..errors import ArgumentError, ArgumentTypeError

_NEVER = -1e4


def follows(tags: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return which IOB2 tags may come first, bool `(T,)`, and which may follow which, bool `(T, T)`.

    `I-x` may follow only `B-x` and `I-x`; everything else is allowed. Row: the tag before, column: the tag after.

    >>> first, after = follows(("O", "B-x", "I-x"))
    >>> first.tolist(), after[:, 2].tolist()
    ([True, True, False], [False, True, True])
    """
    first = torch.tensor([not tag.startswith("I-") for tag in tags])
    after = first.expand(len(tags), -1).clone()
    for column, tag in enumerate(tags):
        if tag.startswith("I-"):
            after[:, column] = torch.tensor([before in (tag, f"B-{tag[2:]}") for before in tags])
    return first, after


def viterbi(scores: Tensor, start: Tensor, between: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Return the best sequence of labels, int64 `(B, L)`; beyond its length a sequence repeats its last label.

    Shapes: `scores` `(B, L, T)`, `start` and `end` `(T,)`, `between` `(T, T)` (before, after), `lengths` `(B,)` from 1
    to L. Cost: O(B · L · T²). Source: Viterbi 1967; Lafferty et al. 2001 for its use here.
    """
    best = start + scores[:, 0]  # (B, T)
    stay = torch.arange(scores.shape[-1], device=scores.device).expand_as(best)
    pointers = []
    for step in range(1, scores.shape[1]):
        longer, pointer = (best[:, :, None] + between).max(1)
        going = (lengths > step)[:, None]
        best = torch.where(going, longer + scores[:, step], best)
        pointers.append(torch.where(going, pointer, stay))
    label = (best + end).argmax(-1)
    labels = [label]
    for pointer in reversed(pointers):
        label = pointer.gather(1, label[:, None])[:, 0]
        labels.append(label)
    return torch.stack(labels[::-1], 1)


class ConditionalField(nn.Module):
    """Scores of label sequences: the model's score of each token, plus a learnt score for each pair of neighbours.

    Args:
        num_labels: T.
        tags: names of the labels; if given, transitions that IOB2 forbids are excluded from prediction and loss.

    Transitions start at 0, which equals a softmax of each token alone. Computes in float32.

    Source: Lafferty, McCallum and Pereira 2001.

    >>> field = ConditionalField(3)
    >>> scores, labels = torch.randn(2, 4, 3), torch.zeros(2, 4, dtype=torch.int64)
    >>> alone = -scores.log_softmax(-1)[..., 0].sum()
    >>> bool(torch.allclose(field.loss(scores, labels, torch.tensor([4, 4])), alone))
    True
    """

    forbidden_first: Tensor
    forbidden_pair: Tensor

    def __init__(self, num_labels: int, tags: Sequence[str] = ()) -> None:
        super().__init__()
        num_labels = size("num_labels", num_labels)
        tags = listed("tags", tags)
        if not all(isinstance(tag, str) for tag in tags):
            raise ArgumentTypeError(f"tags is {described(tags)}; it must be a list of names, one per label.")
        if tags and len(tags) != num_labels:
            raise ArgumentError(f"tags has {len(tags)} names and num_labels is {num_labels}; give one name per label.")
        self.start = nn.Parameter(torch.zeros(num_labels))
        self.between = nn.Parameter(torch.zeros(num_labels, num_labels))
        self.end = nn.Parameter(torch.zeros(num_labels))
        first, after = follows(tags) if tags else (torch.ones(num_labels).bool(), torch.ones_like(self.between).bool())
        self.register_buffer("forbidden_first", ~first, persistent=False)
        self.register_buffer("forbidden_pair", ~after, persistent=False)

    def transitions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of a first label, of a pair and of a last label; forbidden ones are very low."""
        start = self.start.float().masked_fill(self.forbidden_first, _NEVER)
        return start, self.between.float().masked_fill(self.forbidden_pair, _NEVER), self.end.float()

    def loss(self, scores: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        """Return the negative log-likelihood of the labels, summed over the batch.

        Shapes: `scores` `(B, L, T)`, `labels` int64 `(B, L)` with valid labels before `lengths`; `(B,)` from 0 to L.
        """
        kept = lengths > 0
        scores, labels, lengths = scores[kept].float(), labels[kept], lengths[kept]
        if scores.shape[0] == 0:
            return scores.sum() + 0.0 * (self.start.sum() + self.between.sum() + self.end.sum())
        start, between, end = self.transitions()
        return (
            self._all(scores, start, between, end, lengths) - _of_labels(scores, labels, start, between, end, lengths)
        ).sum()

    def decode(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """Return the best labels, int64 `(B, L)`; those beyond a length are meaningless."""
        return viterbi(scores.float(), *self.transitions(), lengths.clamp(min=1))

    @staticmethod
    def _all(scores: Tensor, start: Tensor, between: Tensor, end: Tensor, lengths: Tensor) -> Tensor:  # (B,)
        # Sums of exponentials as products of matrices, relative to the largest, in float64: what underflows lies
        # 690 nats below. (The sum over (B, T, T) in logarithms took two thirds of a training step at T = 72.)
        scores, after = scores.double(), between.double().exp()
        total = start + scores[:, 0]
        for step in range(1, scores.shape[1]):
            highest = total.detach().amax(-1, keepdim=True)
            longer = ((total - highest).exp() @ after).clamp_min(1e-300).log() + highest + scores[:, step]
            total = torch.where((lengths > step)[:, None], longer, total)
        return torch.logsumexp(total + end, -1).float()


def _of_labels(scores: Tensor, labels: Tensor, start: Tensor, between: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    real = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
    safe = labels.masked_fill(~real, 0)
    each = scores.gather(2, safe[..., None])[..., 0].masked_fill(~real, 0.0).sum(1)
    pairs = between[safe[:, :-1], safe[:, 1:]].masked_fill(~real[:, 1:], 0.0).sum(1)
    last = safe.gather(1, (lengths - 1)[:, None])[:, 0]
    return each + pairs + start[safe[:, 0]] + end[last]
