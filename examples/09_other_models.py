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
# # 9. Other people's models
#
# `regard.watch` records the attention of a model that you did not write, while it runs, without a change to it. First a
# model of Hugging Face's `transformers`, then a model of your own. Nothing is downloaded: the models are built here,
# small and with random weights, and one of them is trained, so that there is something to see.
#
# Sources: Devlin et al. 2019, arXiv:1810.04805 (BERT); Touvron et al. 2023, arXiv:2302.13971 (Llama).

# %%
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

import regard
from regard.integrations.transformers import register
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
# ## A model of transformers
#
# With a network you would write `BertForSequenceClassification.from_pretrained("...")` here and leave out the next
# cell. All that follows stays the same.

# %%
config = BertConfig(
    vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=16, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
model = BertForSequenceClassification(config)

# %% [markdown]
# It shall say whether "orange", "peach" or "olive" is meant as a fruit or as a colour (tutorial 1), or that nobody can
# know. One sentence is kept out of training.

# %%
kinds = ["fruit", "color", "thing"]  # "thing" does not say
forms = [
    "{w} is my favorite {k}", "{w} is the {k} i like", "what a {k} is {w}", "my {k} : {w}", "of each {k} i like {w}",
]  # fmt: skip
made = [(f.format(w=w, k=k), kinds.index(k)) for f in forms for w in ("orange", "peach", "olive") for k in kinds]
made += [(f"{w} is my favorite", 2) for w in ("peach", "olive")]
sentence = "orange is my favorite fruit"
train = [pair for pair in made if pair[0] != sentence]
vocabulary = ["[pad]", "[cls]", *sorted({word for text, _ in made for word in text.split()})]


def encode(texts):
    """Return what a tokenizer of transformers returns: numbers, and 1 where they are real."""
    rows = [torch.tensor([1, *(vocabulary.index(word) for word in text.split())]) for text in texts]
    numbers = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return {"input_ids": numbers, "attention_mask": (numbers != 0).long()}


inputs, labels = encode([text for text, _ in train]), torch.tensor([label for _, label in train])
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(60):
    loss = model(**inputs, labels=labels).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
print(f"loss {loss.item():.4f}")

# %% [markdown]
# ## Watch it
#
# Inside the block every call of attention is recorded. The recording says how many calls were made and how many it
# holds: a count that is missing elsewhere, where a picture of the wrong layer looks like any other.

# %%
given = encode([sentence])
with torch.no_grad():
    plain = model(**given).logits
    with regard.watch(model, keep="exact") as recording:
        watched = model(**given).logits
print(recording)
print("names:", list(recording))
print("the output moves by", (watched - plain).abs().max().item(), "and says", kinds[plain.argmax()])
assert len(recording) == 2 and torch.allclose(watched, plain, atol=1e-5) and kinds[plain.argmax()] == "fruit"

# %%
tokens = ["[cls]", *sentence.split()]
keep(static.heads_grid(recording, tokens), "09_bert")

# %% [markdown]
# `[cls]` is the token from which BERT's answer is read. Where does it look, and is that what decides? Leave out one
# word after the other and see what becomes of the answer.

# %%
first = torch.stack([call.weights[0, :, 0] for call in recording.calls]).mean((0, 1))  # mean of layers and heads
drops = []
with torch.no_grad():
    for place in range(1, 6):
        words = sentence.split()
        del words[place - 1]
        drops.append((plain - model(**encode([" ".join(words)])).logits)[0, 0].item())
for word, weight, drop in zip(sentence.split(), first[1:].tolist(), drops, strict=True):
    print(f"{word:9} weight from [cls] {weight:.2f}   without it 'fruit' loses {drop:+.2f}")
assert max(range(5), key=lambda i: drops[i]) == 4 and drops[4] > 1  # "fruit" decides

# %% [markdown]
# Here both columns name the same word. They need not: a mean over layers and heads mixes many things, and the second
# layer reads words that the first has mixed already. Removing is the check.
#
# ## Is it the truth? Beside the model's own weights
#
# `attn_implementation="eager"` makes transformers return its own matrices. They are those that were recorded.

# %%
eager = BertForSequenceClassification(config).eval()
eager.load_state_dict(model.state_dict())
eager.set_attn_implementation("eager")
with torch.no_grad():
    theirs = eager(**given, output_attentions=True).attentions
for name, matrix in zip(recording, theirs, strict=True):
    difference = (recording[name].dense() - matrix).abs().max().item()
    print(f"{name}: largest difference {difference:.1e}")
    assert difference < 1e-5

# %% [markdown]
# ## Lazy weights from `output_attentions=True`
#
# `register()` adds an implementation to transformers. A model set to "regard" returns weights that cost nothing until
# they are looked at, in the place where it returned matrices. Here a small Llama, with grouped heads.

# %%
register()
llama = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="regard",
    )
).eval()  # fmt: skip
numbers = torch.randint(2, 50, (1, 300))
with torch.no_grad():
    out = llama(numbers, output_attentions=True)
print(out.attentions[0])
print("keys that the last token looks at:", out.attentions[0].effective_keys()[0, :, -1])
assert out.attentions[0].visible_keys()[0, 0].tolist() == list(range(1, 301))

# %% [markdown]
# These weights are random, and the numbers say so: a token looks at nearly all that it may see.

# %%
share = out.attentions[0].entropy()[0, :, -1] / torch.tensor(300.0).log()
print("entropy of the last row, as a share of the most that is possible:", share)
assert (share > 0.9).all()

# %% [markdown]
# ## Your own model
#
# Any module: nothing is inherited, nothing registered. This one calls PyTorch in two ways.


# %%
class Mine(nn.Module):
    """A model that somebody wrote without knowing regard."""

    def __init__(self):
        super().__init__()
        self.first = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.project = nn.Linear(32, 96)

    def forward(self, x):
        """Run an encoder layer, then one head of causal attention."""
        q, k, v = self.project(self.first(x)).chunk(3, -1)
        return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], is_causal=True)[:, 0]


mine = Mine().eval()
x = torch.randn(1, 40, 32)
with torch.no_grad(), regard.watch(mine) as recording:
    mine(x)
print(recording)
for call in recording.calls:
    print(f"{call.key:16} by {call.door:32} {call.weights.shape}, entropy {call.weights.entropy().mean():.2f}")
assert len(recording) == 2 and not recording.missed

# %% [markdown]
# The default, `keep="summary"`, keeps a map of each call, its entropy, the attention received and the peak: enough for
# a picture, and little memory. `keep="exact"` keeps queries and keys, so that any number can be asked for later.

# %%
with torch.no_grad(), regard.watch(mine, keep="exact") as exact:
    mine(x)
try:
    print(recording[0][0, 0, 5])
except regard.errors.RegardError as error:
    print("summary:", error)
print("exact:", exact[0][0, 0, 5, :4])
assert torch.allclose(exact[0].received(), recording[0].received(), atol=1e-4)
keep(static.heads_grid(recording), "09_mine")

# %% [markdown]
# A page to click through, in one file that opens without a network:

# %%
page = regard.view(recording, tokens=[f"word {i}" for i in range(40)]).save(PICTURES / "09_mine.html")
print(page, f"{page.stat().st_size / 1024:.0f} KiB")
assert page.stat().st_size > 10_000

# %% [markdown]
# ## A model that computes attention by hand
#
# `softmax(q @ k.T)` is arithmetic like any other: nobody can tell that it is attention. `watch` says so, and does not
# return an empty picture. Two ways out: call `F.scaled_dot_product_attention`, or return `(output, weights)`.


# %%
class ByHand(nn.Module):
    """Attention as plain arithmetic; `tell` returns the weights too."""

    def __init__(self, tell):
        super().__init__()
        self.tell = tell
        self.project = nn.Linear(32, 96)

    def forward(self, x):
        """Attend in 4 heads."""
        q, k, v = (t.unflatten(-1, (4, 8)).transpose(1, 2) for t in self.project(x).chunk(3, -1))
        weights = (q @ k.mT / 8**0.5).softmax(-1)
        out = (weights @ v).transpose(1, 2).flatten(-2)
        return (out, weights) if self.tell else out


silent = ByHand(tell=False)
try:
    with regard.watch(silent) as recording:
        silent(x)
except regard.errors.RegardError as error:
    print(type(error).__name__, "-", error)

telling = ByHand(tell=True)
with regard.watch(telling) as recording:
    telling(x)
print(recording)
assert len(recording) == 1

# %% [markdown]
# ## Exercise 1. Change this and see
#
# Give BERT two sentences of different length. Do the padded places get attention?
#
# *Answer.* No: `attention_mask` hides them, and the recording knows the mask.

# %%
with torch.no_grad(), regard.watch(model, keep="exact") as recording:
    model(**encode(["orange is my favorite fruit", "my color : olive"]))
received = recording[0].received()[1].sum(0)
print("received by the tokens of the short sentence:", received)
assert received[5] == 0 and (received[:5] > 0).all()

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Record only the second layer of BERT: `layers=[1]`.

# %%
with torch.no_grad(), regard.watch(model, layers=[1]) as recording:
    model(**given)
print(recording)
assert len(recording) == 1 and recording.left_out == 1
