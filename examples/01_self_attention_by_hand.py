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
# # 1. Self-attention by hand
#
# Attention is a weighted mean. Each word of a sentence asks every word of the sentence "how much do you concern me?",
# and takes the mean of what they offer, weighted by the answers. This page computes it with NumPy for the five words
# "orange is my favorite fruit", checks each number against `regard.attention`, and then asks what the weights mean:
# before anything was learnt, and after.
#
# Source: Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762, section 3.2.

# %%
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import nn

import regard
from regard.viewer import static

PICTURES = Path("runs/tutorials")
PICTURES.mkdir(parents=True, exist_ok=True)


def keep(figure, name):
    """Save a picture; a notebook also shows it, because it is what the cell ends with."""
    figure.savefig(PICTURES / f"{name}.png", dpi=120)
    plt.close(figure)
    return figure


# %% [markdown]
# ## Words as vectors
#
# A network knows a word as a vector of numbers. Nothing is learnt yet, so the vectors are random: a row of `X` for each
# word, eight numbers wide.

# %%
sentence = "orange is my favorite fruit".split()
random = np.random.default_rng(0)
X = random.normal(size=(5, 8))  # (words, width)
print(X.round(1))

# %% [markdown]
# ## Query, key, value
#
# Three matrices turn each word into three vectors: a **query** (what it asks), a **key** (what it answers to) and a
# **value** (what it offers). They are what a network learns. Here they are random too.

# %%
Wq, Wk, Wv = random.normal(size=(3, 8, 4)) / np.sqrt(8)
Q, K, V = X @ Wq, X @ Wk, X @ Wv  # (words, 4) each
print(Q.shape, K.shape, V.shape)

# %% [markdown]
# ## Scores, weights, output
#
# The score of a pair of words is the product of the query of one and the key of the other, divided by the root of the
# width (the next tutorial shows why). A softmax makes each row of scores into weights: none is negative, and a row sums
# to 1. The output of a word is the mean of all values, with the weights of its row.

# %%
scores = Q @ K.T / np.sqrt(4)  # (words, words)
weights = np.exp(scores - scores.max(-1, keepdims=True))
weights /= weights.sum(-1, keepdims=True)
output = weights @ V  # (words, 4)

print(weights.round(2))
assert (weights >= 0).all() and np.allclose(weights.sum(-1), 1)

# %% [markdown]
# That is all of it: five lines. `regard.attention` computes the same, here to the last digits of float64.

# %%
q, k, v = (torch.from_numpy(array) for array in (Q, K, V))
same, lazy = regard.attention(q, k, v, need_weights=True)
print("largest difference of an output:", np.abs(same.numpy() - output).max())
print("largest difference of a weight: ", np.abs(lazy.numpy() - weights).max())
assert np.allclose(same, output, atol=1e-12) and np.allclose(lazy, weights, atol=1e-12)

# %% [markdown]
# ## What untrained weights mean
#
# A row belongs to the word that asks, a column to the word that is looked at.

# %%
keep(static.heatmap(lazy, sentence, title="Untrained: drawn by chance"), "01_untrained")

# %% [markdown]
# It looks as if it said something. It does not: another seed draws another picture. With 2,000 other seeds, "orange"
# looks most at each of the five words about equally often.

# %%
favourite = np.zeros(5, int)
for _ in range(2000):
    X_, Wq_, Wk_ = random.normal(size=(5, 8)), *random.normal(size=(2, 8, 4)) / np.sqrt(8)
    favourite[((X_ @ Wq_)[0] @ (X_ @ Wk_).T).argmax()] += 1
print({word: f"{share:.0%}" for word, share in zip(sentence, favourite / 2000, strict=True)})
assert (favourite / 2000 > 0.14).all() and (favourite / 2000 < 0.27).all()

# %% [markdown]
# ## Something to learn
#
# An orange is a fruit or a colour. In "orange is my favorite fruit" the last word says which. So let a network say, of
# the **first word**, what kind of thing it is, in sentences made from the lists below. It must find the word that
# tells, wherever that stands, and this is what attention is for. The sentence above is kept out of training.

# %%
SENSES = {
    "orange": ["fruit", "color"], "olive": ["fruit", "color"], "peach": ["fruit", "color"],
    "jaguar": ["animal", "car"], "beetle": ["animal", "car"], "mustang": ["animal", "car"],
    "apple": ["fruit", "company"], "amazon": ["river", "company"],
}  # fmt: skip
FORMS = [
    "{word} is my favorite {kind}", "{word} is the {kind} i like", "{word} : a {kind} for my friends",
    "{word} , what a {kind}", "{word} may be the best {kind} of all",
]  # fmt: skip
made = [
    (form.format(word=word, kind=kind).split(), kind)
    for word, kinds in SENSES.items()
    for kind in kinds
    for form in FORMS
]
train = [pair for pair in made if pair[0] != sentence]
words = ["<pad>", *sorted({word for text, _ in made for word in text})]
kinds = sorted({kind for _, kind in made})
print(f"{len(train)} sentences to learn from, {len(words)} words, kinds: {', '.join(kinds)}")


def encode(texts):
    """Return the sentences as numbers (N, longest), and their lengths."""
    rows = [torch.tensor([words.index(word) for word in text]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


# %% [markdown]
# The network is what was computed by hand, with numbers that can be learnt: vectors for the words, `Wq`, `Wk`, `Wv`,
# and a last matrix that reads the kind from the output of the first word. The padding that fills up short sentences is
# hidden by a mask.


# %%
class Reader(nn.Module):
    """One head of attention that says what the first word is."""

    def __init__(self):
        super().__init__()
        self.X = nn.Embedding(len(words), 16)
        self.Wq, self.Wk, self.Wv = (nn.Linear(16, 16, bias=False) for _ in range(3))
        self.kind = nn.Linear(16, len(kinds))

    def forward(self, numbers, lengths):
        """Return the scores of the kinds, and the attention weights."""
        x = self.X(numbers)
        q, k, v = (w(x)[:, None] for w in (self.Wq, self.Wk, self.Wv))  # (N, 1 head, words, 16)
        mask = regard.masks.padding(lengths)
        out, weights = regard.attention(q, k, v, mask=mask, need_weights=True)
        return self.kind(out[:, 0, 0]), weights


torch.manual_seed(0)
reader = Reader()
numbers, lengths = encode([text for text, _ in train])
answers = torch.tensor([kinds.index(kind) for _, kind in train])
_, before = reader(*encode([sentence]))
optimizer = torch.optim.Adam(reader.parameters(), lr=0.01)
for _ in range(150):
    loss = F.cross_entropy(reader(numbers, lengths)[0], answers)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.4f}")

# %% [markdown]
# ## What trained weights mean
#
# The sentence that was never seen is understood, and the row of "orange" now points at the word that tells.

# %%
with torch.no_grad():
    found, after = reader(*encode([sentence]))
verdict = dict(zip(kinds, found.softmax(-1)[0].tolist(), strict=True))
print({kind: f"{share:.1%}" for kind, share in verdict.items()})
print("weight of orange -> fruit:", f"before {before[0, 0, 0, 4].item():.2f}, after {after[0, 0, 0, 4].item():.2f}")
assert max(verdict, key=verdict.get) == "fruit" and int(after.peak().indices[0, 0, 0]) == 4
keep(static.heatmap(after.head(0, 0), sentence, title="Trained: the first row has work to do"), "01_trained")

# %% [markdown]
# Now the weight means something, and that can be checked by taking the word away. Without "fruit" the sentence does
# not say what an orange is, and "fruit" is no longer the answer. What is said instead is a guess: no sentence of this
# kind was ever learnt from, so a high number there means nothing.

# %%
with torch.no_grad():
    without = reader(*encode([sentence[:4]]))[0].softmax(-1)[0]
print("without the last word:", {kind: f"{share:.1%}" for kind, share in zip(kinds, without.tolist(), strict=True)})
assert without[kinds.index("fruit")] < 0.5

# %% [markdown]
# One warning that holds for every picture of attention. The loss asked for the first word only, so only the first row
# was trained for a purpose. The other rows were never used: change what they hold, and the answer stays the same.

# %%
with torch.no_grad():
    numbers, lengths = encode([sentence])
    x = reader.X(numbers)
    q, k, v = (w(x)[:, None] for w in (reader.Wq, reader.Wk, reader.Wv))
    q[:, :, 1:] = torch.randn_like(q[:, :, 1:])  # the queries of "is my favorite fruit", replaced by noise
    again = reader.kind(regard.attention(q, k, v)[:, 0, 0])
print("change of the answer:", (again - found).abs().max().item())
assert torch.allclose(again, found, atol=1e-6)

# %% [markdown]
# ## Exercise 1. Change this and see
#
# Multiply `Wq` by 10 in the untrained sentence. What becomes of the weights? Guess first.
#
# *Answer.* The scores are ten times as large, and the softmax of large scores is nearly all or nothing. The entropy of
# a row says it in one number: `log 5 = 1.61` if all words get the same, 0 if one gets everything.

# %%
q, k, v = (torch.from_numpy(array) for array in (Q, K, V))
entropies = []
for factor in (0, 1, 10):
    _, sharper = regard.attention(factor * q, k, v, need_weights=True)
    entropies.append(sharper.entropy().mean().item())
    print(f"Wq x {factor:2}: entropy of each row {sharper.entropy().numpy().round(2)}")
assert np.isclose(entropies[0], np.log(5)) and entropies[0] > entropies[1] > 2 * entropies[2]

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Shuffle the words. Does the output of "orange" change?
#
# *Answer.* No. A weighted mean does not know an order: attention sees a set of words. Tutorial 4 tells it where words
# stand.

# %%
order = [3, 0, 4, 2, 1]
shuffled = regard.attention(q[order], k[order], v[order])
print([sentence[i] for i in order], "orange:", shuffled[1].numpy().round(3), "as before:", output[0].round(3))
assert np.allclose(shuffled[1], output[0])

# %% [markdown]
# ## Exercise 3. Change this and see
#
# Give the trained network "orange is my favorite color", and then a sentence with both words.
#
# *Answer.* The verdict follows the word that tells. With two of them the weights are shared out, and the larger share
# decides here.

# %%
for text in ("orange is my favorite color", "orange the fruit is my favorite color"):
    with torch.no_grad():
        found, weights = reader(*encode([text.split()]))
    row = weights[0, 0, 0]
    print(f"{kinds[found.argmax()]:6}", ", ".join(f"{w} {x:.2f}" for w, x in zip(text.split(), row, strict=True)))
    assert kinds[found.argmax()] == text.split()[row.argmax()]
