# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---


# %% [markdown]
# # 5. The Transformer, on dates
#
# An encoder layer mixes words and then works on each; a decoder layer also looks at another text. This page builds both
# from their parts, then trains the whole Transformer to read dates letter by letter, "Friday, 20 November 2026" to
# "2026-11-20". Its cross-attention is the clearest picture of attention there is: for each letter that it writes, which
# letters it reads.
#
# Sources: Vaswani et al. 2017, arXiv:1706.03762, section 3.1; Xiong et al. 2020, arXiv:2002.04745, for the norm in
# front; Bahdanau et al. 2015, arXiv:1409.0473, for attention as alignment.

# %%
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import nn

import regard
from regard.corpora import dates
from regard.layers import DecoderLayer, EncoderLayer, Rotary, Transformer
from regard.viewer import static

SMALL = os.environ.get("REGARD_TUTORIAL_BUDGET") == "small"  # what the project's own tests set, to be quick
PICTURES = Path("runs/tutorials")
PICTURES.mkdir(parents=True, exist_ok=True)
_ = torch.manual_seed(0)


def keep(figure, name):
    """Save a picture; a notebook also shows it, because it is what the cell ends with."""
    figure.savefig(PICTURES / f"{name}.png", dpi=120)
    plt.close(figure)
    return figure


# %% [markdown]
# ## An encoder layer from its parts
#
# Two halves: attention, in which words look at each other, and a small network that works on each word alone. Each half
# is **added** to what came in (so that the input is not lost), and normalised before.

# %%
layer = EncoderLayer(32, 4, norm_first=True).eval()
x = torch.randn(2, 6, 32)
with torch.no_grad():
    normed = layer.self_attention_norm(x)
    attended = x + layer.self_attention(normed)
    by_hand = attended + layer.feed_forward(layer.feed_forward_norm(attended))
    print("difference to the layer:", (by_hand - layer(x)).abs().max().item())
    assert torch.allclose(by_hand, layer(x), atol=1e-5)

# %% [markdown]
# ## A decoder layer: one more look, at another text
#
# A decoder writes. Its self-attention is causal, because the words to come are not written yet. Between the two halves
# stands **cross-attention**: queries from what is being written, keys and values from what was read (the memory).

# %%
layer = DecoderLayer(32, 4, norm_first=True).eval()
written, memory = torch.randn(1, 4, 32), torch.randn(1, 9, 32)
with torch.no_grad():
    y = written + layer.self_attention(layer.self_attention_norm(written), causal=True)
    y = y + layer.cross_attention(layer.cross_attention_norm(y), memory, memory)
    y = y + layer.feed_forward(layer.feed_forward_norm(y))
    out, weights = layer(written, memory, need_weights=True)
print("difference:", (y - out).abs().max().item(), {name: w.shape for name, w in weights.items()})
assert torch.allclose(y, out, atol=1e-5)
assert weights["self_attention"].visible_keys()[0, 0].tolist() == [1, 2, 3, 4]  # the past only
assert weights["cross_attention"].visible_keys()[0, 0].tolist() == [9] * 4  # all that was read

# %% [markdown]
# ## The data: dates as people write them
#
# No day of the test was trained on. The simplest rule, to pick out the digits, is the baseline.

# %%
languages = ["en"] if SMALL else ["en", "de", "fr", "es", "it"]
data = dates(size=4_000 if SMALL else 20_000, languages=languages)
print(data.description)
for pair in data.train[:4]:
    print(f"   {pair.source!r} -> {pair.target}")


def by_rule(text):
    """Read digits only: the long number is the year, the other the day; every month is January."""
    numbers = "".join(c if c.isdigit() else " " for c in text).split()
    year = next((n for n in numbers if len(n) == 4), "2000")
    day = next((n for n in numbers if len(n) < 4), "1")
    return f"{year}-01-{day.zfill(2)}"


letters = sorted({letter for pair in data.train for letter in pair.source + pair.target})
number = {letter: i + 2 for i, letter in enumerate(letters)}  # 0 fills up, 1 begins


def encode(texts):
    """Return the letters as numbers (N, longest), and the lengths."""
    rows = [torch.tensor([number.get(letter, 0) for letter in text]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


# %% [markdown]
# ## The model
#
# `regard.layers.Transformer` is the two stacks; the letters' vectors and the last map are ours. In training all ten
# letters of the answer are given, moved by one place, and the causal mask keeps each from seeing the next. In use they
# are written one by one; a cache keeps what was computed before.


# %%
class DateReader(nn.Module):
    """Letters to letters."""

    def __init__(self, width=96):
        super().__init__()
        self.embed = nn.Embedding(len(letters) + 2, width)
        self.core = Transformer(width, 4, 2, 2, 2 * width, norm_first=True, dropout=0.0, position=Rotary())
        self.letter = nn.Linear(width, len(letters) + 2)

    def forward(self, source, lengths, given, need_weights=False):
        """Return the scores of the next letter at each place, and the weights of every layer if wanted."""
        both = self.core(self.embed(source), self.embed(given), source_padding=lengths, need_weights=need_weights)
        return (self.letter(both[0]), both[1]) if need_weights else self.letter(both)

    @torch.inference_mode()
    def write(self, texts):
        """Write ten letters for each text, the likeliest one at a time."""
        source, lengths = encode(texts)
        real = regard.masks.padding(lengths)
        memory = self.core.encoder(self.embed(source), mask=real)
        cache = self.core.decoder.new_cache(max_length=10)
        last, rows = torch.ones(len(texts), 1, dtype=torch.long), []
        for _ in range(10):
            state = self.core.decoder(self.embed(last), memory, memory_mask=real, cache=cache)
            last = self.letter(state).argmax(-1)
            rows.append(last)
        return ["".join(letters[i - 2] if i > 1 else "?" for i in row) for row in torch.cat(rows, 1).tolist()]


def begun(answers):
    """Return what the decoder is given: the begin mark, and all letters but the last."""
    return F.pad(encode(answers)[0][:, :-1], (1, 0), value=1)


# %%
test = data.test[: 150 if SMALL else 500]
truth = [pair.target for pair in test]


def right(answers):
    """Return the share of dates that are right in every letter."""
    return sum(a == b for a, b in zip(answers, truth, strict=True)) / len(truth)


model = DateReader(64 if SMALL else 96)
steps = 180 if SMALL else 400
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
generator = torch.Generator().manual_seed(0)
for step in range(1, steps + 1):
    chosen = torch.randint(len(data.train), (64 if SMALL else 96,), generator=generator).tolist()
    source, lengths = encode([data.train[i].source for i in chosen])
    answers = [data.train[i].target for i in chosen]
    loss = F.cross_entropy(model(source, lengths, begun(answers)).flatten(0, 1), encode(answers)[0].flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    if step % (steps // 3) == 0:
        print(f"step {step:4}   loss {loss.item():.3f}   right {right(model.write([p.source for p in test])):.1%}")
model.eval()
baseline, reached = right([by_rule(p.source) for p in test]), right(model.write([p.source for p in test]))
print(f"by rule {baseline:.1%}, the model {reached:.1%} of {len(test)} dates never seen")
assert reached > 0.9 > 0.2 > baseline

# %% [markdown]
# ## Look: cross-attention as alignment
#
# `need_weights=True` gives the weights of all layers by name. This is the second decoder layer: down the letters that
# are written, across those that are read. Each row stands for the letter **to be written there**; its query is the
# letter before.

# %%
text = max((pair.source for pair in test), key=len)
answer = model.write([text])[0]
with torch.no_grad():
    _, weights = model(*encode([text]), begun([answer]), need_weights=True)
print(list(weights))
cross = weights["decoder.layers.1.cross_attention"]
head = int(cross.entropy()[0].mean(-1).argmin())
print(f"{text!r} was read as {answer}; head {head} looks at the fewest letters")
keep(static.heatmap(cross, list(answer), key_tokens=list(text), head=head, numbers=False), "05_alignment")

# %% [markdown]
# Is it an alignment? Count it. When the four digits of the year are written, the weight of each head that falls on the
# year in the source; and the share of letters that the year is, which a head without a preference would give it.

# %%
found = torch.zeros(2, 4)
chance = 0.0
with torch.no_grad():
    for pair in test[:100]:
        at = pair.source.find(pair.target[:4])
        if at < 0:
            continue
        _, weights = model(*encode([pair.source]), begun([pair.target]), need_weights=True)
        for depth in range(2):
            rows = weights[f"decoder.layers.{depth}.cross_attention"][0, :, :4, at : at + 4]  # (heads, 4, 4)
            found[depth] += rows.sum(-1).mean(-1) / 100
        chance += 4 / len(pair.source) / 100
print(f"weight on the year while the year is written, by layer and head:\n{found}\nby chance {chance:.2f}")
assert found.max() > 2 * chance

# %% [markdown]
# The encoder has mixed the letters before the decoder looks. So a weight on the letter "v" is a weight on what the
# encoder made of that place, which may know of the whole word. Heads that look beside the year may read it from there.

# %% [markdown]
# ## Exercise 1. Change this and see
#
# Give the model a date with a month that does not exist, "20 Foober 2026". What does it write, and where does it look?
#
# *Answer.* It writes a date all the same. A network answers always; the picture does not say that it knows nothing.

# %%
strange = "Foober 20, 2026" if SMALL else "20 Foober 2026"
written = model.write([strange])[0]
print(f"{strange!r} was read as {written}")
assert written[4] == written[7] == "-" and written.replace("-", "").isdigit()

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Leave out the cross-attention of the last layer: set its output to 0. How many dates are still right?
#
# *Answer.* Less than half of them: what the first layer brought is not enough.

# %%
off = model.core.decoder.layers[1].cross_attention.output
kept = [p.detach().clone() for p in off.parameters()]
with torch.no_grad():
    for p in off.parameters():
        p.zero_()
without = right(model.write([pair.source for pair in test]))
with torch.no_grad():
    for p, old in zip(off.parameters(), kept, strict=True):
        p.copy_(old)
print(f"with it {reached:.1%}, without it {without:.1%}")
assert without < reached / 2

# %% [markdown]
# ## Exercise 3. Change this and see
#
# Is the decoder's self-attention needed, if the source says everything? Let each letter see only itself:
# `window=(0, 0)`.
#
# *Answer.* It learnt to use what it has written, and fails without.

# %%
with torch.no_grad():
    source, lengths = encode([pair.source for pair in test])
    real = regard.masks.padding(lengths)
    memory = model.core.encoder(model.embed(source), mask=real)
    given = model.embed(begun(truth))
    counts = []
    for window in (None, (0, 0)):
        state = model.core.decoder(given, memory, memory_mask=real, window=window)
        counts.append((model.letter(state).argmax(-1) == encode(truth)[0]).all(-1).float().mean().item())
print(f"right with its past {counts[0]:.1%}, without {counts[1]:.1%}")
assert counts[1] < counts[0]
