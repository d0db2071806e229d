"""Encodings, biases and patches as layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import regard
from regard import reference
from regard.errors import ArgumentError, ShapeError
from regard.layers import (
    ALiBi,
    LearnedEncoding,
    MultiHeadAttention,
    PatchEmbedding,
    RelativeBias,
    Rotary,
    SinusoidalEncoding,
)


def test_sinusoidal_encoding_adds_the_table() -> None:
    """The reference's table is added; `offset` gives the position of a later piece of a sequence."""
    encode, x = SinusoidalEncoding(6), torch.randn(2, 9, 6)
    table = torch.from_numpy(reference.sinusoidal_encoding(9, 6)).float()
    torch.testing.assert_close(encode(x), x + table)
    torch.testing.assert_close(encode(x[:, 4:], offset=4), encode(x)[:, 4:])
    assert encode(x.bfloat16()).dtype == torch.bfloat16
    assert not list(encode.parameters())


def test_learned_encoding() -> None:
    """A learnt row is added per position; a position beyond the table is an error that names its length."""
    encode, x = LearnedEncoding(5, 6), torch.randn(2, 4, 6)
    torch.testing.assert_close(encode(x, offset=1), x + encode.weight[1:5])
    with pytest.raises(ShapeError, match="max_length=5 positions"):
        encode(x, offset=2)
    with pytest.raises(ArgumentError, match="offset is -1"):
        encode(x, offset=-1)
    with pytest.raises(ShapeError, match="embed_dim=6"):
        encode(x[..., :4])


def test_rotary_makes_attention_relative() -> None:
    """With rotary positions attention does not see where a sequence begins, but does see its order."""
    turn = Rotary()
    query, key = torch.randn(2, 1, 2, 6, 8, dtype=torch.float64)
    first = turn(query) @ turn(key).transpose(-1, -2)
    moved = turn(query, offset=100) @ turn(key, offset=100).transpose(-1, -2)
    torch.testing.assert_close(first, moved)
    assert not torch.allclose(first, query @ key.transpose(-1, -2))
    part = Rotary(4)(query)
    assert torch.equal(part[..., 4:], query[..., 4:])
    with pytest.raises(ArgumentError, match="dim is 3"):
        Rotary(3)


def test_alibi_and_relative_bias_reach_the_scores() -> None:
    """A layer with a bias of positions gives what the call gives with that bias."""
    for position in (ALiBi(4), RelativeBias(4, num_buckets=8, max_distance=20)):
        layer, x = MultiHeadAttention(16, 4, position=position).eval(), torch.randn(2, 7, 16)
        with torch.no_grad():
            for table in position.parameters():
                table.normal_()
        plain = MultiHeadAttention(16, 4).eval()
        plain.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("position")})
        torch.testing.assert_close(layer(x), plain(x, bias=position()))
        assert not torch.allclose(layer(x), plain(x))


def test_relative_bias_learns() -> None:
    """Gradients reach the buckets that the distances of the call fall into, and no others."""
    position = RelativeBias(2, num_buckets=8, max_distance=20)
    q = torch.randn(1, 2, 3, 4)
    regard.attention(q, q, q, bias=position()).square().sum().backward()
    touched = position.weight.grad.abs().sum(1) > 0
    buckets = regard.biases.T5Bias(position.weight, True, 20).bucket(torch.arange(-2, 3))
    assert touched.nonzero().flatten().tolist() == sorted(set(buckets.tolist()))
    with pytest.raises(ArgumentError, match="at least 4 buckets"):
        RelativeBias(2, num_buckets=2)


def test_patches_are_cut_row_by_row() -> None:
    """Each token is one linear map of one square of the image, in reading order."""
    embed, images = PatchEmbedding(5, 4, in_channels=3), torch.randn(2, 3, 8, 12)
    squares = F.unfold(images, 4, stride=4).transpose(1, 2)  # (B, N, 3 · 4 · 4)
    expected = squares @ embed.projection.weight.flatten(1).T + embed.projection.bias
    torch.testing.assert_close(embed(images), expected, atol=1e-5, rtol=1e-4)
    for wrong in (torch.zeros(2, 3, 8, 13), torch.zeros(2, 1, 8, 12), torch.zeros(3, 8, 12)):
        with pytest.raises(ShapeError, match="multiples of patch_size=4"):
            embed(wrong)
