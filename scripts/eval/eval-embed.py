#!/usr/bin/env python3
"""Measures a model alone, without keywords or ranking, on the development sets.

Usage: eval-embed.py [--model MODEL] [--eval DIR] [--repos DIR]

Runs cs-parse and cs-embed as built (CARGO_TARGET_DIR, or CS_BIN for another folder) and searches
exactly: NDCG@10 and MRR@10 on cosqa-dev, file-level NDCG@10 on repos-dev, by language.

--model   what cs-embed takes: builtin, a folder or a name in the hub's cache
--eval    the development sets [default: ../shared/eval beside the clone]
--repos   sources of the repositories of repos-dev, a folder each, by name; without it only
          cosqa-dev is measured. Only what lies below a repository's benchmark_root is searched.

Targets are files: spans are not looked at. A question is embedded as it is, without a model's query prefix, a function of cosqa-dev without a
path. A result is a file, ranked by its best chunk. Needs numpy and pyarrow.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
BIN = Path(os.environ.get("CS_BIN", TARGET))
TOP = 10


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def embed(stream, model):
    """Runs cs-embed over a stream; returns its chunks without vectors, and the unit vectors."""
    done = subprocess.run([BIN / "cs-embed", "-q", "--model", model], input=stream, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit("eval-embed: cs-embed failed")
    table = pa.ipc.open_stream(done.stdout).read_all()
    table = table.filter(pa.compute.equal(table["op"], "put"))
    column = table["vector"].combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return table.drop_columns(["vector"]), vectors


def embed_texts(texts, model):
    rows = [json.dumps({"op": "put", "repo": "texts", "path": "", "content": text}) for text in texts]
    return embed("\n".join([*rows, '{"op":"end"}', ""]).encode(), model)[1]


def cosqa(folder, model):
    """Returns NDCG@10 and MRR@10; each question has one right answer."""
    corpus, questions = read(folder / "corpus.jsonl"), read(folder / "queries.jsonl")
    right = {row["query"]: row["doc"] for row in read(folder / "qrels.jsonl")}
    place = {row["id"]: i for i, row in enumerate(corpus)}
    documents = embed_texts([row["text"] for row in corpus], model)
    scores = embed_texts([row["text"] for row in questions], model) @ documents.T
    gains, reciprocals = [], []
    for row, score in zip(questions, scores):
        rank = 1 + int((score > score[place[right[row["id"]]]]).sum())
        gains.append(1 / np.log2(rank + 1) if rank <= TOP else 0.0)
        reciprocals.append(1 / rank if rank <= TOP else 0.0)
    return np.mean(gains), np.mean(reciprocals)


def same_file(path, target):
    """Tells whether a result is a target: one path may begin higher up than the other."""
    wanted = target if isinstance(target, str) else target["path"]
    return path == wanted or path.endswith("/" + wanted) or wanted.endswith("/" + path)


def ndcg(ranked, targets):
    """Returns NDCG@10 with binary relevance; a result matches one target."""
    gain, open_targets = 0.0, list(targets)
    for rank, path in enumerate(ranked[:TOP], 1):
        hit = next((t for t in open_targets if same_file(path, t)), None)
        if hit is not None:
            open_targets.remove(hit)
            gain += 1 / np.log2(rank + 1)
    return gain / sum(1 / np.log2(rank + 1) for rank in range(1, min(TOP, len(targets)) + 1))


def repository(source, root, annotations, model):
    """Returns the mean NDCG@10 of a repository's questions."""
    parsed = subprocess.run([BIN / "cs-parse", source, "-q"], stdout=subprocess.PIPE)
    if parsed.returncode == 2:
        sys.exit(f"eval-embed: cs-parse failed on {source}")
    table, vectors = embed(parsed.stdout, model)
    paths = table["path"].to_pylist()
    inside = [i for i, path in enumerate(paths) if root in (".", "") or path.startswith(root + "/")]
    questions = embed_texts([a["query"] for a in annotations], model)
    results = []
    for annotation, score in zip(annotations, questions @ vectors[inside].T):
        order = np.argsort(-score, kind="stable")
        ranked = list(dict.fromkeys(paths[inside[i]] for i in order))
        results.append(ndcg(ranked, annotation["relevant"] + annotation.get("secondary", [])))
    return np.mean(results)


def main():
    usage = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usage.add_argument("--model", default="builtin")
    usage.add_argument("--eval", type=Path, default=ROOT.parent / "shared/eval")
    usage.add_argument("--repos", type=Path)
    args = usage.parse_args()
    if not args.eval.is_dir():
        print(f"eval-embed: skipped, the development sets are not at {args.eval} (name them with --eval)")
        return
    gain, reciprocal = cosqa(args.eval / "cosqa-dev", args.model)
    print(f"| cosqa-dev | NDCG@10 {gain:.3f} | MRR@10 {reciprocal:.3f} |")
    if not args.repos:
        print("eval-embed: repos-dev skipped, name the folder of its sources with --repos")
        return
    by_language = defaultdict(list)
    for entry in json.loads((args.eval / "repos-dev/repos.json").read_text()):
        source = args.repos / entry["name"]
        if not source.is_dir():
            print(f"eval-embed: {entry['name']} is not in {args.repos}: left out")
            continue
        annotations = json.loads((args.eval / "repos-dev/annotations" / f"{entry['name']}.json").read_text())
        value = repository(source, (entry.get("benchmark_root") or ".").rstrip("/"), annotations, args.model)
        by_language[entry["language"]].append((entry["name"], value))
    print("\n| language | repositories | file-level NDCG@10 |\n|---|---|---|")
    for language, values in sorted(by_language.items()):
        names = ", ".join(f"{name} {value:.3f}" for name, value in values)
        print(f"| {language} | {names} | {np.mean([v for _, v in values]):.3f} |")
    total = np.mean([np.mean([v for _, v in values]) for values in by_language.values()])
    print(f"| **mean by language** | | **{total:.3f}** |")


if __name__ == "__main__":
    main()
