"""Copying words of the source."""

import pytest
import torch
from torch import nn

from regard import masks
from regard.errors import ArgumentError
from regard.models import SequenceToSequence, SequenceToSequenceConfig
from regard.models.copying import Copying


def test_the_mixture_is_the_equation() -> None:
    """Each entry is gate times softmax plus the weights of the places that hold the token; padding gives nothing."""
    torch.manual_seed(0)
    copying, vocabulary = Copying(8), 6
    states, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    nn.init.normal_(copying.gate.weight)
    source, logits = torch.tensor([[3, 4, 3, 5, 1], [2, 2, 0, 0, 0]]), torch.randn(2, 3, vocabulary)
    found, weights = copying(states, copying.keys(memory), source, logits, masks.padding([5, 2]))
    scores = copying.query(states) @ copying.keys(memory).mT / 8**0.5
    scores[1, :, 2:] = -torch.inf
    shares, gate = scores.softmax(-1), copying.gate(states).sigmoid()
    torch.testing.assert_close(weights.dense()[:, 0], shares)
    expected = gate * logits.softmax(-1)
    for row in range(2):
        for place, token in enumerate(source[row].tolist()):
            expected[row, :, token] += (1 - gate[row, :, 0]) * shares[row, :, place]
    torch.testing.assert_close(found.exp(), expected)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 3))


def test_it_learns_to_copy_what_it_never_wrote() -> None:
    """Tokens that are in no training target are copied; without copying that is impossible."""
    scores = {}
    for copying in (True, False):
        torch.manual_seed(1)
        config = SequenceToSequenceConfig(
            vocab_size=60, embed_dim=32, num_heads=2, num_layers=1, dropout=0.0, copying=copying
        )
        model = SequenceToSequence(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
        for _ in range(150):
            source = torch.randint(3, 40, (64, 4))
            target = torch.cat([torch.ones(64, 1, dtype=torch.int64), source[:, :2]], 1)
            loss = nn.functional.cross_entropy(model(source, target[:, :-1]).flatten(0, 1), target[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        new = torch.randint(40, 60, (50, 4))
        found = model.generate(new, max_length=2)
        scores[copying] = sum(one.tokens[:1] == [first] for one, first in zip(found, new[:, 0].tolist(), strict=True))
    assert scores[True] > 25 > scores[False]


def test_two_vocabularies_cannot_be_copied_between() -> None:
    """A token of another vocabulary would be another word."""
    with pytest.raises(ArgumentError, match="shares one vocabulary"):
        SequenceToSequenceConfig(vocab_size=9, source_vocab_size=8, copying=True)
