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
# # 4. Positions
#
# Attention sees a set: shuffle the words, and every word gets what it got before. So a model is told where words stand,
# in one of five ways that are drawn here: sinusoidal, learned, rotary, ALiBi, relative. Then a small model is trained
# with each, and asked about texts longer than those it learnt from.
#
# Sources: Vaswani et al. 2017, arXiv:1706.03762 (sinusoidal); Su et al. 2021, arXiv:2104.09864 (rotary); Press et al.
# 2022, arXiv:2108.12409 (ALiBi); Raffel et al. 2020, arXiv:1910.10683 (relative bias of T5).

# %%
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import nn

from regard import biases, positions
from regard.layers import ALiBi, EncoderLayer, LearnedEncoding, RelativeBias, Rotary, SinusoidalEncoding
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
# ## Without positions there is no order

# %%
layer = EncoderLayer(32, 4).eval()
x = torch.randn(1, 6, 32)
order = torch.tensor([4, 2, 0, 5, 1, 3])
with torch.no_grad():
    difference = (layer(x[:, order]) - layer(x)[:, order]).abs().max().item()
print("shuffled before or after the layer, the difference is", difference)
assert difference < 1e-5

# %% [markdown]
# ## Sinusoidal: added to the words, nothing to learn
#
# Each pair of features is the hand of a clock, some fast and some slow: at position `p` it stands at the angle
# `p / 10000^(2i/dim)`. Left the numbers, right how alike two positions are.

# %%
table = positions.sinusoidal(torch.arange(64), 32)  # (positions, features)
keep(static.positional_encoding(table, title="Sinusoidal"), "04_sinusoidal")

# %% [markdown]
# The right picture has stripes along the diagonal: how alike two positions are depends on their distance alone. And
# `k` steps further is the same turn of the clocks wherever one starts, so a matrix can learn "three words back".

# %%
alike = table @ table.T
stripes = [alike.diagonal(distance) for distance in range(8)]
print("product at distance 0 … 7:", [round(stripe.mean().item(), 2) for stripe in stripes])
assert all(stripe.std() < 1e-4 for stripe in stripes)

cos, sin = positions.rotary(torch.tensor(3), 32)  # by how much three steps turn each clock
pairs = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), -2)  # (16, 2, 2)
turn = torch.block_diag(*pairs)  # one matrix for all positions
print("three further, by one matrix, everywhere:", torch.allclose(table[:-3] @ turn.T, table[3:], atol=1e-5))
assert torch.allclose(table[:-3] @ turn.T, table[3:], atol=1e-5)

# %% [markdown]
# ## Rotary: queries and keys are turned
#
# The clocks turn the query and the key themselves, in each layer. The product of a query at `p` and a key at `q` then
# knows the distance `p - q` and nothing else; lengths stay as they are.

# %%
q, k = torch.randn(2, 32)
places = torch.arange(64)
turned_q = positions.rotate(q.expand(64, 32), *positions.rotary(places, 32), interleaved=False)
turned_k = positions.rotate(k.expand(64, 32), *positions.rotary(places, 32), interleaved=False)
products = turned_q @ turned_k.T
print("product of places (10, 3), (40, 33), (63, 56):", [round(products[a, a - 7].item(), 4) for a in (10, 40, 63)])
assert all(products.diagonal(distance).std() < 1e-4 for distance in range(-20, 21))
assert torch.allclose(turned_q.norm(dim=-1), q.norm().expand(64), atol=1e-4)

# %% [markdown]
# ## ALiBi and relative biases: added to the scores
#
# **ALiBi** takes away a little of the score for each step of distance, in each head at its own rate; nothing is learnt.
# The **relative bias** of T5 learns a number for each distance; far distances share one, in buckets that widen.

# %%
slopes = biases.alibi_slopes(4)
bias = biases.ALiBi(4).vector(64, 64, "cpu")  # (heads, distances -63 … 63)
distances = biases.distances(64, 64)
bucket = biases.T5Bias(torch.zeros(32, 1), bidirectional=False).bucket(distances)
print("slopes:", slopes.tolist())
print("buckets of 0 … 20 back:", bucket[distances <= 0].flip(0)[:21].tolist())
assert torch.equal(bias[:, distances == -10][:, 0], -10 * slopes)
assert bucket[distances == -15] != bucket[distances == -14] and bucket[distances == -17] == bucket[distances == -18]

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 2.8), layout="constrained")
left.plot(distances, [products.diagonal(int(d)).mean() for d in distances])
left.set(title="Rotary: product of one q and k", xlabel="distance, key minus query", ylabel="product")
middle.plot(distances, bias.T, label=[f"head {head}" for head in range(4)])
middle.set(title="ALiBi: what is added to a score", xlabel="distance, key minus query", ylim=(-16, 0.5))
middle.legend(frameon=False, fontsize=7)
right.step(-distances[distances <= 0], bucket[distances <= 0], where="mid")
right.set(title="Relative: bucket of a distance", xlabel="words back", ylabel="bucket")
keep(figure, "04_scores")

# %% [markdown]
# ## Trained: which letter stood three places before?
#
# One causal layer with each kind, trained on rows of 16 random letters. Guessing is right in 1 of 16.

# %%
ADDED = {"sinusoidal": lambda: SinusoidalEncoding(32), "learned": lambda: LearnedEncoding(64, 32)}
INSIDE = {"rotary": Rotary, "ALiBi": lambda: ALiBi(2), "relative": lambda: RelativeBias(2, bidirectional=False)}


class ThreeBack(nn.Module):
    """One layer that says which letter stood three places before."""

    def __init__(self, kind):
        super().__init__()
        self.embed = nn.Embedding(16, 32)
        self.added = ADDED.get(kind, nn.Identity)()
        inside = INSIDE[kind]() if kind in INSIDE else None
        self.layer = EncoderLayer(32, 2, norm_first=True, dropout=0.0, position=inside)
        self.letter = nn.Linear(32, 16)

    def forward(self, letters, **more):
        """Return the scores of the letters at each place, and the weights."""
        out, weights = self.layer(self.added(self.embed(letters)), causal=True, need_weights=True, **more)
        return self.letter(out), weights["self_attention"]


@torch.no_grad()
def right(model, length, **more):
    """Return the share of right answers in the second half of rows of a length."""
    letters = torch.randint(16, (200, length), generator=torch.Generator().manual_seed(1))
    answers = model(letters, **more)[0].argmax(-1)
    half = slice(length // 2, None)
    return (answers[:, half] == letters.roll(3, 1)[:, half]).float().mean().item()


models, table = {}, {}
for kind in ("none", *ADDED, *INSIDE):
    torch.manual_seed(0)
    model = models[kind] = ThreeBack(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=300)
    for _ in range(300):
        letters = torch.randint(16, (64, 16))
        loss = F.cross_entropy(model(letters)[0][:, 3:].flatten(0, 1), letters[:, :-3].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    table[kind] = [right(model, length) for length in (16, 32, 64)]
    print(
        f"{kind:10} right on 16 letters {table[kind][0]:4.0%}, on 32 {table[kind][1]:4.0%}, on 64 {table[kind][2]:4.0%}"
    )

exact = ("sinusoidal", "learned", "rotary", "relative")
assert all(table[kind][0] > 0.95 for kind in exact) and table["none"][0] < 0.5 and table["ALiBi"][0] < 0.5
assert all(table[kind][2] < 0.6 for kind in table)  # nothing here survives four times the length
assert min(table["relative"][1], table["rotary"][1]) > max(table["sinusoidal"][1], table["learned"][1])

# %% [markdown]
# What the table says:
#
# - Without positions it cannot be done. (A little can: the causal mask itself shows how many words came before.)
# - **ALiBi** prefers what is near and has no way to say "exactly three", at any length.
# - **Learned** knows nothing of places it never saw. **Sinusoidal** has numbers for them, but was never trained there.
# - **Rotary** and **relative** know distances, and still lose. A longer row has distances that training never had: the
#   clocks of rotary come round, and the last bucket of the relative bias was never corrected.
#
# The pictures show the same: the weights of a row of 32 letters. A sharp line three below the diagonal is right; rotary
# has a second one far down on the left, where its clocks have come round.

# %%
letters = torch.randint(16, (1, 32))
seen = {}
for kind, model in models.items():
    weights = model(letters)[1].detach()
    share = [weights.head(0, head).dense().diagonal(-3).mean().item() for head in range(2)]
    best = max(range(2), key=lambda head: share[head])
    seen[f"{kind}, head {best}"] = weights.head(0, best)
    print(f"{kind:10} the better head gives {share[best]:.0%} of its weight to the right letter")
keep(static.heads_grid(seen, title="Weights on twice the trained length"), "04_trained")

# %% [markdown]
# What a learned encoding has learnt: its first 16 places are unlike, the others are still as they were drawn.

# %%
learnt = models["learned"].added.weight.detach()
print(
    "length of the vectors: trained places", learnt[:16].norm(dim=-1).mean(), "others", learnt[16:].norm(dim=-1).mean()
)
assert learnt[:16].norm(dim=-1).min() > 2 * learnt[16:].norm(dim=-1).max()
keep(static.positional_encoding(learnt[:32], title="Learned on 16 places"), "04_learned")

# %% [markdown]
# ## Exercise 1. Change this and see
#
# Give the sinusoidal table `base=1`. What goes wrong?
#
# *Answer.* All clocks go at one speed and come round together: after 44 words (seven times 2π) the place is the same as
# at the start, and nothing tells the two apart.

# %%
for base in (10_000, 100, 1):
    table = F.normalize(positions.sinusoidal(torch.arange(64), 32, base=base), dim=-1)
    alike = (table @ table.T)[0, 20:]
    place = 20 + int(alike.argmax())
    print(f"base {base:6}: beyond 20 words, place {place} is most like place 0, cosine {alike.max():.2f}")
assert int(alike.argmax()) == 44 - 20 and alike.max() > 0.999

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Rotary and relative lost because of distances that training never had. Let each letter see the last 16 only:
# `window=(15, None)`. Train nothing.
#
# *Answer.* Every row then looks as in training, and the models are right at any length.

# %%
for kind in ("rotary", "relative", "sinusoidal", "learned"):
    found = right(models[kind], 64, window=(15, None))
    print(f"{kind:10} on 64 letters with a window of 16: {found:.0%}")
    assert (found > 0.9) == (kind in ("rotary", "relative"))
