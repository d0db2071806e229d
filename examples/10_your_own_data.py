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
# # 10. Your own data
#
# From a file to a picture: a CoNLL file with names in sentences, and a CSV file with opinions. Each is read, learnt
# from, judged beside a cheap baseline and looked at. Then the same training runs on two processes with `torchrun`, and
# does the same.
#
# The files are written here, so that the page runs by itself: sentences of a few patterns, which say nothing about what
# your data will give. Put your own file names in their place.
#
# Sources: Tjong Kim Sang and De Meulder 2003, arXiv:cs/0306050 (the CoNLL form); Lafferty et al. 2001 (the chain of
# tags).

# %%
import csv
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from matplotlib import pyplot as plt

import regard
from regard import tasks
from regard.tasks.reading import read_labelled, read_tagged
from regard.training import Budget, Optimizer, TrainingSettings
from regard.viewer import static

SMALL = os.environ.get("REGARD_TUTORIAL_BUDGET") == "small"  # what the project's own tests set, to be quick
PICTURES = Path("runs/tutorials")
PICTURES.mkdir(parents=True, exist_ok=True)
DATA = Path("runs/own_data")
shutil.rmtree(DATA, ignore_errors=True)  # what an earlier run of this page left
DATA.mkdir()


def keep(figure, name):
    """Save a picture; a notebook also shows it, because it is what the cell ends with."""
    figure.savefig(PICTURES / f"{name}.png", dpi=120)
    plt.close(figure)
    return figure


# %% [markdown]
# ## The file
#
# A word and its tag a line, an empty line after each sentence. `B-` opens a name, `I-` goes on with it, `O` is neither.
# The names of the test occur in no training sentence, so that they must be recognised by what stands around them.

# %%
PEOPLE = "Ada Lovelace|Grace Hopper|Alan Turing|Mary Shelley|Emil Post|Rosa Luxemburg|Karl Weber|Ida Noddack".split("|")
PLACES = "New York|Berlin|Lagos|Buenos Aires|Oslo|Cape Town|Lima|Hong Kong|Porto|San Marino|Quito|Tel Aviv".split("|")
PATTERNS = (
    "{P} works in {L} .|last year {P} moved to {L}|{P} was born in {L} and lives in {L}|in {L} it rains often|"
    "we met {P} on the way to {L} .|{P} and {P} work together|the train from {L} to {L} is late|"
    "yesterday {P} bought a map of {L} .|who is {P} ?|the mayor of {L} knows {P}"
).split("|")


def write(path, people, places, count, seed):
    """Write a CoNLL file of sentences made from the patterns."""
    chance = random.Random(seed)
    lines = []
    for _ in range(count):
        for part in chance.choice(PATTERNS).split():
            label, names = {"{P}": ("person", people), "{L}": ("place", places)}.get(part, ("", [part]))
            for i, word in enumerate(chance.choice(names).split()):
                lines.append(f"{word}\t{'BI'[i > 0]}-{label}" if label else f"{word}\tO")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


write(DATA / "train.conll", PEOPLE[:6], PLACES[:9], 400, seed=0)
write(DATA / "dev.conll", PEOPLE[:6], PLACES[:9], 60, seed=1)
write(DATA / "test.conll", PEOPLE[6:], PLACES[9:], 100, seed=2)
print((DATA / "train.conll").read_text(encoding="utf-8")[:90])

# %% [markdown]
# ## Read
#
# `read_tagged` takes CoNLL with any columns, IOB1, IOB2 and BIOES, JSONL and Parquet. A bad line is an error that names
# the file, the line and the rule.

# %%
train, dev, test = (read_tagged(DATA / f"{part}.conll").examples for part in ("train", "dev", "test"))
print(len(train), "sentences; the first:", train[0])
unseen = {w for one in test for w, t in zip(one.words, one.tags, strict=True) if t != "O"}
unseen -= {word for one in train for word in one.words}
print("names in the test that training never had:", sorted(unseen))

(DATA / "bad.conll").write_text("Ada\tB-person\nwrote\tX\n", encoding="utf-8")
try:
    read_tagged(DATA / "bad.conll")
except regard.errors.RegardError as error:
    print("a bad file:", error)

# %% [markdown]
# ## Learn and judge
#
# The settings below make a small model. The baseline gives each word its most frequent tag, which is all one can do for
# names one has seen, and nothing for others.

# %%
budget = TrainingSettings(Optimizer(lr=3e-3), budget=Budget(epochs=None, steps=60 if SMALL else 150))
settings = tasks.NamedEntitySettings(embed_dim=32, num_heads=2, num_layers=2, training=budget)
task = tasks.NamedEntities(settings).fit(train, dev)
found = task.evaluate(test)
print(found)
assert found.better() and found.figures["f1"] > 0.5

# %% [markdown]
# ## Look
#
# `predict` takes texts, `attention` gives the weights of every layer with the tags beside the words. The tags are the
# model's own.

# %%
sentence = task.predict(["yesterday Karl Weber moved to San Marino"])[0]
print([(entity.text, entity.label) for entity in sentence.entities])
seen = task.attention("yesterday Karl Weber moved to San Marino")
name, weights = list(seen.weights.items())[-1]
sharpest = int(weights.entropy()[0].mean(-1).argmin())
keep(static.heatmap(weights, seen.tokens, labels=seen.labels, head=sharpest, title=name), "10_entities")

# %% [markdown]
# A page to click through, with all layers and heads; and the trained task in a folder, to be loaded anywhere.

# %%
print(regard.view(seen.weights, seen.tokens, labels=seen.labels).save(PICTURES / "10_entities.html"))
task.save(DATA / "ner")
again = tasks.load(DATA / "ner").predict(["yesterday Karl Weber moved to San Marino"])[0]
assert again == sentence

# %% [markdown]
# ## A table: CSV, labels, another task
#
# The same five steps for opinions in a table. Names of columns are options of the reader.

# %%
chance = random.Random(0)
GOOD, BAD = "good fresh warm quick kind".split(), "bad stale cold slow rude".split()
with (DATA / "visits.csv").open("w", newline="", encoding="utf-8") as file:
    table = csv.writer(file)
    table.writerow(["visit", "opinion"])
    for _ in range(400):
        positive, negated = chance.random() < 0.5, chance.random() < 0.5
        word = chance.choice(GOOD if positive != negated else BAD)
        what = chance.choice("food service coffee staff soup".split())
        text = f"the {what} was {'not ' * negated}{word} " + chance.choice(["", "today", "again", ", I think"])
        table.writerow([text.strip(), "positive" if positive else "negative"])

options = tasks.reading.LabelledOptions(text="visit", label="opinion")
visits = read_labelled(DATA / "visits.csv", options).examples
settings = tasks.SentimentSettings(embed_dim=32, num_heads=2, num_layers=1, training=budget)
opinion = tasks.Sentiment(settings).fit(visits[:300])
print(opinion.evaluate(visits[300:]))
for text in ("the soup was cold", "the soup was not cold"):
    print(f"{text!r}: {opinion.predict([text])[0].labels[0]}")
assert opinion.predict(["the soup was not cold"])[0].labels == ("positive",)

# %% [markdown]
# ## The command, and two processes
#
# All of this is also a command. Started by `torchrun`, each process takes its share of every step; gradients are added
# up over the network (`gloo` on processors, `nccl` on GPUs). What a step learns does not depend on how many there are.


# %%
def command(out, processes):
    """Train by the command line, and return the figures that it prints."""
    launch = (
        ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"] if processes > 1 else []
    )
    words = [
        sys.executable, "-m", *launch, "regard", "train", "ner", "--train", str(DATA / "train.conll"),
        "--dev", str(DATA / "dev.conll"), "--test", str(DATA / "test.conll"), "--out", str(DATA / out),
        "--embed-dim", "32", "--num-heads", "2", "--num-layers", "2", "--json",
        "--epochs", "None", "--steps", "30" if SMALL else "100", "--lr", "0.003",
    ]  # fmt: skip
    print("$", " ".join(words[1:]).replace(str(DATA), "data"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])["figures"]


figures = {processes: command(f"run{processes}", processes) for processes in (1, 2)}
for processes, row in figures.items():
    print(f"{processes} process(es):", {name: round(value, 4) for name, value in row.items()})
assert abs(figures[1]["f1"] - figures[2]["f1"]) < 0.02

# %% [markdown]
# ## Exercise 1. Change this and see
#
# Write the names in small letters, "karl weber moved to san marino". Are they still found?

# %%
for text in ("Karl Weber moved to San Marino", "karl weber moved to san marino"):
    print(text, [(entity.text, entity.label) for entity in task.predict([text])[0].entities])

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Which word makes "San Marino" a place? Take away each of the others and look.
#
# *Answer.* It depends on the sentence: here is the count.

# %%
words = "yesterday Karl Weber moved to San Marino".split()
for place in range(5):
    shorter = words[:place] + words[place + 1 :]
    kept = [(entity.text, entity.label) for entity in task.predict([shorter])[0].entities]
    print(f"without {words[place]:9}: {kept}")
