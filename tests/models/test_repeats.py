"""Marking the mentions of a word by the position of the first."""

from __future__ import annotations

import pytest
import torch

from regard.models import RepeatFeatures, TokenClassifier
from regard.models.repeats import first_places, word_keys
from tests.models.examples import token_classifier


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 50), (2, 300), (3, 0), (0, 4)])
def test_first_places(size: tuple[int, int]) -> None:
    """First positions agree with a comparison of all pairs; the keys are not modified."""
    keys = torch.randint(-3, 30, size) * 2**58
    given = keys.clone()
    first = first_places(keys)
    assert first.shape == keys.shape
    assert torch.equal(keys, given)
    if keys.numel():
        assert torch.equal(first, (keys[:, :, None] == keys[:, None, :]).to(torch.uint8).argmax(-1))


def test_keys_of_words() -> None:
    """Equal letters have equal keys however long the row is; other letters or another order have others."""
    words = torch.cartesian_prod(*[torch.arange(1, 9)] * 4)
    keys = word_keys(words)
    assert len(keys.unique()) == len(words)
    wider = torch.nn.functional.pad(words, (0, 3))
    assert torch.equal(word_keys(wider), keys)


def test_marks_of_mentions() -> None:
    """Mentions share a vector, words differ, the first is marked in addition; positions of a long text wrap around."""
    features = RepeatFeatures(8, places=4)
    torch.nn.init.ones_(features.first)
    out = features(torch.tensor([[5, 7, 5, 7, 9, 3, 3]]))[0]
    torch.testing.assert_close(out[0], features.weight[0] + 1)
    assert torch.equal(out[2], features.weight[0])
    assert torch.equal(out[3], features.weight[1])
    torch.testing.assert_close(out[4], features.weight[0] + 1)
    assert torch.equal(out[6], features.weight[5 % 4])


def test_mentions_are_linked_across_unknown_words() -> None:
    """Words in the second half have the label of their first mention: learnt in 60 steps with marks, not without."""

    def right(repeats: bool) -> float:
        torch.manual_seed(0)
        model = token_classifier(
            char_vocab_size=0, repeats=repeats, dropout=0.0, vocab_size=60, num_labels=2, embed_dim=32
        ).model.train()
        assert isinstance(model, TokenClassifier)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(60):
            words = torch.rand(64, 50).argsort(1)[:, :12] + 10
            named = torch.arange(12).expand(64, 12) % 2 == 0
            words[:, 6:] = words[:, :6].gather(1, torch.rand(64, 6).argsort(1))
            labels = torch.zeros_like(words)
            labels[:, 6:] = named[:, :6].gather(1, (words[:, 6:, None] == words[:, None, :6]).float().argmax(-1)).long()
            logits = model(words)
            loss, count = model.loss(logits, labels)
            optimizer.zero_grad()
            (loss / count).backward()
            optimizer.step()
        return (logits.argmax(-1) == labels)[:, 6:].float().mean().item()

    assert right(repeats=True) > 0.95 > 0.65 > right(repeats=False)


def test_a_tagger_knows_words_by_their_letters() -> None:
    """With letters, equal letters mean equal words, not equal ids, since all unknown words share one."""
    model = token_classifier(repeats=True, num_layers=0, dropout=0.0).model
    torch.nn.init.normal_(model.head.weight)
    tokens = torch.ones(1, 3, dtype=torch.int64)
    letters = torch.tensor([[[1, 2], [3, 4], [1, 2]]])
    one, other, again = model(tokens, characters=letters)[0]
    torch.testing.assert_close(one, again)
    torch.nn.init.zeros_(model.repeats.weight[1])
    _, changed, _ = model(tokens, characters=letters)[0]
    assert not torch.allclose(other, changed)
