"""The conditional random field compared with an enumeration of all label sequences."""

from __future__ import annotations

import itertools

import pytest
import torch

from regard.errors import ArgumentError
from regard.models import ConditionalField
from regard.models.conditional_field import follows
from tests.models.examples import token_classifier

TAGS = ("O", "B-x", "I-x", "B-y", "I-y")


def written_out(field: ConditionalField, scores: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    """Score every label sequence of one text by adding up its parts."""
    start, between, end = field.transitions()
    found = {}
    for labels in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        total = start[labels[0]] + end[labels[-1]] + sum(scores[i, label] for i, label in enumerate(labels))
        found[labels] = total + sum(between[a, b] for a, b in itertools.pairwise(labels))
    return found


def random_field(tags: tuple[str, ...] = ()) -> ConditionalField:
    """Make a field of five labels with drawn transitions."""
    field = ConditionalField(5, tags)
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter)
    return field


@pytest.mark.parametrize("tags", [(), TAGS])
def test_likelihood_and_best_sequence(tags: tuple[str, ...]) -> None:
    """Loss, gradients and the best labels are those of the sum and the maximum over all sequences."""
    field, lengths = random_field(tags), torch.tensor([4, 2, 1, 3])
    scores = torch.randn(4, 4, 5, requires_grad=True)
    labels = torch.tensor([[1, 2, 0, 3], [3, 4, 9, 9], [0, 9, 9, 9], [0, 1, 2, 9]])
    loss = field.loss(scores, labels, lengths)
    expected = torch.zeros(())
    best = field.decode(scores, lengths)
    for row, length in enumerate(lengths.tolist()):
        every = written_out(field, scores[row, :length])
        right = every[tuple(labels[row, :length].tolist())]
        expected = expected + torch.stack(list(every.values())).logsumexp(0) - right
        assert tuple(best[row, :length].tolist()) == max(every, key=lambda labels: every[labels].item())
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-5)
    wanted = torch.autograd.grad(expected, [scores, *field.parameters()], retain_graph=True)
    found = torch.autograd.grad(loss, [scores, *field.parameters()])
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_what_may_follow() -> None:
    """Inside tags follow their own kind; a best sequence never breaks that, whatever the scores say."""
    first, after = follows(TAGS)
    assert first.tolist() == [True, True, False, True, False]
    assert after[:, 2].tolist() == [False, True, True, False, False]
    assert bool(after[:, [0, 1, 3]].all())
    scores, lengths = 5 * torch.randn(50, 7, 5), torch.full((50,), 7)
    for labels in random_field(TAGS).decode(scores, lengths).tolist():
        assert bool(first[labels[0]])
        assert all(bool(after[a, b]) for a, b in itertools.pairwise(labels))
    with pytest.raises(ArgumentError, match="tags has 3 names and num_labels is 5"):
        ConditionalField(5, ("O", "B-x", "I-x"))


def test_empty_texts_weigh_nothing() -> None:
    """A text without labels adds no loss; a batch of them gives 0 and gradients of 0."""
    field, scores = random_field(), torch.randn(2, 3, 5, requires_grad=True)
    labels = torch.zeros(2, 3, dtype=torch.int64)
    both = field.loss(scores, labels, torch.tensor([3, 0]))
    torch.testing.assert_close(both, field.loss(scores[:1], labels[:1], torch.tensor([3])))
    nothing = field.loss(scores, labels, torch.tensor([0, 0]))
    nothing.backward()
    assert nothing.item() == 0
    assert not field.between.grad.any()


@pytest.mark.parametrize(
    "options", [{}, {"crf": True}, {"tags": ("O", "B-x", "I-x")}, {"crf": True, "char_vocab_size": 7}]
)
def test_gaps_between_labels(options: dict) -> None:
    """Tokens without a label (later parts of words) neither count nor come between their neighbours."""
    example = token_classifier(**options)
    model, logits = example.model, torch.randn(2, 6, 3)
    labelled = torch.tensor([[1, 0, 1, 1, 0, 0], [1, 1, 0, 0, 0, 1]]).bool()
    labels = torch.randint(0, 3, (2, 6)).masked_fill(~labelled, -100)
    loss, count = model.loss(logits, labels)
    close_logits, close = logits[labelled].view(2, 3, 3), labels[labelled].view(2, 3)
    expected, _ = model.loss(close_logits, close)
    torch.testing.assert_close(loss, expected)
    assert count.item() == 6
    best = model.decode(logits, labelled=labelled)
    assert bool((best[~labelled] == -100).all())
    assert torch.equal(best[labelled].view(2, 3), model.decode(close_logits))
    short = model.decode(logits, torch.tensor([6, 2]))
    assert short[1].tolist()[2:] == [-100] * 4
    assert torch.equal(short[1, :2], model.decode(logits[1:, :2])[0])


def test_a_field_learns_what_follows_what() -> None:
    """Labels that depend only on neighbouring labels are learnt by the field, and not without it."""
    torch.manual_seed(0)
    field = ConditionalField(2)
    scores, labels = torch.zeros(8, 6, 2), torch.tensor([0, 1] * 3).expand(8, -1)
    lengths = torch.full((8,), 6)
    optimizer = torch.optim.Adam(field.parameters(), lr=0.2)
    for _ in range(40):
        optimizer.zero_grad()
        field.loss(scores, labels, lengths).backward()
        optimizer.step()
    assert torch.equal(field.decode(scores, lengths), labels)
