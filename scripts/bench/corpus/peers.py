"""What others take for the same files, with the same weights of all-MiniLM-L6-v2, in one run.

- mcp-vector-search 4.1.14, as its own `index` does it: chunks, vectors, its graph.
- The script that one writes in an afternoon: files cut at every 40 lines, sentence-transformers,
  LanceDB with its index for words, one after the other.

They live in a virtual environment of their own in the cache (some 7 GB, most of it PyTorch).
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import corpus
from pipeline import linked, piped, stages

# typer, click and mcp as mcp-vector-search needs them and does not say.
PACKAGES = ("mcp-vector-search==4.1.14", "typer<0.21", "click<8.3", "mcp<2", "sentence-transformers", "lancedb")

NAIVE = '''
import pathlib, sys
import lancedb
from sentence_transformers import SentenceTransformer

folder, database, model = sys.argv[1:]
rows = []
for path in sorted(pathlib.Path(folder).rglob("*")):
    if path.is_file():
        lines = path.read_text(errors="replace").splitlines()
        for start in range(0, len(lines), 40):
            text = "\\n".join(lines[start:start + 40])
            if text.strip():
                rows.append({"path": str(path), "line": start + 1, "text": text})
vectors = SentenceTransformer(model, device="cpu").encode([row["text"] for row in rows], batch_size=32)
for row, vector in zip(rows, vectors):
    row["vector"] = vector
table = lancedb.connect(database).create_table("chunks", rows)
table.create_fts_index("text")
print(len(rows))
'''


def environment():
    """Returns the folder of programs of the peers' environment, which is made if it is not there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cs" / "peers"
    done = folder / ".done"
    if not done.exists():
        print("bench: setting up the peers", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        done.touch()
    return folder / "bin"


def timed(command, **options):
    """Runs a program; returns its seconds, CPU seconds (its children's as well) and peak MiB."""
    started = time.perf_counter()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"bench: {command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def initialised(program, project, model, environ):
    """Makes a project of mcp-vector-search, which asks whether to go on."""
    command = [program, "-p", project, "init", "-m", model, "--no-auto-index", "--no-mcp", "--no-auto-indexing"]
    subprocess.run(list(map(str, command)), input="y\n", text=True, check=True, env=environ,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compare(target, folder, scratch, count):
    """Ours with MiniLM and with the built-in model, and the peers, over about `count` files."""
    programs = environment()
    model = subprocess.run([corpus.HERE.parents[1] / "fetch-minilm"], check=True, capture_output=True,
                           text=True).stdout.strip()
    part = scratch / "subset"
    linked(folder, part, count)
    # The same files for all: nothing that cs-parse leaves out.
    listed = corpus.listed(target / "cs-parse", "--each-repo", part)
    same = scratch / "same"
    for path in listed:
        (same / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(part / path, same / path)
    files = len(listed)
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HOME": str(scratch)}
    rows = {}
    ways = {"cs, built-in model": (), "cs, MiniLM": ("--model", model),
            # Where the processor has what these need.
            "cs, MiniLM, bf16": ("--model", model, "--dtype", "bf16"),
            "cs, MiniLM, q8_0": ("--model", model, "--quantize", "q8_0")}
    for name, embed in ways.items():
        wall, usages = piped(stages(target, ["--each-repo", same], scratch / f"{name}.db", embed=embed))
        rows[name] = wall, sum(usage[0] for usage in usages), max(usage[1] for usage in usages)
    naive = scratch / "naive.py"
    naive.write_text(NAIVE)
    rows["sentence-transformers, then lancedb"] = timed(
        [programs / "python", naive, same, scratch / "naive.db", model], env=environ)
    initialised(programs / "mcp-vector-search", same, model, environ)
    rows["mcp-vector-search"] = timed([programs / "mcp-vector-search", "index", "-p", same], env=environ)
    ours = rows["cs, MiniLM"], rows["cs, built-in model"]
    print("| | wall, s | files/s | CPU, s | peak MiB of a process | times of cs with MiniLM: wall, CPU | of the built-in model |")
    print("|---|---|---|---|---|---|---|")
    for name, (wall, cpu, peak) in rows.items():
        ratios = [f"{wall / our[0]:.1f}, {cpu / our[1]:.1f}" for our in ours]
        print(f"| {name} | {wall:.1f} | {files / wall:.1f} | {cpu:.1f} | {peak:.0f} | {ratios[0]} | {ratios[1]} |", flush=True)
    print(f"\n{files:,} files of {sum(1 for _ in part.iterdir())} packages\n", flush=True)
    shutil.rmtree(part)
    shutil.rmtree(same)
