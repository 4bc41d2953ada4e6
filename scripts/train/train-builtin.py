#!/usr/bin/env python3
"""Makes the built-in model, embed/model: fetches sources, cuts them, trains, writes.

Usage: train-builtin.py WORK_DIR [--out DIR] [--packages FILE] [--parser CS_PARSE] [--corpus FILE]
                        [--tokens N] [--dims N] [--steps N]

WORK_DIR keeps downloads and what was made of them (about 6 GB); a second run goes on from there.
The parser is the one on PATH, else the release build. The corpus, a benchmark's, is read to leave
its code out of training [default: ../shared/eval/cosqa-dev/corpus.jsonl beside the clone].

The method is in builtin/README.md. Needs torch, transformers, tokenizers, safetensors, pyarrow,
numpy, and pip, npm, apt and cargo. Last run with torch 2.15.0, transformers 5.23.0, tokenizers
0.23.3, safetensors 0.8.0, pyarrow 26.0.1, numpy 2.4.6.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE / "builtin"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

import export  # noqa: E402
import fetch  # noqa: E402
import pairs  # noqa: E402
import train  # noqa: E402
import vocabulary  # noqa: E402
from teacher import Teacher  # noqa: E402

# A part of a chunk is in its document in training with this chance; the question's own paragraph
# is there because a search also finds documentation.
PARTS = {"path": 0.4, "symbol": 0.6, "paragraph": 0.35, "rest": 0.4, "code": 1.0}
CONTRAST = {"batch": 2048, "rate": 5e-3, "temperature": 0.05, "anchor": 3.0, "schedule": 700}
LONGEST = 96
SIF = 1e-3
# So much of the distilled rows is added to the trained ones in the end.
BACK = 0.4


def find_parser(given):
    """Returns the path of cs-parse, building it where there is none."""
    found = given or shutil.which("cs-parse")
    if found:
        return found
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = "cargo build --release --workspace --locked --bin cs-parse"
    subprocess.run(command.split(), cwd=ROOT, check=True)
    return str(target / "release/cs-parse")


def teacher_texts(columns, seed=5):
    """Chooses the questions that the teacher reads: of each language, and of Python most."""
    by_language = defaultdict(list)
    for language, question in zip(columns["language"], columns["question"]):
        if question:
            by_language[language].append(question[:200])
    rng, chosen = random.Random(seed), set()
    for language in sorted(by_language):
        rng.shuffle(by_language[language])
        chosen.update(by_language[language][: 14_000 if language == "python" else 2_200])
    return sorted(chosen)


def starting_rows(teacher, tokens, texts, bags, dims):
    """Returns rows to start from, the texts' target vectors, both on the texts' main axes.

    A token's row is the teacher's vector of the token alone, its length the weight of smooth
    inverse frequency.
    """
    vectors = teacher.embed(texts, 48, "questions").astype(np.float32)
    alone = teacher.embed([t.removeprefix("##") for t in tokens], 16, "tokens").astype(np.float32)
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, np.argsort(-values)[:dims]]
    count = sum(np.bincount(bags[name].ids, minlength=len(tokens)) for name in ("code", "question"))
    weight = SIF / (SIF + count / count.sum())
    rows = (alone - alone.mean(0)) @ axes
    rows *= (weight / np.linalg.norm(rows, axis=1))[:, None]
    targets = torch.nn.functional.normalize(torch.tensor(centred @ axes), dim=1)
    return torch.tensor(rows, dtype=torch.float32), targets


def contrast(rows, bags, columns, anchors, steps):
    """Runs the contrastive stage over all documented chunks."""
    groups = defaultdict(list)
    for i, (language, question) in enumerate(zip(columns["language"], columns["question"])):
        if question:
            groups[language].append(i)
    groups = {name: np.array(rows) for name, rows in groups.items() if len(rows) > 50}
    documents = train.Documents(bags, LONGEST)

    def question(i, rng):
        bag = bags["question"][i]
        # Half of the questions lose words: people ask shorter than documentation is written.
        return bag[rng.random(len(bag)) > 0.3] if rng.random() < 0.5 else bag

    def weight(language, count):
        return count**0.7 * (2.5 if language == "python" else 1.0)

    options = CONTRAST | {"steps": steps, "weights": weight}
    return train.contrast(rows, question, lambda i, rng: documents.draw(i, rng, PARTS), groups, options, anchors)


def main():
    usage = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usage.add_argument("work", type=Path)
    usage.add_argument("--out", type=Path, default=ROOT / "embed/model")
    usage.add_argument("--packages", type=Path, default=HERE / "builtin/packages.txt")
    usage.add_argument("--parser")
    usage.add_argument("--corpus", type=Path, default=ROOT.parent / "shared/eval/cosqa-dev/corpus.jsonl")
    usage.add_argument("--tokens", type=int, default=44_000)
    usage.add_argument("--dims", type=int, default=320)
    usage.add_argument("--steps", type=int, default=400)
    args = usage.parse_args()
    # One thread: sums in one order, the same model each time.
    torch.set_num_threads(1)
    torch.manual_seed(train.SEED)
    source = args.work / "src"
    source.mkdir(parents=True, exist_ok=True)

    done = fetch.fetch(fetch.read(args.packages), source)
    print(f"{len(done)} packages", flush=True)
    table = pairs.collect(source, args.work / "cache", find_parser(args.parser), args.corpus)
    columns = pairs.sample(table)
    print(f"{table.num_rows} chunks, {len(columns['code'])} in training", flush=True)

    texts = [columns[name] for name in ("question", "rest", "symbol", "code")]
    tokens = vocabulary.build(texts, columns["package"], args.tokens)
    (args.work / "tokens.json").write_text(json.dumps(tokens))
    encoder = vocabulary.Encoder(tokens)
    fields = ("path", "symbol", "question", "paragraph", "rest", "code")
    bags = {name: train.Bags([encoder.encode(text) for text in columns[name]]) for name in fields}

    minilm = subprocess.run([ROOT / "scripts/fetch-minilm"], check=True, capture_output=True, text=True)
    teacher = Teacher(minilm.stdout.strip(), args.work)
    questions = teacher_texts(columns)
    rows, targets = starting_rows(teacher, tokens, questions, bags, args.dims)
    anchors = train.Anchors(train.Bags([encoder.encode(q) for q in questions]), targets)
    distilled = train.distil(rows, anchors, steps=150)
    rows = contrast(distilled, bags, columns, anchors, args.steps)
    rows = rows / rows.norm(dim=1).mean() + BACK * distilled / distilled.norm(dim=1).mean()
    np.save(args.work / "rows.npy", rows.numpy())
    export.write(rows.numpy(), tokens, args.out)


if __name__ == "__main__":
    main()
