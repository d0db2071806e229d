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
# # 6. A masked language model of code
#
# Hide some words of a text and learn to guess them from the rest: that is all the training of BERT. Here the text is
# Python's own library, which every machine has. The model is trained, then asked to write, then looked at; and the look
# is checked by hiding what it looks at.
#
# Sources: Devlin et al. 2019, arXiv:1810.04805; Wang and Cho 2019, arXiv:1902.04094, and Ghazvininejad et al. 2019,
# arXiv:1904.09324, for writing with such a model.

# %%
import os
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt

from regard.corpora import code_entities
from regard.models import TokenClassifier, TokenClassifierConfig
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
# ## Words of code
#
# Windows of code, cut into words and signs; `⏎` ends a line, `→` and `←` indent and outdent. Whole packages are kept
# for the test. Words that are rare in training become `?`.

# %%
data = code_entities(limit=20 if SMALL else 100)
counts = Counter(word for one in data.train for word in one.words)
words = ["<pad>", "?", "<mask>", *(word for word, _ in counts.most_common(997 if SMALL else 1497))]
number = {word: i for i, word in enumerate(words)}
LENGTH, MASK = 64, 2


def windows(part):
    """Return windows of 64 words, as numbers."""
    rows = [[number.get(word, 1) for word in one.words] for one in part]
    return torch.tensor([row[i : i + 64] for row in rows for i in range(0, len(row) - 63, 64)])


train, test = windows(data.train), windows(data.test)[:300]
print(
    f"{len(train)} windows to learn from, {len(test)} to test on, {(test == 1).float().mean():.0%} of its words are ?"
)
print(" ".join(words[i] for i in test[1]))

# %% [markdown]
# ## Train
#
# 15 of 100 words are replaced by `<mask>`; the model, an encoder that sees both sides, says which words they were. Its
# output is a score for every word at every place: a `TokenClassifier` with words for labels.

# %%
model = TokenClassifier(
    TokenClassifierConfig(
        vocab_size=len(words), num_labels=len(words), embed_dim=64 if SMALL else 96, num_layers=2 if SMALL else 3,
        num_heads=4, dropout=0.0,
    )
)  # fmt: skip


def hide(rows, generator=None):
    """Return rows with some words replaced, and where."""
    hidden = (torch.rand(rows.shape, generator=generator) < 0.15) & (rows > MASK)
    return rows.masked_fill(hidden, MASK), hidden


@torch.no_grad()
def right(given, hidden, truth):
    """Return the share of hidden words that are guessed right."""
    return (model(given)[hidden].argmax(-1) == truth[hidden]).float().mean().item()


given, hidden = hide(test, torch.Generator().manual_seed(0))
steps = 150 if SMALL else 700
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
for step in range(1, steps + 1):
    rows = train[torch.randint(len(train), (32,))]
    masked, where = hide(rows)
    loss = F.cross_entropy(model(masked)[where], rows[where])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    if step % (steps // 5) == 0:
        print(
            f"step {step:4}   loss {loss.item():.2f}   right {right(given, hidden, test):.1%} of the hidden test words"
        )
model.eval()
reached = right(given, hidden, test)
commonest = (test[hidden] == train[train > MASK].bincount().argmax()).float().mean().item()
print(f"right {reached:.1%}; the most frequent word, always: {commonest:.1%}")
assert reached > 2 * commonest

# %% [markdown]
# ## Guess
#
# One line, one word hidden, the five likeliest guesses.

# %%
line = "def read ( self , size ) : ⏎ → if size <mask> None : ⏎ → size = self . size ⏎ ← return self . data ⏎ ←".split()
place = line.index("<mask>")
with torch.no_grad():
    scores, weights = model(torch.tensor([[number.get(word, 1) for word in line]]), need_weights=True)
best = scores[0, place].softmax(-1).topk(5)
print([(words[i], f"{share:.0%}") for share, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)])

# %% [markdown]
# ## Write
#
# Such a model has no first word and no last. To write with it, begin with masks, let it fill in the place it is surest
# of, and go on with the others. A random draw in place of the likeliest word gives another text each time.


# %%
@torch.no_grad()
def write(beginning, more, temperature, seed):
    """Fill in places, the surest first, each drawn by chance."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.tensor([[number.get(word, 1) for word in beginning.split()] + [MASK] * more])
    while (open_places := (row[0] == MASK).nonzero()[:, 0]).numel():
        shares = model(row)[0, open_places, 3:].div(temperature).softmax(-1)
        surest = shares.max(-1).values.argmax()
        row[0, open_places[surest]] = 3 + torch.multinomial(shares[surest], 1, generator=generator)
    return " ".join(words[i] for i in row[0])


for seed in range(3):
    print(write("def __init__ ( self , name ) : ⏎ →", 20, 0.8, seed))
assert write("def", 8, 0.8, 1) == write("def", 8, 0.8, 1) and "<mask>" not in write("def", 8, 0.8, 1)

# %% [markdown]
# It writes something like code, and not code that does anything: it was trained for a minute, to guess one word in
# seven and never all of a line.
#
# ## Look
#
# All heads of all layers for the line above, then the row of the hidden word alone.

# %%
keep(static.heads_grid(weights, title="All heads, one line"), "06_heads")

# %%
rows = torch.cat([matrix[0, :, place] for matrix in weights.values()]).numpy()  # (layers x heads, words)
figure, panel = plt.subplots(figsize=(9, 2.6), layout="constrained")
image = panel.imshow(rows, cmap="cividis", vmin=0, aspect="auto")
panel.set_xticks(range(len(line)), line, rotation=90, fontsize=8)
panel.set_yticks(range(len(rows)), [f"{i // 4}.{i % 4}" for i in range(len(rows))], fontsize=7)
panel.set(ylabel="layer.head", title="Where each head looks from <mask>")
figure.colorbar(image, label="attention weight")
keep(figure, "06_mask_row")

# %% [markdown]
# How far do the heads look? Over 60 windows of the test: the mean distance, and how much of the weight falls on the
# word itself and on its neighbours. Spread evenly over 64 words, each would get 1.6 %.

# %%
with torch.no_grad():
    _, weights = model(given[:60], need_weights=True)
shares = []
for name, matrix in weights.items():
    near = [matrix.share(offset).mean(0) for offset in (-1, 0, 1)]
    shares.append(torch.stack(near))
    print(name, "  mean distance by head:", [f"{x:.1f}" for x in matrix.mean_distance().mean((0, 2)).tolist()])
    for what, share in zip(("word before", "word itself", "word after "), near, strict=True):
        print(f"   on the {what}: {[f'{x:.0%}' for x in share.tolist()]}")
neighbours = torch.stack(shares)[:, [0, 2]]
assert neighbours.max() > 5 / 64  # some head has a neighbour for its subject

# %% [markdown]
# ## Check the look
#
# If the model reads mainly what is near, it should do as well when all else is hidden. Replace what lies further than
# `reach` words from a hidden word by `?`, and count again.

# %%
chosen = [(r, int(torch.nonzero(hidden[r])[0])) for r in range(len(test)) if hidden[r].any()]
at = torch.arange(LENGTH)
for reach in (0, 1, 2, 4, 8, 64):
    rows = torch.stack([given[r].masked_fill((at - c).abs() > reach, 1) for r, c in chosen])
    with torch.no_grad():
        guesses = model(rows)[torch.arange(len(rows)), [c for _, c in chosen]].argmax(-1)
    found = (guesses == torch.stack([test[r, c] for r, c in chosen])).float().mean().item()
    print(f"sees {reach:2} words on each side: right {found:.1%}")
    if reach == 0:
        blind = found
assert found > blind + 0.1

# %% [markdown]
# Most of what it knows comes from a few words on each side, as the distances said.
#
# ## Exercise 1. Change this and see
#
# Does the model copy? Hide a name that stands elsewhere in the window, and see how often it is found, and how much
# weight falls on the other places of the same name.
#
# *Answer.* Hardly ever: a model as small as this, trained for a minute, has learnt what stands near what, and not to
# look a name up. Longer training changes that; the numbers show when.

# %%
names = [
    (r, c) for r in range(len(test)) for c in range(0, LENGTH, 7)
    if test[r, c] > 100 and words[test[r, c]].isidentifier() and (test[r] == test[r, c]).sum() >= 3
]  # fmt: skip
rows = torch.stack([test[r].masked_fill(at == c, MASK) for r, c in names])
truth = torch.stack([test[r, c] for r, c in names])
with torch.no_grad():
    scores, weights = model(rows, need_weights=True)
copied = (scores[torch.arange(len(rows)), [c for _, c in names]].argmax(-1) == truth).float().mean().item()
print(f"{len(names)} names that stand twice elsewhere: right {copied:.1%}")
for name, matrix in weights.items():
    own = torch.stack([matrix[i, :, c][:, rows[i] == truth[i]].sum(-1) for i, (_, c) in enumerate(names)]).mean(0)
    print(f"{name}: weight on the same name {own.numpy().round(3)}, spread evenly it were "
          f"{(rows == truth[:, None]).float().mean():.3f}")  # fmt: skip
assert copied < reached

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Write with `temperature=0.1`, then with 2.
#
# *Answer.* A low one takes the likeliest word nearly always and repeats itself; a high one draws from everything.

# %%
texts = {}
for temperature in (0.1, 0.8, 2.0):
    texts[temperature] = [write("def", 15, temperature, seed) for seed in range(4)]
    kinds = len({word for text in texts[temperature] for word in text.split()})
    print(f"temperature {temperature}: {kinds} different words in 4 texts, such as: {texts[temperature][0]}")
assert len(set(" ".join(texts[0.1]).split())) < len(set(" ".join(texts[2.0]).split()))
