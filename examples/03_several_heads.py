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
# # 3. Several heads
#
# One row of weights can point at one thing well, at two things badly. So a layer has several heads: each with its own
# queries, keys and values, each with its own picture. This page splits, attends and combines by hand, shows what a
# second head is good for, and looks at what the biases do (one of them nothing) and at heads that share their keys.
#
# Sources: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2; Shazeer 2019, arXiv:1911.02150, and Ainslie et al.
# 2023, arXiv:2305.13245, for shared keys.

# %%
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import nn

import regard
from regard.layers import MultiHeadAttention, RelativeBias
from regard.viewer import static

PICTURES = Path("runs/tutorials")
PICTURES.mkdir(parents=True, exist_ok=True)
_ = torch.manual_seed(0)


def keep(figure, name):
    """Save a picture; a notebook also shows it, because it is what the cell ends with."""
    figure.savefig(PICTURES / f"{name}.png", dpi=120)
    plt.close(figure)
    return figure


# %% [markdown]
# ## Split, attend, combine
#
# A layer 32 wide with 4 heads: one matrix makes queries, keys and values for all heads at once. **Split** cuts the 32
# numbers into 4 heads of 8. **Attend** runs in each head alone. **Combine** puts the heads side by side again and mixes
# them by one more matrix.

# %%
layer = MultiHeadAttention(32, 4).eval()
x = torch.randn(2, 6, 32)  # (sentences, words, width)
with torch.no_grad():
    q, k, v = layer.query_key_value(x).chunk(3, -1)  # (2, 6, 32) each
    q, k, v = (t.unflatten(-1, (4, 8)).transpose(1, 2) for t in (q, k, v))  # (2, 4 heads, 6, 8)
    heads = (q @ k.mT / 8**0.5).softmax(-1) @ v  # (2, 4, 6, 8)
    combined = layer.output(heads.transpose(1, 2).flatten(-2))  # (2, 6, 32)
    out, weights = layer(x, need_weights=True)
print("largest difference:", (combined - out).abs().max().item(), " weights:", weights.shape)
assert torch.allclose(combined, out, atol=1e-5)

# %% [markdown]
# Four heads of 8 cost as much as one head of 32: the matrices are of one size.

# %%
sizes = {n: sum(p.numel() for p in MultiHeadAttention(32, n).parameters()) for n in (1, 2, 4, 8)}
print("numbers to learn, by heads:", sizes)
assert len(set(sizes.values())) == 1

# %% [markdown]
# ## What a second head is good for
#
# A task with two questions: at each place of a row of random letters, say the letter **one** place before, and the
# letter **four** places before. One head has one row of weights for both questions: it can mix the two letters, and in
# the mixture it is lost which was which. Two heads can look at one place each.


# %%
class TwoQuestions(nn.Module):
    """One layer of attention, and a linear map for each question."""

    def __init__(self, num_heads):
        super().__init__()
        self.embed = nn.Embedding(16, 16)
        # Scores by distance are learnt (tutorial 4); they start at 0.
        self.attention = MultiHeadAttention(16, num_heads, position=RelativeBias(num_heads))
        self.one, self.four = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, letters):
        """Return the scores for both questions, and the weights."""
        out, weights = self.attention(self.embed(letters), need_weights=True)
        return self.one(out), self.four(out), weights


def right(model, letters):
    """Return the share of right answers to each question."""
    one, four, _ = model(letters)
    pairs = ((one[:, 4:], letters[:, 3:-1]), (four[:, 4:], letters[:, :-4]))
    return [(scores.argmax(-1) == true).float().mean().item() for scores, true in pairs]


def train(num_heads, seed=0):
    """Return a trained model."""
    torch.manual_seed(seed)
    model = TwoQuestions(num_heads)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(400):
        letters = torch.randint(16, (64, 12))
        one, four, _ = model(letters)
        loss = F.cross_entropy(one[:, 4:].flatten(0, 1), letters[:, 3:-1].flatten())
        loss = loss + F.cross_entropy(four[:, 4:].flatten(0, 1), letters[:, :-4].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


models = {num_heads: train(num_heads) for num_heads in (1, 2)}
letters = torch.randint(16, (500, 12))
results = {num_heads: right(model, letters) for num_heads, model in models.items()}
for num_heads, (one, four) in results.items():
    print(f"{num_heads} head(s): right about 'one before' {one:.0%}, about 'four before' {four:.0%}")
assert min(results[2]) > 0.95 and sum(results[1]) / 2 < 0.8

# %% [markdown]
# ## What the heads see
#
# Each head has taken mainly one question. Read a row: the query is the place that asks. The first four rows were never
# asked anything.

# %%
text = "hcapgefdmokb"
numbers = torch.tensor([["abcdefghijklmnop".index(letter) for letter in text]])
weights = models[2](numbers)[2].detach()
keep(static.heads_grid(weights, list(text), title="Two heads, two questions"), "03_heads")

# %% [markdown]
# The picture as two numbers: how much of each head's attention goes one place back, and four.

# %%
nearest, farther = (weights.dense()[0].diagonal(-distance, -2, -1)[:, -8:].mean(-1) for distance in (1, 4))
print("one back: ", nearest, "\nfour back:", farther)
assert nearest.argmax() != farther.argmax() and nearest.max() > 0.6 and farther.max() > 0.6

# %% [markdown]
# ## Does the output need both? Take one away
#
# A picture says where a head looks, not what it is worth. That is found by removing it: set the columns of the output
# matrix that belong to the head to 0.

# %%
for head in range(2):
    model = TwoQuestions(2)
    model.load_state_dict(models[2].state_dict())
    with torch.no_grad():
        model.attention.output.weight[:, 8 * head : 8 * (head + 1)] = 0
        scores = right(model, letters)
    print(f"without head {head}: one before {scores[0]:.0%}, four before {scores[1]:.0%}")
    lost = "one before" if scores[0] < scores[1] else "four before"
    assert min(scores) < 0.5 and lost == ("one before" if nearest.argmax() == head else "four before")

# %% [markdown]
# ## Bias or none
#
# The maps to queries, keys and values may add a constant vector. That of the **keys does nothing**: it adds the same
# number, query times bias, to every score of a row, and a softmax does not see what all scores have in common. That of
# the **values** passes unchanged into the output, because the weights of a row sum to 1. Only that of the **queries**
# changes the weights.


# %%
def moved(part):
    """Return how far weights and output move when the bias of queries (0), keys (1) or values (2) is changed."""
    other = MultiHeadAttention(32, 4).eval()
    other.load_state_dict(layer.state_dict())
    with torch.no_grad():
        other.query_key_value.bias[32 * part : 32 * (part + 1)] += 1.0
        new, new_weights = other(x, need_weights=True)
        before, old_weights = layer(x, need_weights=True)
    return (new_weights.dense() - old_weights.dense()).abs().max().item(), (new - before).abs().max().item()


changes = {name: moved(part) for part, name in enumerate(("query", "key", "value"))}
for name, (of_weights, of_output) in changes.items():
    print(f"bias of the {name:5}: weights change by {of_weights:.1e}, the output by {of_output:.1e}")
assert max(changes["key"]) < 1e-5 < 1e-2 < min(changes["query"])
assert changes["value"][0] < 1e-6 < 0.1 < changes["value"][1]

# %% [markdown]
# Many newer models have no biases at all (`bias=False`). In a layer as wide as this they are few numbers:

# %%
bare = sum(p.numel() for p in MultiHeadAttention(32, 4, bias=False).parameters())
print(f"{sizes[4]:,} numbers with biases, {bare:,} without")
assert sizes[4] - bare == 4 * 32

# %% [markdown]
# ## Grouped heads
#
# When text is written word by word, keys and values of all words so far are kept. With `num_kv_heads=2` four query
# heads share two heads of keys and values: half the memory. Query head `h` reads key head `h // 2`; sharing is the same
# as repeating.

# %%
grouped = MultiHeadAttention(32, 4, num_kv_heads=2).eval()
with torch.no_grad():
    q, k, v = grouped.query_key_value(x).split((32, 16, 16), -1)
    q, k, v = (t.unflatten(-1, (-1, 8)).transpose(1, 2) for t in (q, k, v))
    shared = regard.attention(q, k, v)
    repeated = regard.attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))
print("queries", tuple(q.shape), "keys", tuple(k.shape), "difference", (shared - repeated).abs().max().item())
assert torch.allclose(shared, repeated, atol=1e-6)
for num_kv_heads in (4, 2, 1):
    print(f"num_kv_heads={num_kv_heads}: {2 * num_kv_heads * 8} numbers to keep for each word and layer")

# %% [markdown]
# ## Exercise 1. Change this and see
#
# Renumber the heads of the trained layer. Does anything change?
#
# *Answer.* Not if the output matrix is renumbered too. "Head 3" means nothing by itself: it is a name, and training
# with another seed gives the names to other heads.

# %%
order = [2, 0, 3, 1]
rows = torch.arange(32).unflatten(0, (4, 8))[order].flatten()
other = MultiHeadAttention(32, 4).eval()
with torch.no_grad():
    for name in ("weight", "bias"):
        old = getattr(layer.query_key_value, name)
        getattr(other.query_key_value, name).copy_(torch.cat([part[rows] for part in old.chunk(3)]))
    other.output.weight.copy_(layer.output.weight[:, rows])
    other.output.bias.copy_(layer.output.bias)
    print("change of the output:", (other(x) - layer(x)).abs().max().item())
    assert torch.allclose(other(x), layer(x), atol=1e-5)

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Give the model of two questions four heads, 4 wide each. What do the two heads do that are not needed?
#
# *Answer.* It depends on the seed: they help with a question, or look somewhere and are not listened to. So a blurred
# head is not a fault by itself. How concentrated each head is, says the entropy of its rows.

# %%
model = train(4, seed=1)
print("right answers:", right(model, letters))
print("entropy of each head:", model(letters)[2].detach().entropy()[:, :, 4:].mean((0, 2)))
assert min(right(model, letters)) > 0.95
