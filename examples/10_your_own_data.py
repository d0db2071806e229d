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
# from, judged beside a cheap baseline and looked at. Then the same training runs on two processes with `torchrun`.
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
FIRST = "Ada Grace Alan Mary Emil Rosa Karl Ida Omar Lena Paul Nina Hugo Vera Igor Tara Otto Mina Jean Lucy".split()
LAST = "Lovelace Hopper Turing Shelley Post Weber Noddack Haddad Braun Moreau Silva Rossi Novak Larsen Petrov".split()
PLACES = (
    "New York|Berlin|Lagos|Buenos Aires|Oslo|Cape Town|Lima|Hong Kong|Porto|Madrid|Kyoto|Santa Fe|Accra|Los Angeles|"
    "Dublin|Port Louis|Prague|El Paso|San Marino|Quito|Tel Aviv|Vienna|Rio Branco|Zagreb"
).split("|")
PEOPLE = [f"{first} {last}" for first in FIRST[:14] for last in LAST[:10]]
OTHER_PEOPLE = [f"{first} {last}" for first in FIRST[14:] for last in LAST[10:]]
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


write(DATA / "train.conll", PEOPLE, PLACES[:18], 400, seed=0)
write(DATA / "dev.conll", PEOPLE, PLACES[:18], 60, seed=1)
write(DATA / "test.conll", OTHER_PEOPLE, PLACES[18:], 100, seed=2)
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
    refusal = str(error)
print("a bad file:", refusal)
assert "bad.conll, line 2: the tag 'X'" in refusal

# %% [markdown]
# ## Learn and judge
#
# The settings below make a small model. `hide_words=0.6` makes 0.6 of the rarer words unknown in training, others at
# each step, so that the model reads what stands around a name; the most frequent words are never hidden. The baseline
# is a chain of features of words (a CRF); the transformer, the baseline or a mix of both answers, whichever did best on
# the development data.

# %%
budget = TrainingSettings(Optimizer(lr=5e-3), budget=Budget(epochs=None, steps=120 if SMALL else 300))
settings = tasks.NamedEntitySettings(embed_dim=32, num_heads=2, num_layers=2, hide_words=0.6, training=budget)
task = tasks.NamedEntities(settings).fit(train, dev)
found = task.evaluate(test)
print(found)
assert found.figures["f1"] > 0.5

# %% [markdown]
# ## Look
#
# `predict` takes texts, `attention` gives the weights of every layer with the tags beside the words. The tags are the
# model's own.

# %%
sentence = task.predict(["yesterday Otto Rossi moved to San Marino"])[0]
print([(entity.text, entity.label) for entity in sentence.entities])
seen = task.attention("yesterday Otto Rossi moved to San Marino")
name, weights = list(seen.weights.items())[-1]
sharpest = int(weights.entropy()[0].mean(-1).argmin())
keep(static.heatmap(weights, seen.tokens, labels=seen.labels, head=sharpest, title=name), "10_entities")

# %% [markdown]
# A page to click through, with all layers and heads; and the trained task in a folder, to be loaded anywhere.

# %%
print(regard.view(seen.weights, seen.tokens, labels=seen.labels).save(PICTURES / "10_entities.html"))
task.save(DATA / "ner")
again = tasks.load(DATA / "ner").predict(["yesterday Otto Rossi moved to San Marino"])[0]
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
# Look at both lines. Where the baseline is as good, as on a table this simple, use the baseline: it is smaller.
#
# ## The command, and two processes
#
# All of this is also a command. Started by `torchrun`, each process takes its share of every step, and gradients are
# added up over the network (`gloo` on processors, `nccl` on GPUs). A step then learns from the same examples as in one
# process. What is drawn by chance (dropout, hidden and swapped words) each process draws for itself; it is switched off
# here, so that the losses of the two runs can be compared.


# %%
def command(out, processes):
    """Train by the command line; return the loss of each step and the final figures."""
    launch = (
        ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"] if processes > 1 else []
    )
    words = [
        sys.executable, "-m", *launch, "regard", "train", "ner", "--train", str(DATA / "train.conll"),
        "--dev", str(DATA / "dev.conll"), "--test", str(DATA / "test.conll"), "--out", str(DATA / out),
        "--embed-dim", "32", "--num-heads", "2", "--num-layers", "2", "--json", "--lr", "0.003", "--epochs", "None",
        "--steps", "30" if SMALL else "100", "--dropout", "0", "--hide-words", "0", "--swap-entities", "0",
    ]  # fmt: skip
    print("$ python", " ".join(words[1:]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    with (DATA / out / "log.csv").open(encoding="utf-8") as file:
        losses = [float(row["value"]) for row in csv.DictReader(file) if row["name"] == "train_loss"]
    return losses, json.loads(done.stdout.splitlines()[-1])["figures"]


(one, figures), (two, same) = command("one", 1), command("two", 2)
print("loss of steps 1, 10 and the last, one process: ", one[0], one[9], one[-1])
print("loss of steps 1, 10 and the last, two processes:", two[0], two[9], two[-1])
print(f"F1 {figures['f1']:.3f} and {same['f1']:.3f}")
assert len(one) == len(two) and all(abs(a - b) < 1e-3 for a, b in zip(one[:10], two[:10], strict=True))

# %% [markdown]
# The sums are rounded in another order, so the losses part in their last digits, and more so with each step. The same
# command, given again, goes on where it was stopped.
#
# ## Exercise 1. Change this and see
#
# Write the names in small letters, "otto rossi moved to san marino". Are they still found?
#
# *Answer.* Fewer, or none: words share a vector whatever their case (`lowercase=True`), but the letters of a word are
# read as they are, and all names in training began with a capital.

# %%
for text in ("Otto Rossi moved to San Marino", "otto rossi moved to san marino"):
    names = [(entity.text, entity.label) for entity in task.predict([text])[0].entities]
    print(text, names)
assert len(names) < len(sentence.entities)  # the one in small letters against the first one

# %% [markdown]
# ## Exercise 2. Change this and see
#
# Which word makes "San Marino" a place? Take away each word and look, those of the name too; then give a name that
# nobody ever had.
#
# *Answer.* The lines say it for each word alone. Where a place is found all the same, that word was not needed. It does
# not follow that none is: words may stand in for each other. Without all that stands before it, "San Marino" is no
# place any more (no sentence of the training begins with one). Whether a name that nobody ever had is a place there,
# the last line but one says.

# %%
words = "yesterday Otto Rossi moved to San Marino".split()


def found_in(some):
    """Return the names that the task finds, with their labels."""
    return [(entity.text, entity.label) for entity in task.predict([some])[0].entities]


for place, word in enumerate(words):
    print(f"without {word:9}: {found_in(words[:place] + words[place + 1 :])}")
print(f"another name     : {found_in([*words[:5], 'Blorp', 'Quax'])}")
print(f"only the name    : {found_in(words[5:])}")
assert ("San Marino", "place") in found_in(words) and ("San Marino", "place") not in found_in(words[5:])
