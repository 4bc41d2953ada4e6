#!/usr/bin/env python3
"""Times `cs-query --rerank` and PyTorch on the same candidates, for results/rerank.md.

Usage: rerank-peers.py FOLDER [QUESTIONS [ROUNDS]]

Indexes FOLDER, makes a cross-encoder of the shape of ms-marco-MiniLM-L6-v2 (6 layers, 384 hidden,
12 heads, 30,522 tokens in the vocabulary, 512 in a pair) with random weights and the tokenizer of
scripts/fetch-minilm, and has the 50 best hits of each of QUESTIONS (10) questions looked at again:

- by cs-query, in one process of --batch: what a question takes besides the first one, by --profile;
  and as a process of its own for each question, opening the model included;
- by CrossEncoder of sentence-transformers in f32, with as many threads as there are cores and texts
  in batches of 32, after a question to warm up.

They take turns, ROUNDS (3) times; medians are told, of the wall and of the processor's time, which
other work on the machine changes less, and the greatest difference of a logit. Needs torch, transformers and sentence-transformers. Last run with torch 2.15.0, transformers
5.23.0, sentence-transformers 6.2.0.
"""

import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import sentence_transformers
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
TOP = 50
QUESTIONS = [
    "where are failed requests tried again?", "how is a file cut into chunks", "what happens if the disk is full",
    "parse the arguments of the command line", "how are vectors kept in a cache", "open a store that is incomplete",
    "where is the model downloaded", "which files are left out", "compare two paths", "print hits in colours",
]


def make_model(folder):
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        max_position_embeddings=512, num_labels=1)
    model = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        # Random logits lie close together otherwise.
        model.classifier.weight *= 50
    model.save_pretrained(folder)
    source = pathlib.Path(subprocess.run([ROOT / "scripts/fetch-minilm"], check=True, capture_output=True,
                                         text=True).stdout.strip())
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["truncation"] = tokenizer["padding"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "pad_token": "[PAD]",
        "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}))


def query(db, *flags, stdin=None):
    command = [TARGET / "cs-query", "--db", db, "-n", str(TOP), *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin)


def stage_ms(told):
    return float(re.search(r"^rerank +([0-9.]+)", told, re.M).group(1))


def cpu_ms(who):
    used = resource.getrusage(who)
    return (used.ru_utime + used.ru_stime) * 1e3


def batch_ms(db, model, questions):
    """Milliseconds of a question's second look besides the opening of the model, wall and processor: those of
    so many questions and one more, less those of one."""
    def ms(asked):
        lines = "".join(question + "\n" for question in asked)
        before = cpu_ms(resource.RUSAGE_CHILDREN)
        told = query(db, "--batch", "-j", "1", "--rerank", model, "--profile", stdin=lines).stderr
        return stage_ms(told), cpu_ms(resource.RUSAGE_CHILDREN) - before
    more, one = ms(questions[:1] + questions), ms(questions[:1])
    return [(a - b) / len(questions) for a, b in zip(more, one)]


def main():
    folder = sys.argv[1]
    questions = QUESTIONS[:int(sys.argv[2])] if len(sys.argv) > 2 else QUESTIONS
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    scratch = pathlib.Path(tempfile.mkdtemp())
    db, model = scratch / "db", scratch / "model"
    make_model(model)
    stages = [TARGET / "cs-parse", TARGET / "cs-embed", TARGET / "cs-store"]
    subprocess.run(f"'{stages[0]}' '{folder}' | '{stages[1]}' | '{stages[2]}' '{db}'", shell=True, check=True)
    encoder = sentence_transformers.CrossEncoder(str(model), device="cpu", activation_fn=torch.nn.Identity())
    pairs, found = {}, {}
    for question in questions:
        hits = json.loads(query(db, question, "--json", "--rerank", model).stdout)["hits"]
        text = lambda hit: "\n".join(part for part in (hit["path"], hit["symbol"], hit["content"]) if part)
        pairs[question] = [(question, text(hit)) for hit in hits]
        found[question] = [hit["score"] for hit in hits]
    tokens = [len(encoder.tokenizer(*pair, truncation=True)["input_ids"]) for made in pairs.values() for pair in made]
    differences = [abs(a - b) for question in questions
                   for a, b in zip(encoder.predict(pairs[question], show_progress_bar=False).tolist(), found[question])]
    own, whole, peer = [], [], []
    for _ in range(rounds):
        own.append(batch_ms(db, model, questions))
        for question in questions:
            started = time.perf_counter()
            query(db, question, "--rerank", model)
            whole.append((time.perf_counter() - started) * 1e3)
        for question in questions:
            started, before = time.perf_counter(), cpu_ms(resource.RUSAGE_SELF)
            encoder.predict(pairs[question], show_progress_bar=False)
            peer.append(((time.perf_counter() - started) * 1e3, cpu_ms(resource.RUSAGE_SELF) - before))
    shutil.rmtree(scratch)
    print(json.dumps({
        "threads": threads, "candidates": len(tokens) // len(questions), "tokens": round(statistics.mean(tokens), 1),
        **{f"{name}_{what}_ms": round(statistics.median(taken[at] for taken in made), 1)
           for name, made in (("cs_query", own), ("pytorch", peer)) for at, what in enumerate(("wall", "cpu"))},
        "cs_query_process_ms": round(statistics.median(whole), 1), "logit_difference": max(differences),
        "logit_spread": statistics.pstdev(score for scores in found.values() for score in scores)}))


if __name__ == "__main__":
    main()
