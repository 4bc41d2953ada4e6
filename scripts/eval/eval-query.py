#!/usr/bin/env python3
"""Measures cs-query as a whole on the development sets: search, ranking and all.

Usage: eval-query.py [--model MODEL] [--eval DIR] [--repos DIR] [--modes hybrid,dense,text] [--keep DIR]
                     [--flags FLAGS] [--pairs]

Runs the tools as built (CARGO_TARGET_DIR, or CS_BIN for another folder): makes a store of each
corpus, asks it by cs-query --eval, and prints NDCG@10: of cosqa-dev with its 95 % interval, of
repos-dev by repository, the mean by repository and then by language.

--model   what cs-embed takes: builtin, a folder or a name in the hub's cache
--eval    the development sets [default: ../shared/eval beside the clone]
--repos   sources of the repositories of repos-dev, a folder each, by name; without it only
          cosqa-dev is measured. Only what lies below a repository's benchmark_root is searched.
--keep    a folder for the stores, used again if they are there
--flags   what cs-query is told besides, in one word: --flags="--rewrite --decompose"
--pairs   of repos-dev, each two questions that follow each other are asked as one, joined by
          ", and"

A target is a file, and lines of it where the set says so; its rank is that of the first hit there,
and hits are what cs-query prints, so that a second hit of a file takes a place.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
BIN = Path(os.environ.get("CS_BIN", TARGET))

# What cs-query is told besides.
FLAGS = []


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def store(db, model, parsed):
    """Stores a stream, from a process or as bytes, unless the store is there."""
    embed = subprocess.Popen([BIN / "cs-embed", "-q", "--model", model], stdin=parsed, stdout=subprocess.PIPE)
    kept = subprocess.run([BIN / "cs-store", "-q", db], stdin=embed.stdout)
    if embed.wait() or kept.returncode:
        sys.exit(f"eval-query: {db} could not be stored")


def asked(db, folder, mode):
    """Returns the figures of the questions in a folder."""
    command = [BIN / "cs-query", "-q", "--db", db, "--mode", mode, "--json",
               "--eval", folder / "queries.jsonl", "--qrels", folder / "qrels.jsonl", *FLAGS]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def cosqa(folder, scratch, model, modes):
    db = scratch / "cosqa-dev"
    if not db.is_dir():
        rows = [{"op": "put", "repo": "cosqa", "path": "", "chunk_id": row["id"],
                 "language": row["language"], "content": row["text"]}
                for row in read(folder / "corpus.jsonl")]
        write(scratch / "corpus.jsonl", [*rows, {"op": "end"}])
        with open(scratch / "corpus.jsonl", "rb") as stream:
            store(db, model, stream)
    told = []
    for mode in modes:
        figures = asked(db, folder, mode)["ndcg@10"]
        told.append(f"{figures['mean']:.3f} ({figures['low']:.3f}-{figures['high']:.3f})")
    print(f"| set | {' | '.join(modes)} |\n|---|{'---|' * len(modes)}")
    print(f"| cosqa-dev NDCG@10 (95 %) | {' | '.join(told)} |", flush=True)


def repository(source, entry, annotations, scratch, model, modes):
    """Returns the NDCG@10 of a repository's questions in each mode."""
    db = scratch / entry["name"]
    if not db.is_dir():
        command = [BIN / "cs-parse", "-q", source, "--repo-name", entry["name"]]
        parsed = subprocess.Popen(command, stdout=subprocess.PIPE)
        store(db, model, parsed.stdout)
        if parsed.wait() == 2:
            sys.exit(f"eval-query: cs-parse failed on {source}")
    folder = scratch / f"{entry['name']}.questions"
    folder.mkdir(exist_ok=True)
    root = (entry.get("benchmark_root") or ".").strip("/")
    scope = {} if root == "." else {"path": f"/{root}/"}
    write(folder / "queries.jsonl", ({"id": at, "question": one["query"], "category": one["category"], **scope}
                                     for at, one in enumerate(annotations)))
    targets = ((at, target) for at, one in enumerate(annotations)
               for target in one["relevant"] + one.get("secondary", []))
    write(folder / "qrels.jsonl", ({"query": at, **(target if isinstance(target, dict) else {"path": target})}
                                   for at, target in targets))
    return {mode: asked(db, folder, mode) for mode in modes}


def paired(annotations):
    """Returns questions that ask for what two of the set do."""
    pairs = []
    for one, other in zip(annotations[::2], annotations[1::2]):
        joined = f"{one['query']}, and {other['query']}"
        targets = [*one["relevant"], *one.get("secondary", []), *other["relevant"], *other.get("secondary", [])]
        each = [target for at, target in enumerate(targets) if target not in targets[:at]]
        pairs.append({"query": joined, "relevant": each, "category": "pair"})
    return pairs


def main():
    usage = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usage.add_argument("--model", default="builtin")
    usage.add_argument("--eval", type=Path, default=ROOT.parent / "shared/eval")
    usage.add_argument("--repos", type=Path)
    usage.add_argument("--modes", default="hybrid,dense,text")
    usage.add_argument("--keep", type=Path)
    usage.add_argument("--flags", default="")
    usage.add_argument("--pairs", action="store_true")
    args = usage.parse_args()
    FLAGS.extend(args.flags.split())
    if not args.eval.is_dir():
        print(f"eval-query: skipped, the development sets are not at {args.eval} (name them with --eval)")
        return
    with tempfile.TemporaryDirectory() as scratch:
        scratch = args.keep or Path(scratch)
        scratch.mkdir(parents=True, exist_ok=True)
        modes = args.modes.split(",")
        cosqa(args.eval / "cosqa-dev", scratch, args.model, modes)
        if args.repos:
            repositories(args, scratch, modes)
        else:
            print("eval-query: repos-dev skipped, name the folder of its sources with --repos")


def repositories(args, scratch, modes):
    by_language = defaultdict(list)
    by_category = {mode: defaultdict(list) for mode in modes}
    for entry in json.loads((args.eval / "repos-dev/repos.json").read_text()):
        source = args.repos / entry["name"]
        if not source.is_dir():
            print(f"eval-query: {entry['name']} is not in {args.repos}: left out")
            continue
        annotations = json.loads((args.eval / "repos-dev/annotations" / f"{entry['name']}.json").read_text())
        if args.pairs:
            annotations = paired(annotations)
        figures = repository(source, entry, annotations, scratch, args.model, modes)
        by_language[entry["language"]].append((entry["name"], figures))
        for mode in modes:
            for one in figures[mode]["each"]:
                category = annotations[int(one["id"])]["category"]
                by_category[mode][category].append(one["ndcg@10"])
    print(f"\n| language: repositories | {' | '.join(modes)} |\n|---|{'---|' * len(modes)}")
    means = defaultdict(list)
    for language, values in sorted(by_language.items()):
        told = []
        for mode in modes:
            each = [figures[mode]["ndcg@10"]["mean"] for _, figures in values]
            means[mode].append(sum(each) / len(each))
            told.append(f"{means[mode][-1]:.3f}")
        print(f"| {language}: {', '.join(name for name, _ in values)} | {' | '.join(told)} |")
    told = [f"**{sum(means[mode]) / len(means[mode]):.3f}**" for mode in modes]
    print(f"| **mean by language** | {' | '.join(told)} |")
    for category in sorted(by_category[modes[0]]):
        told = []
        for mode in modes:
            values = by_category[mode][category]
            told.append(f"{sum(values) / len(values):.3f}")
        print(f"| questions of kind {category} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
