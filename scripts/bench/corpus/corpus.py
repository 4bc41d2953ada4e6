"""Fetches the packages of packages.txt whole: the corpus of `scripts/bench/run.py pipeline`.

Each line of packages.txt is registry, name, version, SHA-256 of the archive, and how many of its
files cs-parse takes. The registries are asked through their own clients, as configured on the
machine: cargo, pip (wheels only, so that no package's code is run), npm and apt (source packages).

A package is a folder that gets its name when all of it is there: a second run goes on where the
first one ended.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "train/builtin"))

from fetch import Debian, folder_name, members, run  # noqa: E402

PACKAGES = HERE / "packages.txt"
# cs-parse leaves larger files out.
MAX_FILE = 4 << 20
# So many packages are fetched at once; the clients wait for the network most of the time.
JOBS = 4


class Wrong(Exception):
    """A package that cannot be had as it is listed."""


def read(path=PACKAGES):
    """Returns the lines of packages.txt: registry, name, version, hash, files."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [(*row[:4], int(row[4])) for row in rows if row[0] and not row[0].startswith("#")]


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pypi(name, version, work):
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
           "--disable-pip-version-check", "-d", work, f"{name}=={version}"]
    # One for any platform where there is one, else one for this machine.
    if run([*pip, "--platform", "any"]).returncode:
        checked(run(pip))
    return list(work.glob("*.whl"))


def npm(name, version, work):
    checked(run(["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", work, f"{name}@{version}"]))
    return list(work.glob("*.tgz"))


def deb_src(debian, name, version, work):
    command = ["apt-get", "source", "-qq", "--download-only", *debian.options]
    # A Debian revision that was replaced by the next one has the same sources.
    if run([*command, f"{name}={version}"], cwd=work).returncode:
        checked(run([*command, name], cwd=work))
    return [path for path in sorted(work.glob("*.tar.*")) if path.suffix != ".asc" and ".debian." not in path.name]


def checked(done):
    if done.returncode:
        raise Wrong((done.stderr.strip().splitlines() or ["its client failed"])[-1])


def unpack(archive, out):
    """Writes the text files of an archive below `out`."""
    for path, size, content in members(archive):
        parts = Path(path).parts
        if size > MAX_FILE or ".." in parts or path.startswith("/"):
            continue
        data = content()
        # What cs-parse takes for binary.
        if b"\0" in data[:8192]:
            continue
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def vendor(rows, folder):
    """Has cargo fetch crates and check their hashes, by a throw-away package that needs them all."""
    lines = ["[package]", 'name = "sources"', 'version = "0.0.0"', 'edition = "2024"', "[dependencies]"]
    for at, (_, name, version, *_) in enumerate(rows):
        lines.append(f'd{at} = {{ package = "{name}", version = "={version}", default-features = false }}')
    (folder / "Cargo.toml").write_text("\n".join(lines))
    (folder / "src").mkdir()
    (folder / "src/lib.rs").touch()
    checked(run(["cargo", "vendor", "--versioned-dirs", "-q", "vendor"], cwd=folder))


def crate(source, row, target):
    """Takes a crate from cargo's folder, under the hash of the archive that cargo has checked."""
    sums = json.loads((source / ".cargo-checksum.json").read_text())
    confirm(row, sums["package"])
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".cargo-checksum.json", "Cargo.toml.orig"))


def confirm(row, found):
    if row[3] not in ("-", found):
        raise Wrong(f"its hash is {found}, not {row[3]}")


def taken(parser, *arguments):
    """Returns how many files and bytes cs-parse takes, by what it says before it parses any."""
    with subprocess.Popen([parser, "-q", "--to", "jsonl", *arguments], stdout=subprocess.PIPE) as child:
        begin = json.loads(child.stdout.readline())
        child.kill()
    totals = json.loads(begin["metadata"]["cs.totals"])
    return totals["files"], totals["bytes"]


def listed(parser, *arguments):
    """Returns the files that chunks are of, each as repository and path."""
    command = [parser, "-q", "--to", "jsonl", *arguments]
    found = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        for line in child.stdout:
            row = json.loads(line)
            if row["op"] == "put":
                found.add(f"{row['repo']}/{row['path']}")
    return sorted(found)


def fetch(rows, out):
    """Fetches all rows below `out`, a folder each; returns what could not be had, and why."""
    out.mkdir(parents=True, exist_ok=True)
    # Beside the corpus, so that a finished package only has to be renamed.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        scratch = Path(scratch)
        missing = [row for row in rows if not (out / folder_name(row[0], row[1])).exists()]
        crates = [row for row in missing if row[0] == "crates"]
        (scratch / "cargo").mkdir()
        if crates:
            vendor(crates, scratch / "cargo")
        debian = Debian(scratch / "apt") if any(row[0] == "deb-src" for row in missing) else None

        def one(row):
            registry, name, version, *_ = row
            with tempfile.TemporaryDirectory(dir=scratch) as work:
                work = Path(work)
                tree = work / "tree"
                try:
                    if registry == "crates":
                        crate(scratch / "cargo/vendor" / f"{name}-{version}", row, tree)
                    else:
                        ways = {"pypi": pypi, "npm": npm, "deb-src": lambda *args: deb_src(debian, *args)}
                        archives = ways[registry](name, version, work)
                        confirm(row, "+".join(map(digest, archives)))
                        for archive in archives:
                            unpack(archive, tree)
                except (Wrong, OSError, KeyError) as error:
                    return f"{registry} {name} {version}: {error}"
                tree.rename(out / folder_name(registry, name))
            print(f"corpus: {registry} {name} {version}", file=sys.stderr, flush=True)
            return None

        with ThreadPoolExecutor(JOBS) as pool:
            return [said for said in pool.map(one, missing) if said]
