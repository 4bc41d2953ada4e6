#!/usr/bin/env python3
"""Measures the tools: scripts/bench/run.py WHAT FOLDER... The folder results holds dated runs of it.

run.py parse FOLDER...           cs-parse against bare tree-sitter: speed, scaling, memory, first
                                 batch, the same bytes with any number of threads
run.py memory FOLDER...          peak memory over more and more files of each folder
run.py since FOLDER...           a second run with --since over what has not changed
run.py chunks FOLDER...          what the chunks are: sizes, share of code in named chunks, files
                                 that fell back to lines, and that no byte is lost
run.py tokens FOLDER...          our WordPiece against the tokenizers crate: the same ids, and speed
run.py store FOLDER...           the store: writing against pylance, memory, one changed file, the
                                 approximate index, a thousand updates
run.py embed FOLDER...           all-MiniLM-L6-v2 in each kind of numbers, against PyTorch and ONNX Runtime
run.py static-models FOLDER...
                                 the built-in model: start, rate with 1 and 2 threads against
                                 model2vec-rs, the whole process, memory
run.py query FOLDER...           a store of the folders: the whole process of a question, a batch, and
                                 what a question takes with filters; CS_BENCH_DB keeps the store
run.py corpus [DIR]              fetches 32,108 files in 148 public packages (0.5 GB without what
                                 is binary); goes on where it was broken off
run.py pipeline [DIR]            the whole pipeline over that corpus: fresh, unchanged, one changed
                                 file, each stage alone, memory, MiniLM and other programs, ten times
                                 as many files; --parts chooses

Each prints a Markdown table. Timings are medians of runs that take turns, so that their ratios
hold on a noisy machine; let nothing else run. The files in results name their corpora.
"""

import argparse
import hashlib
import http.server
import json
import os
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def build():
    command = "cargo build --release --quiet --locked --workspace --bins --examples"
    subprocess.run(command.split(), cwd=ROOT, check=True)


def measured(command, stdout=subprocess.DEVNULL, stdin=None):
    """Runs a command and returns its seconds and peak memory in MiB."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    # 1 tells that some file was left out; the same ones in each run.
    if code not in (0, 1):
        sys.exit(f"bench: {' '.join(map(str, command))} ended with {code}")
    return seconds, usage.ru_maxrss / 1024


def cs_parse(folder, threads, *flags):
    return [TARGET / "cs-parse", folder, "-q", "-j", str(threads), *flags]


def bare(folder, threads):
    command = [TARGET / "examples" / "bare_parse", folder, str(threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(output.stdout)


def exactly(stream, count):
    data = stream.read(count)
    if len(data) != count:
        sys.exit("bench: the stream ended early")
    return data


def first_batch(folder):
    """Returns the milliseconds until the first rows stand in the pipe."""
    started = time.perf_counter()
    command = cs_parse(folder, os.cpu_count() or 1)
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as child:
        # The schema is one message without a body; what follows is the first batch.
        _, length = struct.unpack("<II", exactly(child.stdout, 8))
        exactly(child.stdout, length)
        exactly(child.stdout, 8)
        waited = time.perf_counter() - started
        child.kill()
    return waited * 1000


def digest(folder, threads):
    # The path is in the header, the threads are not.
    with subprocess.Popen(cs_parse(folder, threads, "--no-report"), stdout=subprocess.PIPE) as child:
        return hashlib.file_digest(child.stdout, "blake2b").hexdigest()


def parse(folders, runs):
    print("| corpus | files with a grammar | MB | bare 1 thread, s | cs-parse, s | share | "
          "bare 2 threads | cs-parse | share | 1 to 2 threads | MiB | first batch, ms | same bytes |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for folder in folders:
        measured(cs_parse(folder, 2))
        times = {}
        peak = 0
        for _ in range(runs):
            for threads in (1, 2):
                found = bare(folder, threads)
                times.setdefault(("bare", threads), []).append(found["seconds"])
                seconds, mib = measured(cs_parse(folder, threads))
                times.setdefault(("cs", threads), []).append(seconds)
                peak = max(peak, mib)
        middle = {key: statistics.median(value) for key, value in times.items()}
        waits = [first_batch(folder) for _ in range(runs)]
        same = len({digest(folder, threads) for threads in (1, 2, 5)}) == 1
        share = [middle["bare", threads] / middle["cs", threads] for threads in (1, 2)]
        print(f"| {Path(folder).name} | {found['files']:,} (+ {found['without_grammar']:,}) "
              f"| {found['bytes'] / 1e6:.1f} "
              f"| {middle['bare', 1]:.2f} | {middle['cs', 1]:.2f} | {share[0]:.0%} "
              f"| {middle['bare', 2]:.2f} | {middle['cs', 2]:.2f} | {share[1]:.0%} "
              f"| {middle['cs', 1] / middle['cs', 2]:.2f}x | {peak:.0f} "
              f"| {statistics.median(waits):.0f} | {'yes' if same else 'NO'} |", flush=True)


def memory(folders, runs):
    print("| corpus | files | MB | peak MiB |")
    print("|---|---|---|---|")
    for folder in folders:
        found = sorted(path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file())
        # Files spread over the folder; a smaller set is a part of the larger one.
        found.sort(key=lambda path: hashlib.blake2b(os.fsencode(path)).digest())
        for count in (3_000, 10_000, 30_000, len(found)):
            if count > len(found):
                continue
            with tempfile.NamedTemporaryFile() as listed:
                listed.write(b"\0".join(os.fsencode(path) for path in found[:count]) + b"\0")
                listed.flush()
                command = cs_parse(folder, os.cpu_count() or 1, "--files-from", listed.name)
                peak = max(measured(command)[1] for _ in range(runs))
            size = sum((Path(folder) / path).stat().st_size for path in found[:count])
            print(f"| {Path(folder).name} | {count:,} | {size / 1e6:.0f} | {peak:.0f} |", flush=True)


def since(folders, runs):
    print("| corpus | files | first run, s | second run, s | its CPU, s | MiB | rows |")
    print("|---|---|---|---|---|---|---|")
    for folder in folders:
        with tempfile.TemporaryDirectory(prefix="cs-bench-") as scratch:
            db = Path(scratch) / "db"
            pipeline = f"'{TARGET}/cs-parse' -q '{folder}' | '{TARGET}/cs-embed' -q | '{TARGET}/cs-store' -q '{db}'"
            started = time.perf_counter()
            subprocess.run(["bash", "-c", pipeline], check=True)
            first = time.perf_counter() - started
            # What is younger than the manifest by less than a tick is read again.
            time.sleep(3)
            command = [TARGET / "cs-parse", folder, "--since", db, "--to", "jsonl", "--no-report"]
            output = subprocess.run(command, capture_output=True, text=True)
            rows = max(0, output.stdout.count("\n") - 2)
            line = output.stderr.strip().splitlines()[-1]
            seconds, cpu, peak = [], [], 0
            for _ in range(runs):
                before = os.times()
                wall, mib = measured([*command, "-q"])
                after = os.times()
                seconds.append(wall)
                cpu.append(after.children_user + after.children_system
                           - before.children_user - before.children_system)
                peak = max(peak, mib)
            files = next((part for part in line.split("; ") if "unchanged" in part), line)
            print(f"| {Path(folder).name} | {files} | {first:.1f} | {statistics.median(seconds):.2f} "
                  f"| {statistics.median(cpu):.2f} | {peak:.0f} | {rows} |", flush=True)


def violations(root, spans):
    """Counts the files in which chunks overlap, or leave out a byte that is not blank."""
    count = 0
    for path, chunks in spans.items():
        source = (Path(root) / path).read_bytes()
        end = 3 if source.startswith(b"\xef\xbb\xbf") else 0
        for start, after in chunks:
            if start < end or source[end:start].strip():
                break
            end = after
        else:
            if not source[end:].strip():
                continue
        print(f"{root}/{path}: not every byte is in one chunk", file=sys.stderr)
        count += 1
    return count


# Data and documents, whose chunks need no name.
NO_CODE = {"css", "dockerfile", "html", "json", "jupyter", "make", "markdown", "rst", "toml", "yaml"}


def chunks(folders, _runs):
    listed = subprocess.run([TARGET / "cs-parse", "--list-languages", "--json"],
                            check=True, capture_output=True)
    code = {row["name"] for row in json.loads(listed.stdout) if row["cut"] == "syntax"} - NO_CODE
    print("| corpus | most code in | files of code | MB of code | in named chunks | chunks "
          "| bytes: 5 % / median / mean / 95 % | under 40 | cut by lines | files not covered |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for folder in folders:
        with tempfile.TemporaryFile() as told:
            command = [TARGET / "cs-parse", folder, "--to", "jsonl"]
            sizes, by_language, files, spans = [], {}, set(), {}
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told) as child:
                for line in child.stdout:
                    row = json.loads(line)
                    if row["op"] != "put":
                        continue
                    size = len(row["content"].encode())
                    sizes.append(size)
                    language = row.get("language")
                    # What stands between the cells of a notebook is in no chunk.
                    if not row["path"].endswith(".ipynb"):
                        spans.setdefault(row["path"], []).append((row["start_byte"], row["end_byte"]))
                    if language in code:
                        span = row["end_byte"] - row["start_byte"]
                        named, all_bytes = by_language.get(language, (0, 0))
                        by_language[language] = (named + span * ("symbol" in row), all_bytes + span)
                        files.add((row["repo"], row["path"]))
            told.seek(0)
            reasons = [line for line in told.read().decode().splitlines() if "cut by lines" in line]
        fallen = [line for line in reasons if "warning" in line and "; " not in line]
        named = sum(named for named, _ in by_language.values())
        total = sum(total for _, total in by_language.values())
        most = max(by_language, key=lambda name: by_language[name][1], default="none")
        share = f"{named / total:.1%}" if total else "-"
        if total:
            own, own_all = by_language[most]
            share += f" ({own / own_all:.1%} of {most})"
        sizes.sort()
        at = lambda part: sizes[min(len(sizes) - 1, int(len(sizes) * part))] if sizes else 0
        mean = statistics.fmean(sizes) if sizes else 0
        tiny = sum(size < 40 for size in sizes) / max(1, len(sizes))
        print(f"| {Path(folder).name} | {most} | {len(files):,} | {total / 1e6:.2f} | {share} "
              f"| {len(sizes):,} | {at(0.05)} / {at(0.5)} / {mean:.0f} / {at(0.95)} | {tiny:.1%} "
              f"| {len(fallen)} | {violations(folder, spans)} |", flush=True)
        for line in fallen:
            print(f"{Path(folder).name}: {line}", file=sys.stderr)


def contents(folder, file):
    """Writes the chunks' texts to a file, a JSON string a line, and returns how many."""
    count = 0
    command = [TARGET / "cs-parse", folder, "-q", "--to", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        for line in child.stdout:
            row = json.loads(line)
            if row["op"] == "put":
                file.write(json.dumps(row["content"]).encode() + b"\n")
                count += 1
    file.flush()
    return count


def tokens(folders, _runs):
    print("| corpus | tokenizer | chunks | MB | ids, all equal | MB/s a thread | tokenizers crate |")
    print("|---|---|---|---|---|---|---|")
    test = "cargo test --release --quiet --locked --workspace --lib -- --nocapture ids_of_real_chunks"
    for folder in folders:
        with tempfile.NamedTemporaryFile() as file:
            contents(folder, file)
            told = subprocess.run(test.split(), cwd=ROOT, check=True, capture_output=True, text=True,
                                  env={**os.environ, "CS_CHUNKS": file.name}).stdout
        for line in told.splitlines():
            if line.startswith("| "):
                print(f"| {Path(folder).name} {line}", flush=True)


# The peer is compiled apart from the workspace, whose dependencies are not to change for it.
PEER_CARGO = """[package]
name = "peer"
version = "0.0.0"
edition = "2024"

[dependencies]
model2vec-rs = { version = "=0.4.0", default-features = false, features = ["fancy-regex"] }
serde_json = "1"

[workspace]
"""

PEER_MAIN = """use std::sync::atomic::{AtomicUsize, Ordering};

use model2vec_rs::model::StaticModel;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let texts = std::fs::read_to_string(&arguments[2]).unwrap();
    let texts = texts.lines().map(|line| serde_json::from_str(line).unwrap());
    let texts: Vec<String> = texts.collect();
    let model = StaticModel::from_pretrained(&arguments[1], None, None, None).unwrap();
    let started = std::time::Instant::now();
    let next = AtomicUsize::new(0);
    let windows: Vec<&[String]> = texts.chunks(1024).collect();
    let work = || {
        let mut sum = 0.0;
        while let Some(window) = windows.get(next.fetch_add(1, Ordering::Relaxed)) {
            let vectors = model.encode_with_args(window, None, 1024);
            sum += vectors.iter().map(|vector| vector[0]).sum::<f32>();
        }
        sum
    };
    let sum: f32 = std::thread::scope(|scope| {
        let workers = (0..arguments[3].parse().unwrap()).map(|_| scope.spawn(work));
        let workers: Vec<_> = workers.collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    println!("{} {:.6} {sum}", texts.len(), started.elapsed().as_secs_f64());
}
"""


def peer():
    """Builds model2vec-rs with a program that does what the example embed_texts does."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cs" / "model2vec-rs"
    (folder / "src").mkdir(parents=True, exist_ok=True)
    for name, text in (("Cargo.toml", PEER_CARGO), ("src/main.rs", PEER_MAIN)):
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target")}
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=folder, check=True, env=environment)
    return folder / "target/release/peer"


def static_models(folders, runs):
    model = ROOT / "embed/model"
    programs = {"cs-embed": ([TARGET / "examples/embed_texts", "builtin"]),
                "model2vec-rs": ([peer(), model])}
    print("| corpus | chunks | MB | cs-embed, 1 thread, chunks/s | model2vec-rs | 2 threads | model2vec-rs "
          "| process, 2 threads | MiB | empty stream, ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for folder in folders:
        with tempfile.NamedTemporaryFile() as texts, tempfile.NamedTemporaryFile() as stream, \
                tempfile.TemporaryDirectory() as empty, tempfile.NamedTemporaryFile() as nothing:
            count = contents(folder, texts)
            subprocess.run([TARGET / "cs-parse", "-q", folder], stdout=stream, check=True)
            subprocess.run([TARGET / "cs-parse", "-q", empty], stdout=nothing, check=True)
            rates, whole, start, peak = {}, [], [], 0
            for _ in range(runs):
                for threads in (1, 2):
                    for name, program in programs.items():
                        command = [*program, texts.name, str(threads)]
                        told = subprocess.run(command, check=True, capture_output=True, text=True)
                        _, *seconds, _ = told.stdout.split()
                        rates.setdefault((name, threads), []).append(count / sum(map(float, seconds)))
                seconds, mib = embedded(stream.name, "-j", "2")
                whole.append(count / seconds)
                peak = max(peak, mib)
                start.append(embedded(nothing.name)[0] * 1000)
            rate = {key: f"{statistics.median(value):,.0f}" for key, value in rates.items()}
            size = Path(texts.name).stat().st_size / 1e6
            print(f"| {Path(folder).name} | {count:,} | {size:.0f} | {rate['cs-embed', 1]} "
                  f"| {rate['model2vec-rs', 1]} | {rate['cs-embed', 2]} | {rate['model2vec-rs', 2]} "
                  f"| {statistics.median(whole):,.0f} | {peak:.0f} "
                  f"| {statistics.median(start):.1f} |", flush=True)


# Other programs on the same encoder, by the names of scripts/bench/embed-peers.py; the first is
# what vectors are compared with.
PEERS = ("torch-f32", "torch-bf16", "onnx-f32", "onnx-int8")


def embed(folders, runs):
    """all-MiniLM-L6-v2 on 2,000 chunks, two threads: every numbers of ours, and the peers."""
    python = os.environ.get("CS_TORCH_PYTHON", sys.executable)
    missing = subprocess.run([python, "-c", "import torch, transformers, onnx, onnxruntime"],
                             capture_output=True).returncode
    peers = () if missing else PEERS
    if missing:
        print("bench: no torch, transformers, onnx and onnxruntime: without peers "
              "(CS_TORCH_PYTHON names a Python that has them)", file=sys.stderr)
    model = subprocess.run([ROOT / "scripts/fetch-minilm"], check=True, capture_output=True,
                           text=True).stdout.strip()
    for folder in folders:
        with tempfile.TemporaryDirectory(prefix="cs-bench-") as scratch:
            texts = Path(scratch) / "texts.jsonl"
            with open(texts, "wb") as file:
                contents(folder, file)
            lines = texts.read_text().splitlines()
            # Spread over the folder, as many as there are up to 2,000.
            lines = sorted(lines, key=lambda line: hashlib.blake2b(line.encode()).digest())[:2000]
            texts.write_text("".join(line + "\n" for line in lines))
            (Path(scratch) / "texts.json").write_text(f"[{','.join(lines)}]")
            compare(folder, Path(scratch), model, (python, peers), runs)


def compare(folder, scratch, model, peers, runs):
    python, peers = peers
    found = {}
    ours = ("f32", "bf16", "q8_0")
    for run in range(runs):
        for name in ours:
            command = [TARGET / "examples/embed_texts", model, scratch / "texts.jsonl", "2", name,
                       scratch / name]
            with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as said:
                child = subprocess.Popen(command, stdout=told, stderr=said)
                _, status, usage = os.wait4(child.pid, 0)
                told.seek(0)
                words = told.read().split()
            if status:
                if run == 0:
                    print(f"bench: {name} does not run here", file=sys.stderr)
                continue
            found.setdefault(f"cs-embed {name}", []).append(
                (float(words[2]), usage.ru_maxrss / 1024, int(words[0])))
        for name in peers:
            command = [python, ROOT / "scripts/bench/embed-peers.py", model, scratch / "texts.json", name]
            told = json.loads(subprocess.run(command, check=True, capture_output=True,
                                             text=True).stdout.splitlines()[-1])
            found.setdefault(name, []).append(
                (told["seconds"], told["peak_rss_mib"], told["texts"]))
    print("| corpus | program and numbers | chunks | chunks/s | of ONNX Runtime f32 "
          "| cosine to PyTorch f32: mean / least | MiB |")
    print("|---|---|---|---|---|---|---|")
    rates = {name: runs[0][2] / statistics.median(run[0] for run in runs)
             for name, runs in found.items()}
    for name, runs in found.items():
        ratio = f"{rates[name] / rates['onnx-f32']:.2f}" if "onnx-f32" in rates else "-"
        told = cosine(scratch, name, python) if peers else "-"
        print(f"| {Path(folder).name} | {name} | {runs[0][2]:,} | {rates[name]:.1f} | {ratio} "
              f"| {told} | {max(run[1] for run in runs):.0f} |", flush=True)


def cosine(scratch, name, python):
    code = """
import sys, numpy as np
a = np.load(sys.argv[1])
b = np.load(sys.argv[2]) if sys.argv[2].endswith("npy") else np.fromfile(sys.argv[2], np.float32).reshape(a.shape)
c = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
print(f"{c.mean():.5f} / {c.min():.4f}")
"""
    own = name.removeprefix("cs-embed ")
    path = scratch / own if own != name else scratch / f"texts.json.{name}.npy"
    first = scratch / f"texts.json.{PEERS[0]}.npy"
    told = subprocess.run([python, "-c", code, first, path], check=True, capture_output=True, text=True)
    return told.stdout.strip()


def embedded(path, *flags):
    with open(path, "rb") as stream:
        return measured([TARGET / "cs-embed", "-q", *flags], stdin=stream)


def pylance(*arguments, stdout=subprocess.PIPE):
    """Runs scripts/bench/store-peers.py, in the Python that CS_LANCE_PYTHON names."""
    python = os.environ.get("CS_LANCE_PYTHON", sys.executable)
    command = [python, ROOT / "scripts/bench/store-peers.py", *map(str, arguments)]
    told = subprocess.run(command, check=True, stdout=stdout, text=True).stdout
    return json.loads(told.splitlines()[-1]) if told else None


def pipeline(folder, db, *flags):
    """Runs all three stages, and returns the seconds and what cs-store said of its upkeep."""
    parse = f"'{TARGET}/cs-parse' -q '{folder}' {' '.join(flags)}"
    script = f"{parse} | '{TARGET}/cs-embed' -q | '{TARGET}/cs-store' -v '{db}'"
    started = time.perf_counter()
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 1):
        sys.exit(f"bench: {script}: {done.stderr}")
    return seconds, done.stderr


def told_seconds(said, what):
    return sum(float(line.split()[-2]) for line in said.splitlines() if what in line)


def stored(stream, db):
    """Stores a stream: the seconds without those of the upkeep, these, and the peak memory."""
    shutil.rmtree(db, ignore_errors=True)
    with open(stream, "rb") as rows, tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        child = subprocess.Popen([TARGET / "cs-store", "-v", db], stdin=rows, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        said.seek(0)
        text = said.read()
    if status:
        sys.exit(f"bench: cs-store: {text}")
    upkeep = told_seconds(text, "upkeep took")
    return seconds - upkeep, upkeep, usage.ru_maxrss / 1024


def folder_bytes(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def store(folders, runs):
    """One folder at a time: it takes some 8 GB of the temporary folder for 1,000,000 rows."""
    for folder in folders:
        with tempfile.TemporaryDirectory(prefix="cs-bench-") as scratch:
            scratch = Path(scratch)
            stream = scratch / "stream.arrows"
            with open(stream, "wb") as out:
                script = f"'{TARGET}/cs-parse' -q '{folder}' | '{TARGET}/cs-embed' -q"
                subprocess.run(["bash", "-c", script], check=True, stdout=out)
            ingest(stream, scratch, runs)
            indexed(stream, scratch)
            updates(folder, scratch, runs)


def ingest(stream, scratch, runs):
    print("| rows, 384 x f32 | cs-store, s | pylance, s | ratio | upkeep, s | MiB | pylance, MiB |")
    print("|---|---|---|---|---|---|---|")
    for rows in (100_000, 200_000, 1_000_000):
        grown, db, other = (scratch / name for name in ("grown.arrows", "db", "other.lance"))
        pylance("grow", stream, grown, rows, 384)
        ours, theirs = [], []
        for _ in range(runs if rows < 1_000_000 else 1):
            ours.append(stored(grown, db))
            if rows == 200_000:
                shutil.rmtree(other, ignore_errors=True)
                theirs.append(pylance("write", grown, other))
        seconds, upkeep = min(run[0] for run in ours), min(run[1] for run in ours)
        peer = min((run["seconds"] for run in theirs), default=None)
        memory = max((run["peak_rss_mib"] for run in theirs), default=0)
        told = f"{peer:.2f} | {peer / seconds:.2f}" if peer else "- | -"
        print(f"| {rows:,} | {seconds:.2f} | {told} | {upkeep:.2f} "
              f"| {max(run[2] for run in ours):.0f} | {memory:.0f} |", flush=True)
        for path in (db, other):
            shutil.rmtree(path, ignore_errors=True)
        grown.unlink()


def indexed(stream, scratch):
    """Recall and time of the approximate index, and what it takes."""
    kinds = (ROOT / "store/src/index/kinds.rs").read_text()
    probes, refine = (int(re.search(rf"const {name}: \w+ = (\d+)", kinds)[1])
                      for name in ("PROBES", "REFINE"))
    texts, questions = scratch / "texts.jsonl", scratch / "questions.jsonl"
    with open(texts, "w") as out:
        pylance("questions", stream, 300, stdout=out)
    with open(texts, "rb") as rows, open(questions, "wb") as out:
        command = [TARGET / "cs-embed", "-q", "--to", "jsonl"]
        subprocess.run(command, check=True, stdin=rows, stdout=out)
    print("| rows | recall@10 | by the index, ms | exact, ms | cs-query, ms | index, s |")
    print("|---|---|---|---|---|---|")
    for rows in (100_000, 1_000_000):
        grown, db = scratch / "grown.arrows", scratch / "db"
        pylance("grow", stream, grown, rows)
        shutil.rmtree(db, ignore_errors=True)
        with open(grown, "rb") as source:
            said = subprocess.run([TARGET / "cs-store", "-v", db], check=True, stdin=source,
                                  stderr=subprocess.PIPE, text=True).stderr
        found = pylance("recall", db, questions, probes, refine)
        print(f"| {found['rows']:,} | {found['recall']:.3f} | {found['index_ms']:.1f} "
              f"| {found['exact_ms']:.0f} | {asked(db):.0f} "
              f"| {told_seconds(said, 'made the index vector_idx'):.1f} |", flush=True)
        grown.unlink()


def asked(db, count=21):
    """Returns the median milliseconds of a whole cs-query."""
    words = ("where is a file opened", "retry after a failed request", "parse a date", "sum of all")
    times = []
    for number in range(count):
        command = [TARGET / "cs-query", "-q", "--db", db, words[number % len(words)]]
        times.append(measured(command)[0] * 1000)
    return statistics.median(times)


def updates(folder, scratch, runs, count=1000):
    """One changed file in a store of the folder, and then a thousand, against a fresh store."""
    copy, db, fresh = (scratch / name for name in ("copy", "db", "fresh"))
    shutil.copytree(folder, copy, symlinks=True, ignore_dangling_symlinks=True)
    shutil.rmtree(db, ignore_errors=True)
    pipeline(copy, db)
    files = [path for path in sorted(copy.rglob("*.rs")) if 500 < path.stat().st_size < 50_000]
    choose = random.Random(5)

    def update(number):
        path = choose.choice(files)
        lines = path.read_text(errors="replace").splitlines(keepends=True)
        at = choose.randrange(len(lines))
        added = f"\nfn edited_{number}() {{ run({number}); }}\n"
        path.write_text("".join(lines[:at]) + added + "".join(lines[at:]))
        return pipeline(copy, db, "--since", f"'{db}'")

    started = time.perf_counter()
    times = sorted(update(number)[0] for number in range(count))
    whole = time.perf_counter() - started
    decayed = folder_bytes(db), asked(db)
    info = json.loads(subprocess.run([TARGET / "cs-store", "info", db, "--json"], check=True,
                                     capture_output=True).stdout)
    outside = max(index["unindexed_rows"] for index in info["indexes"])
    # Versions stay for two minutes where they are many, and go with the next run.
    time.sleep(125)
    update(count)
    settled = folder_bytes(db)
    pipeline(copy, fresh)
    size, latency = folder_bytes(fresh), asked(fresh)
    print("| rows | updates | a run, s: median / 95 % / longest | MiB after / two minutes later / fresh "
          "| ratios | query, ms after / fresh | ratio | versions | fragments | rows outside |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    at = lambda part: times[min(count - 1, int(count * part))]
    print(f"| {info['chunks']:,} | {count:,} in {whole:.0f} s | {at(0.5):.2f} / {at(0.95):.2f} "
          f"/ {times[-1]:.2f} | {decayed[0] / 2**20:.0f} / {settled / 2**20:.0f} / {size / 2**20:.0f} "
          f"| {decayed[0] / size:.2f}, {settled / size:.2f} | {decayed[1]:.0f} / {latency:.0f} "
          f"| {decayed[1] / latency:.2f} | {info['versions']} | {info['fragments']} | {outside} |",
          flush=True)


QUESTIONS = """where are failed requests retried
parse a date from a string
open a file and read its lines
how are errors converted
thread pool that runs tasks
serialize a struct to JSON
compute a hash of bytes
HTTP response status codes
read environment variables
match a regular expression
buffered writer
encode base64
connect to a TCP socket
lock a mutex
iterate over a directory
command line arguments
random number generator
sort a list by key
compress with zstd
split a string at whitespace
Deserializer
parse_args
TcpStream
Builder.build
from_str""".splitlines()


def query(folders, runs):
    """Whole processes take turns between the kinds of questions; a batch is timed by its answers."""
    with tempfile.TemporaryDirectory() as scratch:
        db = os.environ.get("CS_BENCH_DB", f"{scratch}/db")
        if not os.path.isdir(db):
            parse = subprocess.Popen([TARGET / "cs-parse", "-q", *folders], stdout=subprocess.PIPE)
            embed = subprocess.Popen([TARGET / "cs-embed", "-q"], stdin=parse.stdout, stdout=subprocess.PIPE)
            subprocess.run([TARGET / "cs-store", "-q", db], stdin=embed.stdout, check=True)
        info = subprocess.run([TARGET / "cs-store", "info", db, "--json"], check=True, capture_output=True)
        chunks = json.loads(info.stdout)["chunks"]
        kinds = {"whole process": [], "--mode dense": ["--mode", "dense"], "--mode text": ["--mode", "text"],
                 "--lang rust": ["--lang", "rust"], "--path 'src/'": ["--path", "src/"],
                 "--json -n 50": ["--json", "-n", "50"]}
        seconds, peak = {kind: [] for kind in kinds}, {kind: 0 for kind in kinds}
        for _ in range(runs):
            for question in QUESTIONS:
                for kind, flags in kinds.items():
                    took, memory = measured([TARGET / "cs-query", "-q", "--db", db, *flags, question])
                    seconds[kind].append(took * 1000)
                    peak[kind] = max(peak[kind], memory)
        print(f"{chunks:,} chunks, {len(QUESTIONS)} questions, {runs} runs\n")
        print("| | p50, ms | p99, ms | MiB |\n|---|---|---|---|")
        for kind, times in seconds.items():
            print(f"| {kind} | {statistics.median(times):.1f} | {percentile(times, 0.99):.1f} | {peak[kind]:.0f} |")
        for threads in ("1", "2"):
            times = batch(db, threads, runs)
            print(f"| a question of a batch, -j {threads} | {statistics.median(times):.2f} "
                  f"| {percentile(times, 0.99):.2f} | |", flush=True)
        for threads in ("1", "4", "16"):
            print(f"| one of 48 with --answer, a model that takes 200 ms, -j {threads} "
                  f"| {answers(db, threads):.1f} | | |", flush=True)
        for tool, times in mcp(db, runs).items():
            print(f"| --mcp, {tool} | {statistics.median(times):.2f} "
                  f"| {percentile(times, 0.99):.2f} | |", flush=True)


class Model(http.server.BaseHTTPRequestHandler):
    """A language model that says the same after 200 ms."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(0.2)
        said = {"choices": [{"delta": {"content": "It is there [1]."}, "finish_reason": "stop"}]}
        body = f"data: {json.dumps(said)}\n\ndata: [DONE]\n\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def answers(db, threads, count=48):
    """Returns milliseconds a question of a batch that a model answers."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        command = [TARGET / "cs-query", "-q", "--db", db, "--batch", "-j", threads, "--answer",
                   "--llm", url, "--llm-model", "stand-in"]
        questions = "".join(f"{QUESTIONS[at % len(QUESTIONS)]}\n" for at in range(count))
        started = time.perf_counter()
        done = subprocess.run(command, input=questions, text=True, capture_output=True, check=True)
        took = time.perf_counter() - started
        server.shutdown()
    assert done.stdout.count('"holds":true') == count, done.stderr
    return took / count * 1000


def mcp(db, runs):
    """Returns milliseconds of each call of a tool, one after the other."""
    child = subprocess.Popen([TARGET / "cs-query", "-q", "--mcp", "--db", db], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, bufsize=1)

    def say(**message):
        child.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        child.stdin.flush()

    def ask(method, **params):
        say(id=1, method=method, params=params)
        answer = json.loads(child.stdout.readline())
        assert "result" in answer, answer
        return answer["result"]

    ask("initialize", protocolVersion="2025-06-18", capabilities={},
        clientInfo={"name": "bench", "version": "0"})
    say(method="notifications/initialized")
    found = json.loads(subprocess.run([TARGET / "cs-query", "-q", "--db", db, "--json", "-n", "1", QUESTIONS[0]],
                                      check=True, capture_output=True).stdout)["hits"][0]
    at = f"{found['repo']}/{found['path']}"
    times = {}
    # The first round opens what later ones find open.
    for run in range(runs + 1):
        calls = [("search", {"question": question}) for question in QUESTIONS]
        calls += [("similar", {"at": f"{at}:{found['start_line']}"}), ("symbol", {"name": found["name"] or "new"}),
                  ("outline", {"path": at}), ("status", {})]
        for tool, arguments in calls:
            started = time.perf_counter()
            ask("tools/call", name=tool, arguments=arguments)
            if run:
                times.setdefault(tool, []).append((time.perf_counter() - started) * 1000)
    child.stdin.close()
    child.wait()
    return times


def batch(db, threads, runs):
    """Returns milliseconds a question: asked one after the other for -j 1, else all at once."""
    command = [TARGET / "cs-query", "-q", "--db", db, "--batch", "-j", threads]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    times = []
    # The first round opens what later ones find open.
    for run in range(runs + 1):
        started = time.perf_counter()
        if threads == "1":
            for question in QUESTIONS:
                began = time.perf_counter()
                child.stdin.write(question + "\n")
                child.stdin.flush()
                child.stdout.readline()
                if run:
                    times.append((time.perf_counter() - began) * 1000)
        else:
            child.stdin.write("".join(question + "\n" for question in QUESTIONS))
            child.stdin.flush()
            for _ in QUESTIONS:
                child.stdout.readline()
            if run:
                times.append((time.perf_counter() - started) * 1000 / len(QUESTIONS))
    child.stdin.close()
    child.wait()
    return times


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def corpus_folder(folders):
    """Returns where the corpus is, having fetched what of it is missing."""
    sys.path.insert(0, str(ROOT / "scripts/bench/corpus"))
    sys.dont_write_bytecode = True
    import corpus as packages

    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cs"
    folder = Path(folders[0] if folders else cache / "corpus").absolute()
    rows = packages.read()
    failed = packages.fetch(rows, folder)
    for line in failed:
        print(f"bench: {line}", file=sys.stderr)
    if failed:
        sys.exit(f"bench: {len(failed)} packages are missing; another run asks for them again")
    files, size = packages.taken(TARGET / "cs-parse", "--each-repo", folder)
    print(f"{folder}: {files:,} files, {size / 1e6:.0f} MB, {len(rows)} packages\n", flush=True)
    if files != sum(row[4] for row in rows):
        print("bench: these are not the files of packages.txt: cs-parse takes others now", file=sys.stderr)
    return folder


COMMANDS = {"query": query, "parse": parse, "memory": memory, "since": since, "chunks": chunks, "tokens": tokens,
            "static-models": static_models, "embed": embed, "store": store}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted([*COMMANDS, "corpus", "pipeline"]))
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=5, help="how often each is timed (default: 5)")
    of_pipeline = parser.add_argument_group("of the pipeline")
    of_pipeline.add_argument("--parts", default="bare,fresh,memory,peers,many",
                             help="what is measured (default: %(default)s)")
    of_pipeline.add_argument("--files", type=int, default=150, help="files for encoders and others (default: 150)")
    of_pipeline.add_argument("--plot", metavar="FILE", help="draws the memory as SVG")
    of_pipeline.add_argument("--scratch", metavar="DIR", help="where stores go, on the corpus's disk "
                             "(default: beside the corpus)")
    args = parser.parse_args()
    if args.what in ("corpus", "pipeline"):
        build()
        folder = corpus_folder(args.folders)
        if args.what == "pipeline":
            import pipeline as whole

            whole.run(TARGET, folder, args.runs, args)
        return
    if not args.folders:
        parser.error(f"{args.what} needs folders")
    build()
    COMMANDS[args.what](args.folders, args.runs)


if __name__ == "__main__":
    main()
