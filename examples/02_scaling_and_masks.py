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
# # 2. Scaling and masks
#
# The same attention on tensors: why the scores are divided by a root, how to say which word may look at which, and how
# to notice that a mask does the opposite of what was meant.
#
# Source: Vaswani et al. 2017, arXiv:1706.03762, sections 3.2.1 and 3.2.3.

# %%
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import nn

import regard
from regard import masks
from regard.layers import EncoderLayer, SinusoidalEncoding
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
# ## Three lines
#
# `@` is the matrix product, `.mT` swaps the last two dimensions. Dimensions in front are batches: here 2 sentences with
# 4 heads, 6 words of width 16.

# %%
q, k, v = torch.randn(3, 2, 4, 6, 16)  # each (batch, heads, words, width)
scores = q @ k.mT / 16**0.5
weights = scores.softmax(-1)
output = weights @ v

same, lazy = regard.attention(q, k, v, need_weights=True)
print(tuple(output.shape), "largest difference:", (output - same).abs().max().item())
assert torch.allclose(output, same, atol=1e-6) and torch.allclose(weights, lazy.dense(), atol=1e-6)

# %% [markdown]
# `lazy` behaves like the matrix of weights, and computes only what is asked for. For 6 words that is no matter; for
# 16,384 words the matrix of one head would take a gigabyte (tutorial 8).

# %%
print(lazy)
print(lazy[0, 3, 5], lazy[0, 3, 5].sum().item())

# %% [markdown]
# ## Why the root
#
# A score is a sum of E products. If the numbers are independent with deviation 1, a sum of E of them has deviation √E:
# wide heads have large scores. The softmax then gives nearly everything to one word, and where it does, its slope is
# nearly 0, so nothing is learnt. Dividing by √E keeps the deviation at 1, whatever the width.

# %%
widths = [4, 16, 64, 256]
table = []
for width in widths:
    q, k = torch.randn(2, 1000, width), torch.randn(2, 32, width)
    row = [width, (q @ k.mT).std().item()]
    for scale in (1.0, width**-0.5):
        scores = (q @ k.mT * scale).requires_grad_()
        entropy = torch.special.entr(scores.softmax(-1)).sum(-1).mean()
        chosen = scores.softmax(-1)[..., 0].sum()  # how much the first word gets
        slope = torch.autograd.grad(chosen, scores)[0].norm(dim=-1).mean()
        row += [entropy.item(), slope.item()]
    table.append(row)
print("width  deviation (√E)   unscaled: entropy, slope   scaled: entropy, slope")
for width, spread, *rest in table:
    print(f"{width:5} {spread:7.2f} ({width**0.5:4.1f}) {rest[0]:16.2f} {rest[1]:8.4f} {rest[2]:13.2f} {rest[3]:8.4f}")
found = np.array(table)
assert np.allclose(found[:, 1], np.sqrt(widths), rtol=0.05)  # the deviation is √E
assert found[-1, 2] < 0.5 < 2.5 < found[-1, 4] < np.log(32)  # unscaled: all on one word; scaled: spread out
assert found[-1, 5] > 2 * found[-1, 3]  # and the slope is left

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for panel, column, what in ((left, 2, "entropy of a row (nats)"), (right, 3, "slope of a weight")):
    panel.plot(widths, found[:, column], "o-", label="Q Kᵀ")
    panel.plot(widths, found[:, column + 2], "s-", label="Q Kᵀ / √E")
    panel.set(xscale="log", xlabel="width of a head, E", ylabel=what, ylim=(0, None))
    panel.legend(frameon=False)
keep(figure, "02_scaling")

# %% [markdown]
# ## Masks
#
# A mask says which words a word may look at. In regard **True means "may look"**, masks are written without sizes, and
# `&` joins them: what one of them hides is hidden. Grey cells are hidden; the rest of each row still sums to 1.

# %%
words = "the cat sat on the mat and slept".split()
q, k, v = torch.randn(3, 1, 1, 8, 16)
kinds = {
    "causal()": masks.causal(),
    "window(2, 2)": masks.window(2, 2),
    "padding([6])": masks.padding([6]),
    "documents([5, 3])": masks.documents([5, 3]),
    "prefix(3)": masks.prefix(3),
    "causal() & window(2, None)": masks.causal() & masks.window(2, None),
}
seen = {name: regard.attention(q, k, v, mask=mask, need_weights=True)[1] for name, mask in kinds.items()}
for name, weights in seen.items():
    print(f"{name:27} keys that each word may see: {weights.visible_keys()[0, 0].tolist()}")
    assert torch.allclose(weights.dense().sum(-1), torch.ones(1, 1, 8))
keep(static.heads_grid(seen, words, title="Six masks"), "02_masks")

# %% [markdown]
# A mask is the same as adding minus infinity to the scores of hidden pairs: `exp` makes 0 of it.

# %%
scores = (q @ k.mT / 4).masked_fill(~torch.ones(8, 8).tril().bool(), -torch.inf)
assert torch.allclose(scores.softmax(-1) @ v, regard.attention(q, k, v, causal=True), atol=1e-6)

# %% [markdown]
# ## A mask that is wrong
#
# Nothing fails when a mask is wrong: the shapes fit and the numbers look like numbers. There are three common mistakes.
#
# **1. True and False exchanged.** In `F.scaled_dot_product_attention` and here True means "may look"; in
# `nn.MultiheadAttention` it means "hidden". The picture shows it at once: the past is grey, and the words look ahead.

# %%
past = torch.ones(8, 8).tril().bool()
_, wrong = regard.attention(q, k, v, mask=~past, need_weights=True)
keep(static.heatmap(wrong.head(0, 0), words, title="Meant to be causal"), "02_wrong")

# %% [markdown]
# A test that needs no picture: **change the last word, and nothing before it may change.**


# %%
def looks_ahead(attend):
    """Return whether a change of the last key and value changes the outputs before it."""
    k2, v2 = k.clone(), v.clone()
    k2[..., -1, :] += 1.0
    v2[..., -1, :] += 1.0
    return not torch.equal(attend(q, k, v)[..., :-1, :], attend(q, k2, v2)[..., :-1, :])


print("causal=True:", looks_ahead(lambda *qkv: regard.attention(*qkv, causal=True)))
print("mask=~past: ", looks_ahead(lambda *qkv: regard.attention(*qkv, mask=~past)))
assert not looks_ahead(lambda *qkv: regard.attention(*qkv, causal=True))
assert looks_ahead(lambda *qkv: regard.attention(*qkv, mask=~past))

# %% [markdown]
# **2. Padding that is not hidden.** Short sentences are filled up, and the filling takes its share of the attention.
# How much, says `received`: the sum of each column.

# %%
lengths = torch.tensor([3])
for mask in (None, masks.padding(lengths)):
    _, weights = regard.attention(q, k, v, mask=mask, need_weights=True)
    to_padding = weights.received()[0, 0, 3:].sum().item() / weights.received().sum().item()
    print(f"mask={mask}: {to_padding:.0%} of the attention goes to padding")
    assert (to_padding > 0.3) == (mask is None)

# %% [markdown]
# **3. The wrong corner.** With fewer queries than keys, as when text is written word by word, "causal" has two
# meanings. Here the last query stands on the last key and sees all. `is_causal` of PyTorch puts the first query on the
# first key: the new word then sees the oldest word and nothing else.

# %%
last = q[:, :, -1:]
ours = regard.attention(last, k, v, causal=True, need_weights=True)[1]
theirs = F.scaled_dot_product_attention(last, k, v, is_causal=True)
print("regard: the new word sees", ours.visible_keys().item(), "words")
print("PyTorch: its output is the value of word 0:", torch.allclose(theirs[0, 0, 0], v[0, 0, 0]))
assert ours.visible_keys().item() == 8 and torch.allclose(theirs[0, 0, 0], v[0, 0, 0])

# %% [markdown]
# ## What a wrong mask does to training
#
# Letters drawn by dice cannot be foretold: with 8 letters no model of the next letter can do better than
# `log 8 = 2.08`. A model that does has seen the answer.


# %%
class NextLetter(nn.Module):
    """One layer that says which letter comes next."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(8, 32), SinusoidalEncoding(32)
        self.layer = EncoderLayer(32, 2, norm_first=True, dropout=0.0)
        self.next = nn.Linear(32, 8)

    def forward(self, letters, mask):
        """Return the scores of the next letter at each place."""
        return self.next(self.layer(self.place(self.embed(letters)), mask=mask))


losses = {}
for name, mask in {"causal": masks.causal(), "forgotten": masks.Mask()}.items():
    torch.manual_seed(0)
    model = NextLetter()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses[name] = []
    for _ in range(200 if SMALL else 400):
        letters = torch.randint(8, (64, 17))
        loss = F.cross_entropy(model(letters[:, :-1], mask).flatten(0, 1), letters[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[name].append(loss.item())
    print(f"{name:10} loss at the end {np.mean(losses[name][-20:]):.2f} (log 8 = {np.log(8):.2f})")
assert np.mean(losses["causal"][-20:]) > 2.05 and np.mean(losses["forgotten"][-20:]) < 1.0

# %%
figure, panel = plt.subplots(figsize=(5, 2.8), layout="constrained")
for name, values in losses.items():
    panel.plot(values, label=f"mask {name}")
panel.axhline(np.log(8), color="grey", linestyle=":", label="log 8: the best that is possible")
panel.set(xlabel="step", ylabel="loss (nats)", ylim=(0, None))
panel.legend(frameon=False)
keep(figure, "02_too_good")

# %% [markdown]
# ## Exercise 1. Change this and see
#
# Write a mask for two documents of 5 and 3 words, packed into one sequence, each read causally. How many pairs are
# left of 64?
#
# *Answer.* Join the two; a causal square of n words has n (n + 1) / 2 pairs: 15 + 6.

# %%
packed = (masks.documents([5, 3]) & masks.causal()).to_dense(8, 8)
print(packed.int()[0, 0])
assert packed.sum() == 15 + 6

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Hide everything from one word. What is its output, here and in PyTorch?
#
# *Answer.* The mean of nothing. Here it is 0, and so is the gradient. A softmax written by hand divides 0 by 0.

# %%
nothing = torch.ones(8, 8, dtype=torch.bool)
nothing[2] = False
by_hand = (q @ k.mT / 4).masked_fill(~nothing, -torch.inf).softmax(-1) @ v
ours = regard.attention(q, k, v, mask=nothing)
print("regard:", ours[0, 0, 2, :3], "by hand:", by_hand[0, 0, 2, :3])
assert (ours[0, 0, 2] == 0).all() and by_hand[0, 0, 2].isnan().all()
