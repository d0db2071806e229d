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
# # 8. Linear attention and long sequences
#
# Attention compares each word with each: twice the words, four times the work. Linear attention gives up the softmax,
# and the work grows with the words alone. This page derives it in two lines, measures where it is faster, and shows
# what is lost. Then it looks at the softmax weights of a sequence whose matrix would not fit.
#
# Sources: Katharopoulos et al. 2020, arXiv:2006.16236; Arora et al. 2023, arXiv:2312.04927, for recall as a test; Dao
# et al. 2022, arXiv:2205.14135, for softmax attention without its matrix.

# %%
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import nn

import regard
from regard.linear import LinearState
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
# ## The trick: other brackets
#
# Softmax attention weighs with `exp(q · k)`. Take `φ(q) · φ(k)` instead, with a φ that is never negative (here
# `elu + 1`). The output is `(φ(Q) φ(K)ᵀ) V`, each row divided by its sum. Products of matrices may be bracketed as one
# likes, so the same is `φ(Q) (φ(K)ᵀ V)`: the second bracket is a small square that knows nothing of the length.

# %%
q, k, v = torch.randn(3, 200, 16, dtype=torch.float64)


def phi(x):
    """Return features that are never negative."""
    return F.elu(x) + 1


matrix = phi(q) @ phi(k).T  # (200, 200): grows with the square of the length
slow = matrix @ v / matrix.sum(-1, keepdim=True)
square, total = phi(k).T @ v, phi(k).sum(0)  # (16, 16) and (16,): always the same size
fast = phi(q) @ square / (phi(q) @ total)[:, None]
ours, weights = regard.linear_attention(q, k, v, need_weights=True)
print("largest differences:", (slow - fast).abs().max().item(), (slow - ours).abs().max().item())
assert torch.allclose(slow, fast) and torch.allclose(slow, ours)
assert torch.allclose(weights.dense(), matrix / matrix.sum(-1, keepdim=True))

# %% [markdown]
# ## A text of any length in a state of one size
#
# Read causally, the square is a sum over the words so far. So text can be written with a memory that does not grow.
# A cache of keys and values grows with each word.

# %%
state = LinearState()
steps = [state.update(k[i : i + 1], v[i : i + 1]).read(q[i : i + 1]) for i in range(200)]
causal = regard.linear_attention(q, k, v, causal=True)
print("numbers in the state after 200 words:", state.sums.numel(), " in a cache of keys and values:", 2 * 200 * 16)
assert torch.allclose(torch.cat(steps), causal) and state.sums.numel() == 16 * 17

# %% [markdown]
# ## Time
#
# Forward passes of one head, 32 wide, by the processor's clock; the shortest of three. What counts is the slope: twice
# the length, twice or four times the time.


# %%
def cpu_time(run):
    """Return the processor's seconds for one run, the shortest of three."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)


lengths = [512, 1024, 2048, 4096, 8192] if SMALL else [512, 1024, 2048, 4096, 8192, 16384, 32768]
times = {"softmax": [], "linear": []}
for n in lengths:
    x = torch.randn(3, 1, 1, n, 32)
    times["softmax"].append(cpu_time(lambda: regard.attention(*x)))  # noqa: B023
    times["linear"].append(cpu_time(lambda: regard.linear_attention(*x)))  # noqa: B023
    print(f"{n:6} words   softmax {1e3 * times['softmax'][-1]:8.2f} ms   linear {1e3 * times['linear'][-1]:6.2f} ms")
crossed = next((n for n, a, b in zip(lengths, *times.values(), strict=True) if b < a), None)
print("linear is faster from this length on:", crossed)
growth = {name: row[-1] / row[-3] for name, row in times.items()}
print({name: f"4 x the words, {ratio:.1f} x the time" for name, ratio in growth.items()})
assert growth["softmax"] > 9 and growth["linear"] < 9 and crossed is not None

# %%
figure, panel = plt.subplots(figsize=(5, 3), layout="constrained")
for name, row in times.items():
    panel.loglog(lengths, row, "o-", label=name)
panel.set(xlabel="words", ylabel="seconds")
panel.set_xticks(lengths, [f"{n:,}" for n in lengths], fontsize=7)
panel.minorticks_off()
panel.legend(frameon=False)
keep(figure, "08_time")

# %% [markdown]
# ## What is lost: the same queries and keys, two sets of weights
#
# The softmax can point at one word. A product of positive features is nearly the same for all words, so linear weights
# are spread out. The entropy says how far: `log 64 = 4.16` is a mean over all.

# %%
_ = torch.manual_seed(1)
q, k, v = torch.randn(3, 1, 1, 64, 32)
k[0, 0, 20] = 3 * q[0, 0, 40]  # the query at 40 has one key that fits
softmax = regard.attention(q, k, v, need_weights=True)[1]
linear = regard.linear_attention(q, k, v, need_weights=True)[1]
for name, weights in (("softmax", softmax), ("linear", linear)):
    print(f"{name:8} weight on the key that fits {weights[0, 0, 40, 20]:.2f}, entropy {weights.entropy().mean():.2f}")
assert softmax[0, 0, 40, 20] > 0.9 > 0.2 > linear[0, 0, 40, 20] and linear.entropy().mean() > softmax.entropy().mean()
keep(static.heads_grid({"softmax": softmax, "linear": linear}, title="Same queries, same keys"), "08_weights")

# %% [markdown]
# ## What that costs: looking something up
#
# A text of pairs, a letter and its digit: "c 4 a 9 e 1 …", and at the end a letter again: which digit was it? To answer
# is to look up one place. A model is trained with each kind of attention. Each token of a pair is given as one vector,
# letter and digit together, so that one layer is enough.


# %%
class LookUp(nn.Module):
    """One layer of attention that answers with the digit of a letter."""

    def __init__(self, attend):
        super().__init__()
        self.attend = attend
        self.letter, self.digit = nn.Embedding(32, 32), nn.Embedding(8, 32)
        self.query, self.key, self.value = nn.Linear(32, 8), nn.Linear(32, 8), nn.Linear(32, 32)
        self.answer = nn.Linear(32, 8)

    def forward(self, letters, digits, asked):
        """Return the scores of the digits, and the weights."""
        pair = self.letter(letters) + self.digit(digits)
        heads = (x[:, None] for x in (self.query(self.letter(asked)), self.key(pair), self.value(pair)))
        out, weights = self.attend(*heads, need_weights=True)
        return self.answer(out[:, 0, 0]), weights


def questions(count, pairs):
    """Return texts of pairs whose letters are all different, a letter to ask for, and the answer."""
    letters = torch.rand(count, 32).argsort(-1)[:, :pairs]
    digits = torch.randint(8, (count, pairs))
    place = torch.randint(pairs, (count, 1))
    return letters, digits, letters.gather(1, place), digits.gather(1, place)[:, 0]


results, models = {}, {}
for name, attend in (("softmax", regard.attention), ("linear", regard.linear_attention)):
    torch.manual_seed(0)
    model = models[name] = LookUp(attend)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(400 if SMALL else 1200):
        letters, digits, asked, true = questions(128, 24)
        loss = F.cross_entropy(model(letters, digits, asked)[0], true)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        letters, digits, asked, true = questions(2000, 24)
        results[name] = (model(letters, digits, asked)[0].argmax(-1) == true).float().mean().item()
    print(f"{name:8} looks up the right digit of 24 in {results[name]:.0%} (guessing: {1 / 8:.0%})")
assert results["softmax"] > 0.9 and results["softmax"] - results["linear"] > 0.2

# %% [markdown]
# The state has one size, so it can hold only so much: with more pairs than the head is wide, linear attention mixes
# them up. Wider heads help, and cost what was to be saved.

# %% [markdown]
# ## Long sequences with softmax
#
# The matrix of 16,384 words has 268 million numbers: a gigabyte for each head. It need not exist. A fused kernel never
# stores it, and `need_weights=True` gives a matrix that is computed where you look.

# %%
n = 8_192 if SMALL else 16_384
t = torch.arange(n) / n
x = torch.stack([torch.cos(2 * torch.pi * f * t + 3 * torch.sin(9 * t)) for f in (1, 5, 40, 200)], -1)[None, None] * 3
out, weights = regard.attention(x, x, x, causal=True, need_weights=True)
print(weights)
print("row 8,000 sums to", weights[0, 0, 8000].sum().item())
print("mean number of words that a word looks at:", weights.effective_keys().mean().item())
assert abs(weights[0, 0, 8000].sum().item() - 1) < 1e-4
try:
    weights.dense(max_bytes=2**27)
except regard.errors.TooLargeError as error:
    print(str(error)[:120], "…")

# %% [markdown]
# The whole of it as a picture: each cell is a square of words, and rows still sum to 1. Then a rectangle at full
# sharpness, exactly the numbers that the whole matrix would have there.

# %%
cells = weights.pooled(n // 64)
print(tuple(cells.shape), "row sums", cells.sum(-1).min().item(), "…", cells.sum(-1).max().item())
assert torch.allclose(cells.sum(-1), torch.ones(1, 1, 64), atol=1e-3)
keep(static.heatmap(weights, head=0, scale="log", title=f"{n:,} words"), "08_long")

# %%
part = weights[0, 0, 4000:4064, 3000:3100]
by_hand = (x[0, 0, 4000:4064] @ x[0, 0, :4064].T / 2).double()
by_hand = by_hand.masked_fill(torch.arange(4064) > torch.arange(4000, 4064)[:, None], -torch.inf).softmax(-1)
print("largest difference to the rows computed whole:", (part - by_hand[:, 3000:3100]).abs().max().item())
assert np.allclose(part, by_hand[:, 3000:3100], rtol=1e-3, atol=1e-7)

# %% [markdown]
# ## Exercise 1. Change this and see
#
# Ask the trained models with 8 pairs instead of 24. Which one gains?
#
# *Answer.* Linear attention: the fewer there are, the less is mixed up.

# %%
for name, model in models.items():
    with torch.no_grad():
        letters, digits, asked, true = questions(2000, 8)
        fewer = (model(letters, digits, asked)[0].argmax(-1) == true).float().mean().item()
    print(f"{name:8} 24 pairs {results[name]:.0%}, 8 pairs {fewer:.0%}")
assert fewer > results["linear"] + 0.05

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Give `linear_attention` another φ: `exp(x)` and `exp(-x)` side by side, spikier and twice as wide. How much of its
# weight does the query at 40 give to the key that fits?
#
# *Answer.* Several times as much as with `elu + 1`, and less than the softmax gives.

# %%
spiky = regard.linear_attention(q, k, v, feature_map=lambda x: torch.cat((x.exp(), (-x).exp()), -1), need_weights=True)
found = {name: w[0, 0, 40, 20].item() for name, w in (("elu", linear), ("exp", spiky[1]), ("softmax", softmax))}
print({name: f"{share:.2f}" for name, share in found.items()})
assert 3 * found["elu"] < found["exp"] < found["softmax"]
