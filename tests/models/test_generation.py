"""What language models and encoder-decoders generate: caches, ragged prompts, sampling, beams."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from regard.errors import ArgumentError
from regard.models import LanguageModel, SequenceToSequence
from regard.models._beam import Search, beam_search
from regard.models.sampling import Sampling
from tests.models.examples import POSITIONS, language_model, sequence_to_sequence


def decided(model: torch.nn.Module) -> None:
    """Make the model's choices unambiguous, so that rounding cannot change them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)


@pytest.mark.parametrize("positions", POSITIONS)
def test_cached_is_uncached_is_alone(positions: str) -> None:
    """Greedy continuations agree token by token with and without a cache, in a ragged batch and each alone."""
    model: LanguageModel = language_model(positions=positions, max_length=16).model
    decided(model)
    prompts, lengths = torch.randint(1, 11, (3, 6)), torch.tensor([6, 1, 3])
    options = {"max_new_tokens": 9, "temperature": 0}
    cached = model.generate(prompts, lengths=lengths, **options)
    uncached = model.generate(prompts, lengths=lengths, use_cache=False, **options)
    for row, (one, two) in enumerate(zip(cached, uncached, strict=True)):
        (alone,) = model.generate(prompts[row : row + 1, : lengths[row]], **options)
        assert one.tolist() == two.tolist() == alone.tolist()
        text = torch.cat((prompts[row, : lengths[row]], alone))[None]
        assert model(text)[0, lengths[row] - 1 : -1].argmax(-1).tolist() == alone.tolist()


def test_cache_of_the_forward() -> None:
    """Tokens given one by one with a cache have the logits of the whole; weights see all that is cached."""
    example = language_model()
    tokens, cache = example.inputs[0], example.model.new_cache()
    with torch.no_grad():
        steps = [example.model(tokens[:, i : i + 1], cache=cache) for i in range(5)]
        last, weights = example.model(tokens[:, 5:], cache=cache, need_weights=True)
        torch.testing.assert_close(torch.cat((*steps, last), 1), example.model(tokens), atol=1e-5, rtol=1e-4)
    assert weights["decoder.layers.0.self_attention"].shape == (2, 2, 1, 6)
    with pytest.raises(ArgumentError, match="lengths were given with a cache"):
        example.model(tokens, torch.tensor([6, 6]), cache=cache)


def test_stopping() -> None:
    """A sequence ends before its stop token, the others go on; the stream repeats the stop and then ends."""
    model: LanguageModel = language_model().model.train()
    prompts = torch.randint(1, 11, (4, 3))
    seed = torch.Generator().manual_seed
    free = model.generate(prompts, max_new_tokens=12, generator=seed(1))
    stop = int(free[0][4])
    cut = model.generate(prompts, max_new_tokens=12, generator=seed(1), stop_id=stop)
    first = free[0].tolist().index(stop)
    assert cut[0].tolist() == free[0][:first].tolist()
    assert all(stop not in row.tolist() for row in cut)
    steps = torch.stack(list(model.stream(prompts, max_new_tokens=12, generator=seed(1), stop_id=stop)), 1)
    assert set(steps[0, first:].tolist()) == {stop}
    assert model.training
    assert [len(row) for row in model.generate(prompts, max_new_tokens=0)] == [0] * 4


def test_an_abandoned_stream_restores_the_mode() -> None:
    """Closing a stream in the middle puts the model back into training mode, gradients stay on for the caller."""
    model: LanguageModel = language_model().model.train()
    stream = model.stream(torch.ones(1, 2, dtype=torch.int64), max_new_tokens=5)
    next(stream)
    assert torch.is_grad_enabled()
    stream.close()
    assert model.training


def test_sampling_formulas() -> None:
    """Temperature, top-k and top-p keep what their definitions keep, and the shares of it."""
    shares = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    logits = shares.log()
    torch.testing.assert_close(Sampling().probabilities(logits), shares)
    cool = Sampling(temperature=0.5).probabilities(logits)
    torch.testing.assert_close(cool, shares**2 / (shares**2).sum())
    torch.testing.assert_close(Sampling(top_k=2).probabilities(logits), torch.tensor([[0.625, 0.375, 0.0, 0.0]]))
    for top_p, kept in ((0.4, 1), (0.6, 2), (0.79, 2), (0.9, 3), (1.0, 4)):
        assert int((Sampling(top_p=top_p).probabilities(logits) > 0).sum()) == kept
    drawn = Sampling(generator=torch.Generator().manual_seed(0)).draw(logits.expand(20_000, -1))
    torch.testing.assert_close(drawn.bincount() / 20_000, shares[0], atol=0.015, rtol=0)
    for bad in ({"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            Sampling(**bad)


def test_prompts_are_checked() -> None:
    """Empty prompts and more tokens than learned positions are refused before anything is computed."""
    model: LanguageModel = language_model(positions="learned", max_length=8).model
    for prompts, lengths, words in (
        (torch.ones(1, 0, dtype=torch.int64), None, "no token"),
        (torch.ones(2, 2, dtype=torch.int64), torch.tensor([2, 0]), "length 0"),
        (torch.ones(1, 5, dtype=torch.int64), None, "max_length=8"),
    ):
        with pytest.raises(ArgumentError, match=words):
            model.generate(prompts, max_new_tokens=5, lengths=lengths)
    assert len(model.generate(torch.ones(1, 4, dtype=torch.int64), max_new_tokens=5)[0]) == 5


def every_target(model: SequenceToSequence, source: torch.Tensor, search: Search) -> list[tuple[float, list[int]]]:
    """Score each target that could be generated, by the plain forward, best first."""
    vocabulary = range(model.config.vocab_size)
    found = []
    for length in range(1, search.max_length + 1):
        for body in itertools.product([t for t in vocabulary if t != search.eos_id], repeat=length - 1):
            ends = vocabulary if length == search.max_length else [search.eos_id]
            given = torch.tensor([[search.bos_id, *body]])
            with torch.no_grad():
                shares = model(source, given)[0].log_softmax(-1).double()
            total = sum(float(shares[i, token]) for i, token in enumerate(body))
            for end in ends:
                tokens = [*body] if end == search.eos_id else [*body, end]
                found.append((search.normalised(total + float(shares[-1, end]), length), tokens))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("options", [{"positions": "rotary"}, {"positions": "learned"}, {"copying": True}])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0, -0.5])
def test_beam_search_against_all_targets(options: dict[str, Any], penalty: float) -> None:
    """With enough beams for every prefix the best of all targets is found, with its score; sources do not interfere."""
    torch.manual_seed(5)
    model: SequenceToSequence = sequence_to_sequence(vocab_size=4, max_length=5, **options).model
    decided(model)
    source, lengths = torch.randint(0, 4, (3, 5)), torch.tensor([5, 2, 4])
    found = model.generate(source, lengths, max_length=4, beams=27, length_penalty=penalty)
    search = Search(1, 2, 4, penalty)
    for row in range(3):
        score, tokens = every_target(model, source[row : row + 1, : lengths[row]], search)[0]
        assert found[row].tokens == tokens
        assert found[row].score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("copying", [False, True])
def test_one_beam_is_greedy(copying: bool) -> None:
    """Beam search with one beam gives what taking the likeliest gives, scores included; batching changes nothing."""
    model: SequenceToSequence = sequence_to_sequence(copying=copying).model.train()
    decided(model)
    source, lengths = torch.randint(1, 11, (6, 7)), torch.tensor([7, 3, 5, 1, 6, 2])
    greedy = model.generate(source, lengths, max_length=9)
    assert model.training
    model.eval()
    with torch.no_grad():
        beams = beam_search(model._stepper(source, lengths, 1), 6, 1, Search(1, 2, 9, 0.6), source.device)
    assert [one.tokens for one in greedy] == [one.tokens for one in beams]
    torch.testing.assert_close([one.score for one in greedy], [one.score for one in beams], atol=1e-4, rtol=0)
    for row in range(6):
        for count in (1, 3):
            (alone,) = model.generate(source[row : row + 1, : lengths[row]], max_length=9, beams=count)
            batched = model.generate(source, lengths, max_length=9, beams=count)[row]
            assert alone.tokens == batched.tokens
            assert alone.score == pytest.approx(batched.score, abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_run_of_tokens_is_written_twice(size: int) -> None:
    """Greedy is the likeliest token that repeats no n-gram, found by hand; beams repeat none; 0 and long ones allow."""
    torch.manual_seed(4)
    model: SequenceToSequence = sequence_to_sequence().model.eval()
    decided(model)
    with torch.no_grad():
        model.embedding.weight[2].zero_()  # end tokens come late, so that there is time to repeat
    source, most = torch.randint(3, 11, (6, 5)), 9
    free = [one.tokens for one in model.generate(source, max_length=most)]
    assert any(len(_runs(tokens, size)) < len(tokens) - size + 1 for tokens in free)
    found = [one.tokens for one in model.generate(source, max_length=most, no_repeat_ngram_size=size)]
    assert found == [_greedy_by_hand(model, row[None], most, size) for row in source]
    for one in model.generate(source, max_length=most, beams=3, no_repeat_ngram_size=size):
        assert len(_runs(one.tokens, size)) == max(0, len(one.tokens) - size + 1)
    assert [one.tokens for one in model.generate(source, max_length=most, no_repeat_ngram_size=most + 1)] == free
    with pytest.raises(ArgumentError, match="no_repeat_ngram_size"):
        model.generate(source, max_length=most, no_repeat_ngram_size=-1)


def _runs(tokens: list[int], size: int) -> set[tuple[int, ...]]:
    return {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}


def _greedy_by_hand(model: SequenceToSequence, source: torch.Tensor, most: int, size: int) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < most:
        with torch.no_grad():
            order = model(source, torch.tensor([[1, *tokens]]))[0, -1].argsort(descending=True).tolist()
        token = next(t for t in order if t == 2 or len(_runs([*tokens, t], size)) == max(0, len(tokens) + 2 - size))
        if token == 2:
            break
        tokens.append(token)
    return tokens


def test_more_beams_are_no_worse_here() -> None:
    """Over many sources more beams find likelier targets on the whole, and lengths stay within the limit."""
    torch.manual_seed(2)
    model: SequenceToSequence = sequence_to_sequence().model
    decided(model)
    source = torch.randint(1, 11, (20, 6))
    few = model.generate(source, max_length=6)
    many = model.generate(source, max_length=6, beams=5)
    assert sum(one.score for one in many) > sum(one.score for one in few)
    assert all(len(one.tokens) <= 6 and 2 not in one.tokens for one in few + many)
    assert (
        model.generate(source, max_length=0)[0].tokens == model.generate(source, max_length=0, beams=2)[0].tokens == []
    )
    for bad in ({"beams": 0}, {"max_length": -1}):
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            model.generate(source, **{"max_length": 3, **bad})


def test_tied_and_separate_vocabularies() -> None:
    """Source and target share a table unless the source has its own; the output map is the target's unless told."""
    names = set(sequence_to_sequence().model.state_dict())
    apart = sequence_to_sequence(source_vocab_size=20, tie_embeddings=False, num_decoder_layers=1)
    more = set(apart.model.state_dict()) - names
    assert more == {"source_embedding.weight", "head.weight"}
    assert apart.model.source_embedding.weight.shape == (20, 16)
    assert len(apart.model.decoder.layers) == 1
    assert apart().shape == (2, 4, 11)
    assert "head.weight" not in names
