# %% [markdown]
# # A first look: learn to read dates, and see where the model looks
#
# A small encoder-decoder transformer learns to turn "Friday, 20 November 2026" into "2026-11-20", from dates that this
# script writes itself in a dozen formats. Then its cross-attention is shown: for each digit it writes, which letters of
# the source it reads. It takes about a minute on two CPU cores.

# %%
from __future__ import annotations

import random
import time
from datetime import date, timedelta
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regard
from regard.layers import Rotary, Transformer

FIRST, DAYS = date(1950, 1, 1), 36_524  # a century
FORMATS = [
    "%A, %d %B %Y", "%d %B %Y", "%B %d, %Y", "%a %d %b %Y", "%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%b-%Y",
    "%b %d, %Y", "%A %d.%m.%Y", "the %d of %B %Y", "%Y, %B %d",
]  # fmt: skip
STEPS, BATCH, SECONDS = 400, 96, 60

# %% [markdown]
# ## Data: characters in, characters out
#
# Days are held out whole: no format of a test day is ever seen in training.


# %%
def example(generator: random.Random, days: list[date]) -> tuple[str, str]:
    """Write one date in a random format, as people do: sometimes without zeros, sometimes in small letters."""
    day = generator.choice(days)
    text = day.strftime(generator.choice(FORMATS))
    if generator.random() < 0.3:
        text = text.lower()
    return text, day.isoformat()


everyday = [FIRST + timedelta(days=n) for n in range(DAYS)]
random.Random(0).shuffle(everyday)
test_days, train_days = everyday[:2000], everyday[2000:]
alphabet = sorted(
    {letter for f in FORMATS for d in everyday[:2000] for letter in d.strftime(f) + d.strftime(f).lower()}
)
PAD, START = 0, 1
number = {letter: i + 2 for i, letter in enumerate(alphabet)}


def encode(texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return the letters as numbers `(B, longest)`, padded on the right, and the lengths `(B,)`."""
    rows = [torch.tensor([number[letter] for letter in text]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


# %% [markdown]
# ## Model: embeddings around `regard.layers.Transformer`
#
# Rotary positions in self-attention; cross-attention has no positions of its own and must find the right letters by
# what the encoder made of them.


# %%
class DateReader(nn.Module):
    """Letters to letters."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(alphabet) + 2, width)
        self.core = Transformer(
            width, 4, num_encoder_layers=2, num_decoder_layers=2, ffn_dim=2 * width, norm_first=True, dropout=0.0,
            position=Rotary(),
        )  # fmt: skip
        self.score = nn.Linear(width, len(alphabet) + 2)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Score the next letter at each place of the target."""
        scores: Tensor = self.score(self.core(self.embed(source), self.embed(target), source_padding=lengths))
        return scores

    @torch.inference_mode()
    def write(self, texts: list[str]) -> list[str]:
        """Write the ten letters of each date, the likeliest one at a time, with a cache."""
        source, lengths = encode(texts)
        hidden = regard.masks.padding(lengths)
        memory = self.core.encoder(self.embed(source), mask=hidden)
        cache = self.core.decoder.new_cache(max_length=10)
        letters = torch.full((len(texts), 1), START)
        written = []
        for _ in range(10):
            state = self.core.decoder(self.embed(letters), memory, memory_mask=hidden, cache=cache)
            letters = self.score(state).argmax(-1)
            written.append(letters)
        rows = torch.cat(written, 1).tolist()
        return ["".join(alphabet[i - 2] if i > 1 else "?" for i in row) for row in rows]


# %% [markdown]
# ## Baseline: what can be had without learning
#
# Take the runs of digits in the order year, month, day if they are there, guess January and the first where not.


# %%
def by_rule(text: str) -> str:
    """Read digits only: the four-digit run is the year, the others are day and month in that order."""
    runs = "".join(c if c.isdigit() else " " for c in text).split()
    year = next((run for run in runs if len(run) == 4), "2000")
    rest = [run for run in runs if len(run) < 4]
    return f"{year}-{rest[1] if len(rest) > 1 else '01'}-{rest[0] if rest else '01'}"


def accuracy(pairs: list[tuple[str, str]], answers: list[str]) -> float:
    """Return the share of dates that are right in every letter."""
    return sum(answer == right for answer, (_, right) in zip(answers, pairs, strict=True)) / len(pairs)


# %% [markdown]
# ## Train


# %%
def train() -> tuple[DateReader, list[tuple[str, str]]]:
    """Train until the steps or the seconds are used up, printing how it goes; return the model and the test set."""
    torch.manual_seed(0)
    model, generator = DateReader(), random.Random(1)
    test_set = [example(generator, test_days) for _ in range(500)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; 500 held-out dates to read.")
    print(f"By rule (digits only): {accuracy(test_set, [by_rule(text) for text, _ in test_set]):.1%} right.\n")
    began = time.perf_counter()
    for step in range(1, STEPS + 1):
        texts, answers = zip(*(example(generator, train_days) for _ in range(BATCH)), strict=True)
        source, lengths = encode(list(texts))
        wanted, _ = encode(list(answers))
        given = F.pad(wanted[:, :-1], (1, 0), value=START)
        loss = F.cross_entropy(model(source, lengths, given).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seconds = time.perf_counter() - began
        if step % 100 == 0 or step == STEPS:
            right = accuracy(test_set, model.write([text for text, _ in test_set]))
            print(f"step {step:4}   loss {loss.item():.3f}   held-out dates right {right:6.1%}   {seconds:5.1f} s")
        if seconds > SECONDS:
            print(f"(stopped after {seconds:.0f} s)")
            break
    return model.eval(), test_set


# %% [markdown]
# ## Look
#
# `need_weights=True` returns the weights of every layer by name. Each row below is one letter that the model writes;
# the shade under each source letter says how much of its attention falls there.

# %%
SHADES = " ·░▒▓█"


def shown(row: Tensor) -> str:
    """Draw weights as shades, the largest as a full block."""
    return "".join(SHADES[int(x)] for x in (row / row.max() * (len(SHADES) - 1)).round())


@torch.no_grad()
def look(model: DateReader, text: str) -> None:
    """Print what the last layer's cross-attention reads for each letter written, and save it as a picture."""
    source, lengths = encode([text])
    answer = model.write([text])[0]
    given = F.pad(encode([answer])[0][:, :-1], (1, 0), value=START)
    _, weights = model.core(model.embed(source), model.embed(given), source_padding=lengths, need_weights=True)
    name = "decoder.layers.1.cross_attention"
    matrix = weights[name].dense()[0]  # (H, 10, letters)
    sharpest = int(weights[name].entropy()[0].mean(-1).argmin())
    print(f"\n{text!r} was read as {answer}\n")
    print(f"{name}, head {sharpest} of {len(matrix)} (the one that looks at the fewest letters):")
    print("writes   reads " + text)
    for letter, row in zip(answer, matrix[sharpest], strict=True):
        print(f"     {letter}         {shown(row)}   most at {text[int(row.argmax())]!r} ({row.max():.0%})")
    save(matrix, text, answer, name)


def save(matrix: Tensor, text: str, answer: str, name: str) -> None:
    """Draw every head with matplotlib, if it is installed."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        print("\nFor a picture of every head: pip install matplotlib, and run this again.")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(matrix), figsize=(4 * len(matrix), 3.4), layout="constrained")
    for head, panel in enumerate(panels):
        drawn = panel.imshow(matrix[head], cmap="cividis", vmin=0, vmax=1, aspect="auto")
        panel.set_title(f"head {head}")
        panel.set_xticks(range(len(text)), list(text), fontsize=7)
        panel.set_yticks(range(len(answer)), list(answer), fontsize=7)
    figure.colorbar(drawn, ax=panels, label="attention weight")
    figure.suptitle(name)
    path = Path("runs/first_look.png")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"\nEvery head, as a picture: {path}")


# %%
if __name__ == "__main__":
    trained, held_out = train()
    look(trained, max((text for text, _ in held_out[:20]), key=len))
