"""Measures the whole pipeline over the corpus, for `scripts/bench/run.py pipeline`.

What is compared runs in one go, the parts in turns, so that ratios hold on a noisy machine.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import corpus
import plot

# How many files each process is measured with, besides all of them.
SIZES = (1_000, 3_000, 10_000)
# What ten times as many files are made of: small ones, so that their store fits on a disk.
SMALL = 8_192
MANY = 300_000


def stages(target, source, db, *, embed=(), store=()):
    """Returns the three commands of a pipeline; `source` are arguments of cs-parse."""
    return [[target / "cs-parse", "-q", *source], [target / "cs-embed", "-q", *embed],
            [target / "cs-store", "-q", db, *store]]


def piped(commands, stdin=None, stdout=subprocess.DEVNULL):
    """Runs a pipeline; returns its seconds, and of each process CPU seconds and peak MiB."""
    started = time.perf_counter()
    children, source = [], stdin
    for at, command in enumerate(commands):
        sink = stdout if at + 1 == len(commands) else subprocess.PIPE
        child = subprocess.Popen(list(map(str, command)), stdin=source, stdout=sink)
        if at:
            source.close()
        children.append(child)
        source = child.stdout
    usages = []
    for child in children:
        _, status, usage = os.wait4(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        # 1 tells that some file was left out; the same ones in each run.
        if code not in (0, 1):
            sys.exit(f"bench: {' '.join(map(str, child.args))} ended with {code}")
        usages.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
    return time.perf_counter() - started, usages


def alone(target, folder, scratch):
    """Runs each stage by itself, on saved streams; returns the seconds of each."""
    chunks, vectors, db = scratch / "chunks.arrows", scratch / "vectors.arrows", scratch / "alone.cs"
    parse, embed, store = stages(target, ["--each-repo", folder], db)
    seconds = []
    for command, source, sink in ((parse, None, chunks), (embed, chunks, vectors), (store, vectors, None)):
        stdin = open(source, "rb") if source else subprocess.DEVNULL
        stdout = open(sink, "wb") if sink else subprocess.DEVNULL
        seconds.append(piped([command], stdin, stdout)[0])
    shutil.rmtree(db)
    chunks.unlink()
    vectors.unlink()
    return seconds


def fresh(target, folder, scratch, runs):
    """The whole pipeline and each stage alone, in turns; returns a store of the corpus."""
    db = scratch / "all.cs"
    walls, singles, peaks, cpus = [], [], [0, 0, 0], []
    for _ in range(runs):
        shutil.rmtree(db, ignore_errors=True)
        wall, usages = piped(stages(target, ["--each-repo", folder], db))
        walls.append(wall)
        peaks = [max(peak, usage[1]) for peak, usage in zip(peaks, usages)]
        cpus.append([usage[0] for usage in usages])
        singles.append(alone(target, folder, scratch))
    files, size = corpus.taken(target / "cs-parse", "--each-repo", folder)
    info = subprocess.run([target / "cs-store", "info", db, "--json"], check=True, capture_output=True)
    chunks = json.loads(info.stdout)["chunks"]
    wall = statistics.median(walls)
    single = [statistics.median(run[at] for run in singles) for at in range(3)]
    cpu = [statistics.median(run[at] for run in cpus) for at in range(3)]
    print(f"{files:,} files, {size / 1e6:.0f} MB, {chunks:,} chunks, {runs} runs\n")
    print("| | wall, s | CPU, s | peak MiB |\n|---|---|---|---|")
    print(f"| **piped** | **{wall:.1f}** ({files / wall:,.0f} files/s) | {sum(cpu):.1f} | |")
    for at, name in enumerate(("cs-parse", "cs-embed", "cs-store")):
        print(f"| {name}: alone, and its share of the pipeline | {single[at]:.1f} | {cpu[at]:.1f} | {peaks[at]:.0f} |")
    print(f"\nslowest stage alone {max(single):.1f} s: piped takes {wall / max(single):.2f} of it, "
          f"{wall / sum(single):.2f} of one after the other\n", flush=True)
    return db, wall, files


def again(target, folder, db, runs):
    """Second runs with --since: nothing has changed, and one file has."""
    # What is younger than the manifest by less than a tick is read again.
    time.sleep(3)
    source = ["--each-repo", folder, "--since", db]
    unchanged = [piped(stages(target, source, db))[0] for _ in range(runs)]
    victim = max(folder.glob("crates.*/src/lib.rs"), key=lambda path: path.stat().st_size)
    text = victim.read_bytes()
    changed = []
    try:
        for run in range(runs):
            victim.write_bytes(text + b"\n// %d\n" % run)
            changed.append(piped(stages(target, source, db))[0])
    finally:
        victim.write_bytes(text)
    print("| second run | wall, s |\n|---|---|")
    print(f"| unchanged | {statistics.median(unchanged):.2f} |")
    print(f"| one changed file | {statistics.median(changed):.2f} |\n", flush=True)


def linked(folder, out, count):
    """Makes a folder of the first packages, by hard links, until there are so many files."""
    total = 0
    rows = corpus.read()
    # From all registries at once: by the hash of the archive.
    for row in sorted(rows, key=lambda row: row[3]):
        if total and total + row[4] > count * 1.1:
            continue
        name = corpus.folder_name(row[0], row[1])
        shutil.copytree(folder / name, out / name, copy_function=os.link)
        total += row[4]
        if total >= count * 0.9:
            break
    return total


def memory(target, folder, scratch, svg):
    """Peak memory of each process over more and more files; draws it if asked to."""
    print("| files | cs-parse, MiB | cs-embed, MiB | cs-store, MiB | wall, s |\n|---|---|---|---|---|")
    rows = []
    for count in (*SIZES, None):
        part = folder
        if count:
            part = scratch / "part"
            linked(folder, part, count)
        db = scratch / "part.cs"
        wall, usages = piped(stages(target, ["--each-repo", part], db))
        files, _ = corpus.taken(target / "cs-parse", "--each-repo", part)
        peaks = [usage[1] for usage in usages]
        print(f"| {files:,} | {' | '.join(f'{peak:.0f}' for peak in peaks)} | {wall:.1f} |", flush=True)
        rows.append((files, *peaks))
        shutil.rmtree(db)
        if count:
            shutil.rmtree(part)
    if svg:
        Path(svg).write_text(plot.lines(rows, ("cs-parse", "cs-embed", "cs-store"), "files", "peak memory, MiB"))
    print()


def many(target, folder, scratch):
    """Ten times as many files: hard links of the small ones under new names, in some more repositories."""
    made = scratch / "many"
    small = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size <= SMALL]
    count = 0
    for copy in range(1, 1000):
        for path in small:
            inner = path.relative_to(folder)
            target_path = made / f"{inner.parts[0]}.{copy}" / Path(*inner.parts[1:])
            target_path.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target_path)
            count += 1
        if count >= MANY:
            break
    files, size = corpus.taken(target / "cs-parse", "--each-repo", made)
    db = scratch / "many.cs"
    wall, usages = piped(stages(target, ["--each-repo", made], db))
    info = json.loads(subprocess.run([target / "cs-store", "info", db, "--json"], check=True,
                                     capture_output=True).stdout)
    stored = sum(path.stat().st_size for path in db.rglob("*") if path.is_file())
    print("| files | MB | chunks | wall, s | cs-parse, MiB | cs-embed, MiB | cs-store, MiB | store, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    print(f"| {files:,} | {size / 1e6:.0f} | {info['chunks']:,} | {wall:.0f} "
          f"| {' | '.join(f'{usage[1]:.0f}' for usage in usages)} | {stored / 2**20:,.0f} |\n", flush=True)
    shutil.rmtree(db)
    shutil.rmtree(made)


def bare(target, folder, runs):
    command = [target / "examples/bare_parse", folder, str(os.cpu_count() or 1)]
    times = []
    for _ in range(runs):
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        times.append(json.loads(told.stdout)["seconds"])
    print(f"bare tree-sitter, {os.cpu_count()} threads, files in memory: {statistics.median(times):.1f} s\n", flush=True)


def run(target, folder, runs, options):
    """All of it; `options` is the command line."""
    scratch_at = options.scratch or folder.parent
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch_at) as scratch:
        scratch = Path(scratch)
        parts = options.parts.split(",")
        if "bare" in parts:
            bare(target, folder, runs)
        if "fresh" in parts:
            db, _, _ = fresh(target, folder, scratch, runs)
            again(target, folder, db, runs)
            shutil.rmtree(db)
        if "memory" in parts:
            memory(target, folder, scratch, options.plot)
        if "peers" in parts:
            import peers

            peers.compare(target, folder, scratch, options.files)
        if "many" in parts:
            many(target, folder, scratch)
