"""Letters of words, pooling, the grid of an image: the parts that one kind of model has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regard.models import CharacterFeatures
from regard.models._images import GridRotary, grid_sinusoidal
from regard.models._pooling import AttentionPooling, mean
from regard.models.embedding import _distinct
from tests.models.examples import image_classifier, sequence_classifier, token_classifier


def test_letters_of_a_word() -> None:
    """Words with the same letters share features wherever they stand; padding letters do not matter."""
    features = CharacterFeatures(7, 8)
    nn.init.normal_(features.output.weight)
    words = torch.randint(1, 7, (1, 4, 5))
    words[0, 2, 3:] = 0
    out = features(words)
    torch.testing.assert_close(features(words[:, 2:3, :3])[0, 0], out[0, 2])
    torch.testing.assert_close(features(words.flip(1)).flip(1), out)
    assert not torch.allclose(out[0, 0], out[0, 1])
    nothing = features(torch.zeros(1, 1, 5, dtype=torch.int64))[0, 0]
    assert torch.equal(nothing, features.output.bias)


def test_words_that_occur_again_are_computed_once() -> None:
    """Computing distinct words only gives the same outputs and gradients as computing all."""
    features = CharacterFeatures(7, 8)
    nn.init.normal_(features.output.weight)
    words = torch.randint(0, 7, (30, 4))[torch.randint(0, 30, (200,))].view(4, 50, 4)
    rows, back = _distinct(words.flatten(0, 1))
    assert len(rows) == len(words.flatten(0, 1).unique(dim=0))
    assert torch.equal(rows[back], words.flatten(0, 1))
    probe = torch.randn(4, 50, 8)
    short = torch.autograd.grad((features(words) * probe).sum(), list(features.parameters()))
    parts = [(features(words[i : i + 1, j : j + 1]) * probe[i, j]).sum() for i in range(4) for j in range(50)]
    for one, two in zip(short, torch.autograd.grad(sum(parts), list(features.parameters())), strict=True):
        torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)
    assert not short[0][0].any()


def test_letters_tell_unknown_words_apart() -> None:
    """Words with the same token id are distinguished by their letters."""
    torch.manual_seed(0)
    model = token_classifier(dropout=0.0, positions="none").model.train()
    letters = torch.randint(1, 7, (16, 4, 5))
    labels = (letters == 3).any(-1).long()
    tokens = torch.ones(16, 4, dtype=torch.int64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss, count = model.loss(model(tokens, characters=letters), labels)
        (loss / count).backward()
        optimizer.step()
    found = model.eval().decode(model(tokens, characters=letters))
    assert (found == labels).float().mean() > 0.95


def test_pooling() -> None:
    """The mean is of real tokens, of none it is 0, NaN in padding or not; a learnt weighting starts as the mean."""
    x = torch.randn(3, 4, 2)
    x[1, 2:] = torch.nan
    pooled = mean(x, torch.tensor([4, 2, 0]))
    torch.testing.assert_close(pooled, torch.stack((x[0].mean(0), x[1, :2].mean(0), torch.zeros(2))))
    clean = torch.randn(3, 4, 2)
    pooling = AttentionPooling(2)
    torch.testing.assert_close(pooling(clean), clean.mean(1))
    with torch.no_grad():
        pooling.weight.copy_(torch.tensor([50.0, 0.0]))
    assert torch.equal(pooling(clean).argmax(), clean[torch.arange(3), clean[..., 0].argmax(1)].argmax())


def test_class_token() -> None:
    """With a class token attention has one token more, and the padded batch still equals each text alone."""
    example = sequence_classifier(pooling="class")
    logits, weights = example(need_weights=True)
    assert weights["encoder.layers.0.self_attention"].shape == (2, 2, 7, 7)
    alone = example.model(example.inputs[0][1:, :4])
    torch.testing.assert_close(logits[1:], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stem", ["conv", "patch"])
@pytest.mark.parametrize("pooling", ["attention", "mean", "class"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "none"])
def test_images(stem: str, pooling: str, positions: str) -> None:
    """Every choice runs and trains; tokens make the grid; positions tell a mirrored image from the other."""
    example = image_classifier(stem=stem, pooling=pooling, positions=positions, dropout=0.0)
    assert example.model.grid == (2, 3)
    logits, weights = example(need_weights=True)
    assert weights["encoder.layers.1.self_attention"].shape[-1] == 6 + (pooling == "class")
    logits.square().sum().backward()
    assert all(p.grad is not None for p in example.model.parameters())


def test_a_token_looks_at_its_own_patch() -> None:
    """Token r · columns + c of the patch stem comes from the pixels at row r and column c."""
    model = image_classifier(stem="patch", positions="none").model
    blank = torch.zeros(1, 1, 8, 12)
    marked = blank.clone()
    marked[:, :, 4:8, 8:12] = 1.0
    changed = (model.stem(marked) != model.stem(blank)).any(-1)[0]
    assert changed.nonzero()[:, 0].tolist() == [1 * 3 + 2]


def test_convolutional_stem_rounds_up() -> None:
    """Sides that are no multiple are rounded up, and the grid says so: 28 by 28 in three halvings is 4 by 4."""
    model = image_classifier(height=28, width=27, patch_size=8).model
    assert model.grid == (4, 4)
    assert model.stem(torch.zeros(1, 1, 28, 27)).shape == (1, 16, 16)
    assert model(torch.zeros(1, 1, 28, 27)).shape == (1, 3)


def test_grid_positions() -> None:
    """On the grid the product of rotated vectors depends only on the distance in rows and columns; positions differ."""
    turn = GridRotary((3, 4))
    query, key = torch.randn(8), torch.randn(8)
    turned_query, turned_key = turn(query.expand(12, 8)), turn(key.expand(12, 8))
    products = (turned_query @ turned_key.T).view(3, 4, 3, 4)
    torch.testing.assert_close(products[0, 0, 1, 2], products[1, 1, 2, 3])
    assert abs(products[0, 0, 1, 2] - products[0, 0, 2, 1]) > 1e-4
    with_class = turn(query.expand(13, 8))
    torch.testing.assert_close(with_class[0], query)
    torch.testing.assert_close(with_class[1:], turned_query)
    table = grid_sinusoidal(3, 4, 8)
    assert len(table.unique(dim=0)) == 12
    torch.testing.assert_close(table[1, :4], table[2, :4])
    torch.testing.assert_close(table[1, 4:], table[5, 4:])
