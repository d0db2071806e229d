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
# before anything was learnt, and after; and what a plain mean of the words, without attention, cannot learn.
#
# Source: Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762, section 3.2.

# %%
from collections import Counter
from itertools import combinations
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
# It looks as if it said something. It does not: other random numbers draw another picture. In 2,000 further draws,
# "orange" looks most at each of the five words about equally often.

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
# An orange is a fruit or a color. In "orange is my favorite fruit" the last word says which. So let a network say, of
# the **first word**, what kind of thing it is. With one word for a kind in the sentence that would be no task for
# attention: a plain mean of all words holds it too. So each sentence below speaks of two things and holds a word for
# the kind of each. Which of the two counts, only the first word says.

# %%
SENSES = {
    "orange": ["fruit", "color"], "olive": ["fruit", "color"], "peach": ["fruit", "color"],
    "jaguar": ["animal", "car"], "beetle": ["animal", "car"], "mustang": ["animal", "car"],
    "apple": ["fruit", "company"], "amazon": ["river", "company"],
}  # fmt: skip
FORMS = [
    "{} is my favorite {} and {} the {} i like", "{} may be the best {} , {} the best {}",
    "{0} and {2} : a {1} and a {3}", "{0} , unlike {2} the {3} , is a {1}", "{0} is no {3} as {2} is but a {1}",
]  # fmt: skip


def twins(one, other):
    """Return the sentences about two things, each with the kind of its first word, and those with both swapped."""
    return [(form.format(*a, *b).split(), a[1]) for form in FORMS for a, b in ((one, other), (other, one))]


things = [(word, kind) for word, senses in SENSES.items() for kind in senses]
pairs = [  # of two things, such that the kind of neither could be meant by the other word
    (one, other) for one, other in combinations(things, 2)
    if one[1] not in SENSES[other[0]] and other[1] not in SENSES[one[0]]
]  # fmt: skip
test = [twin for pair in pairs[1::5] for twin in twins(*pair)]  # every fifth pair is kept out of training
train = [twin for number, pair in enumerate(pairs) if number % 5 != 1 for twin in twins(*pair)]
words = ["<pad>", *sorted({word for text, _ in train for word in text})]
kinds = sorted({kind for _, kind in train})
print(f"{len(train)} sentences to learn from, {len(words)} words, kinds: {', '.join(kinds)}; two that are kept out:")
for text, kind in test[:2]:
    print(f"   {' '.join(text)}: {kind}")
assert sorted(test[0][0]) == sorted(test[1][0]) and test[0][1] != test[1][1]


def encode(texts):
    """Return the sentences as numbers (N, longest), and their lengths."""
    rows = [torch.tensor([words.index(word) for word in text]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


# %% [markdown]
# The two sentences printed last are twins: the same words, in another order, with another answer. Whoever takes the
# plain mean of the words gets the same for both, and can be right on one of them at most.
#
# The network is what was computed by hand, with numbers that can be learnt: vectors for the words, `Wq`, `Wk`, `Wv`,
# and a last matrix that reads the kind from the output of the first word. The padding that fills up short sentences is
# hidden by a mask. Beside it stands the same network with its queries set to zero. All its scores are 0, all words get
# the same weight, and its output is the plain mean of the values.


# %%
class Reader(nn.Module):
    """One head of attention that says what the first word is; or, uniform, a plain mean in place of attention."""

    def __init__(self, uniform=False):
        super().__init__()
        self.uniform = uniform
        self.X = nn.Embedding(len(words), 16)
        self.Wq, self.Wk, self.Wv = (nn.Linear(16, 16, bias=False) for _ in range(3))
        self.kind = nn.Linear(16, len(kinds))

    def forward(self, numbers, lengths):
        """Return the scores of the kinds, and the attention weights."""
        x = self.X(numbers)
        q, k, v = (w(x)[:, None] for w in (self.Wq, self.Wk, self.Wv))  # (N, 1 head, words, 16)
        if self.uniform:
            q = torch.zeros_like(q)
        mask = regard.masks.padding(lengths)
        out, weights = regard.attention(q, k, v, mask=mask, need_weights=True)
        return self.kind(out[:, 0, 0]), weights


def learn(reader):
    """Train on all sentences at once, 200 times; return the loss."""
    numbers, lengths = encode([text for text, _ in train])
    answers = torch.tensor([kinds.index(kind) for _, kind in train])
    # The decay keeps the numbers small, without which some seeds learn some sentences by heart.
    optimizer = torch.optim.AdamW(reader.parameters(), lr=0.01, weight_decay=0.3)
    for _ in range(200):
        loss = F.cross_entropy(reader(numbers, lengths)[0], answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def share_right(reader, examples):
    """Return the share of (sentence, kind) for which the network says the kind."""
    with torch.no_grad():
        found = reader(*encode([text for text, _ in examples]))[0].argmax(-1)
    return np.mean([kinds[i] == kind for i, (_, kind) in zip(found, examples, strict=True)])


torch.manual_seed(0)
reader, mean = Reader(), Reader(uniform=True)
_, before = reader(*encode([sentence]))
losses = {"attention": learn(reader), "plain mean": learn(mean)}
right = {"attention": share_right(reader, test), "plain mean": share_right(mean, test)}
for name in losses:
    print(f"{name:10}  loss {losses[name]:.3f}, right on {right[name]:.0%} of {len(test)} sentences kept out")
assert losses["attention"] < 0.1 and right["attention"] > 0.9
assert losses["plain mean"] > np.log(2) - 1e-3 and right["plain mean"] < 0.6  # it fails, as it must

# %% [markdown]
# The plain mean does not get below a loss of `log 2 = 0.693`, and longer training would not help: of two answers to
# the same words, the best that it can say is "one or the other". What the first word needs is a mean of its own, and
# that is what attention is for. (A network that is given the first word once more, beside the plain mean, could compare
# the two in a further layer. Attention does it in one step, and shows where it looked.)
#
# ## What trained weights mean
#
# Twins, neither of them seen in training. The row of the first word points at the word that tells its kind, and not at
# the other one.

# %%
for text, kind in test[:2]:
    with torch.no_grad():
        found, weights = reader(*encode([text]))
    print(f"{kinds[found.argmax()]:6}", ", ".join(f"{w} {x:.2f}" for w, x in zip(text, weights[0, 0, 0], strict=True)))
    assert kinds[found.argmax()] == kind == text[int(weights.peak().indices[0, 0, 0])]
title = "Trained: the first row has work to do"
keep(static.heatmap(weights.head(0, 0), text, title=title, numbers=False), "01_trained")

# %% [markdown]
# The sentence of the beginning, with one word for a kind, is of a form that training did not have. It is understood
# too.

# %%
with torch.no_grad():
    found, after = reader(*encode([sentence]))
verdict = dict(zip(kinds, found.softmax(-1)[0].tolist(), strict=True))
print({kind: f"{share:.1%}" for kind, share in verdict.items()})
print("weight of orange -> fruit:", f"before {before[0, 0, 0, 4].item():.2f}, after {after[0, 0, 0, 4].item():.2f}")
assert max(verdict, key=verdict.get) == "fruit" and int(after.peak().indices[0, 0, 0]) == 4

# %% [markdown]
# Whether a weight means something can be checked by taking the word away. Here for all sentences that were kept out:
# how often is the answer still right without the word that tells, and without the word for the other kind?

# %%
without = {"that tells": [], "for the other kind": []}
for text, kind in test:
    (rival,) = {word for word in text if word in kinds} - {kind}
    for what, gone in zip(without, (kind, rival), strict=True):
        without[what].append(([word for word in text if word != gone], kind))
kept = {what: share_right(reader, examples) for what, examples in without.items()}
for what, share in kept.items():
    print(f"without the word {what}: {share:.0%} right")
largest = [(text[0], text[int(reader(*encode([text]))[1].peak().indices[0, 0, 0])], kind) for text, kind in test]
elsewhere = Counter(f"{word}, a {kind}: {looked!r}" for word, looked, kind in largest if looked != kind)
print(f"the word that tells has the largest weight in {1 - elsewhere.total() / len(test):.0%} of the sentences")
print("elsewhere it lies on:", dict(elsewhere))
assert kept["for the other kind"] > kept["that tells"] + 0.3 and elsewhere.total() < 0.4 * len(test)

# %% [markdown]
# So the weights mean what they seem to mean, mostly. Not always: without the word that tells, some answers are still
# right, and in some sentences the largest weight lies on a word that says nothing. A network may learn "an amazon is a
# river, unless a company is named". It then looks for "company", finds none, and where its weights lie instead does not
# matter.

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
