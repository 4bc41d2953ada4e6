"""Fetches the packages of packages.txt from their registries and keeps their source files.

Each line of packages.txt is registry, name, version (`-`: the newest) and licence. The registries are asked through
their own clients: pip (wheels only, so that no package's code is run), npm, apt and cargo.
"""

import hashlib
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

SOURCE = {
    "py", "pyi", "js", "mjs", "cjs", "jsx", "ts", "tsx", "mts", "rs", "go", "java", "kt", "kts",
    "scala", "swift", "c", "h", "cc", "cpp", "cxx", "hpp", "hh", "hxx", "ipp", "cs", "php", "rb",
    "rake", "ex", "exs", "lua", "hs", "sh", "bash", "bats", "zsh", "zig", "m", "mm",
}
MAX_FILE = 400_000
# A larger package keeps a part of its files, chosen by the hash of their paths.
MAX_PACKAGE = 100_000_000
# Projects on which the model is judged, here or by others, wherever a copy of them lies.
JUDGED = re.compile(
    r"(^|/)(flask|pydantic|pydantic_core|requests|express|chi|gson|guzzle|rack|click|serde|serde_\w+|zod|dapper|"
    r"exposed|circe|snapkit|plug|fmt|fmtlib|libuv|uv|lazy\.nvim|nvm|xmonad\S*|zig-clap|clap|clap_\w+|axios|"
    r"fastapi|celery|redis|redis-py|ripgrep|tokio|tokio-\w+|axum|gin|cobra|lodash|jekyll|sinatra|"
    r"okhttp\d?|monolog|phoenix|alamofire|newtonsoft\.json|json\.net|curl|abseil|absl|abseil-cpp|nlohmann|"
    r"http4s|pandoc|telescope\.nvim|bash-it|httpx|starlette|aiohttp|pytest|_pytest|typer|rich)"
    r"(-\d[^/]*|\.\w+)?(/|$)",
    re.IGNORECASE,
)


def wanted(path):
    """Tells whether a file of a package is source to learn from."""
    name = path.rsplit("/", 1)[-1]
    if name.endswith((".min.js", ".d.ts", ".d.mts")) or JUDGED.search(path):
        return False
    if "node_modules/" in path or "__tests__/" in path:
        return False
    return name.rsplit(".", 1)[-1].lower() in SOURCE


def unpack(archive, out):
    """Writes the wanted files of a zip or tar archive below `out`; returns their number."""
    count = 0
    for path, size, read in members(archive):
        path = path.lstrip("./")
        if size > MAX_FILE or ".." in path or not wanted(path):
            continue
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read())
        count += 1
    return count


def thin(out):
    """Removes files of a package that is above the limit."""
    files = sorted((p for p in out.rglob("*") if p.is_file()), key=lambda p: hashlib.sha256(p.relative_to(out).as_posix().encode()).digest())
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > MAX_PACKAGE:
            path.unlink()


def members(archive):
    """Yields path, size and a reader of each file of an archive."""
    if archive.name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as z:
            for info in z.infolist():
                if not info.is_dir():
                    yield info.filename, info.file_size, lambda i=info: z.read(i)
        return
    if archive.name.endswith(".deb"):
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True)
        stream = tarfile.open(fileobj=io.BytesIO(data.stdout))
    else:
        stream = tarfile.open(archive)
    with stream as t:
        for info in t:
            if info.isfile():
                yield info.name, info.size, lambda i=info: t.extractfile(i).read()


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def pypi(name, version, out, work):
    """Fetches a wheel: one for any platform where there is one, else one for this machine."""
    pinned = name if version == "-" else f"{name}=={version}"
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    pip += ["--disable-pip-version-check", "-d", work, pinned]
    if run([*pip, "--platform", "any"]).returncode:
        done = run(pip)
        if done.returncode:
            return done.stderr
    wheel = next(work.glob("*.whl"))
    with zipfile.ZipFile(wheel) as z:
        meta = next(n for n in z.namelist() if n.endswith(".dist-info/METADATA"))
        text = z.read(meta).decode(errors="replace").split("\n\n", 1)[0]
    unpack(wheel, out)
    found = re.search(r"^License-Expression: (.+)", text, re.M)
    found = found or re.search(r"^Classifier: License ::.* :: (.+)", text, re.M)
    found = found or re.search(r"^License: (.{1,60})$", text, re.M)
    return wheel.name.split("-")[1], found[1].strip() if found else "?"


def npm(name, version, out, work):
    spec = name if version == "-" else f"{name}@{version}"
    done = run(["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", work, spec])
    if done.returncode:
        return done.stderr
    archive = next(work.glob("*.tgz"))
    with tarfile.open(archive) as t:
        inner = next(m for m in t if m.name.count("/") == 1 and m.name.endswith("/package.json"))
        package = json.load(t.extractfile(inner))
    unpack(archive, out)
    licence = package.get("license") or package.get("licenses") or "?"
    return package["version"], licence if isinstance(licence, str) else str(licence)[:40]


class Debian:
    """Source packages, from the archives that this machine's own list names."""

    def __init__(self, work):
        self.work = work
        (work / "lists/partial").mkdir(parents=True, exist_ok=True)
        (work / "parts").mkdir(exist_ok=True)
        for path in [*pathlib.Path("/etc/apt").glob("sources.list.d/*.sources"), *pathlib.Path("/etc/apt").glob("*.list")]:
            text = path.read_text()
            text = re.sub(r"^Types:.*", "Types: deb-src", text, flags=re.M)
            text = re.sub(r"^deb ", "deb-src ", text, flags=re.M)
            (work / "parts" / path.name).write_text(text)
        self.options = ["-o", f"Dir::State::lists={work}/lists", "-o", "Dir::Etc::sourcelist=/dev/null",
                        "-o", f"Dir::Etc::sourceparts={work}/parts"]
        run(["apt-get", "update", "-qq", *self.options], check=True)

    def fetch(self, name, version, out, work):
        pinned = name if version == "-" else f"{name}={version}"
        done = run(["apt-get", "source", "-qq", "--download-only", *self.options, pinned], cwd=work)
        if done.returncode:
            return done.stderr
        licence = "?"
        for archive in sorted(work.glob("*.tar.*")):
            if archive.suffix == ".asc":
                continue
            if ".debian." in archive.name:
                with tarfile.open(archive) as t:
                    for m in t:
                        if m.name.endswith("debian/copyright"):
                            text = t.extractfile(m).read().decode(errors="replace")
                            found = re.search(r"^License: *(\S.*)", text, re.M)
                            licence = found[1].strip() if found else "?"
            else:
                unpack(archive, out)
        dsc = next(work.glob("*.dsc")).read_text(errors="replace")
        return re.search(r"^Version: (\S+)", dsc, re.M)[1], licence


def debian_binary(name, version, out, work):
    """Fetches a binary package; those of interpreted languages and of Go carry their sources."""
    pinned = name if version == "-" else f"{name}={version}"
    done = run(["apt-get", "download", "-qq", pinned], cwd=work)
    if done.returncode:
        return done.stderr
    archive = next(work.glob("*.deb"))
    unpack(archive, out)
    licence = "?"
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(data.stdout)) as t:
        for m in t:
            if m.name.endswith("/copyright") and m.isfile():
                found = re.search(r"^License: *(\S.*)", t.extractfile(m).read().decode(errors="replace"), re.M)
                licence = found[1].strip() if found else "?"
    version = run(["dpkg-deb", "-f", archive, "Version"]).stdout.strip()
    return version, licence


def crates(names, out):
    """Fetches crates by a throw-away package that depends on exactly them."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        lines = ["[package]", 'name = "sources"', 'version = "0.0.0"', 'edition = "2021"', "[dependencies]"]
        for i, (name, version) in enumerate(names):
            number = "*" if version == "-" else f"={version}"
            lines.append(f'd{i} = {{ package = "{name}", version = "{number}", default-features = false }}')
        (folder / "Cargo.toml").write_text("\n".join(lines))
        (folder / "src").mkdir()
        (folder / "src/lib.rs").touch()
        run(["cargo", "vendor", "--versioned-dirs", "-q", "vendor"], cwd=folder, check=True)
        found = {}
        for name, _ in names:
            for path in (folder / "vendor").glob(f"{name}-[0-9]*"):
                text = (path / "Cargo.toml").read_text()
                licence = re.search(r'^license = "(.*)"', text, re.M)
                found[name] = (path.name[len(name) + 1:], licence[1] if licence else "?")
                for file in path.rglob("*"):
                    inner = file.relative_to(path).as_posix()
                    if file.is_file() and wanted(inner) and file.stat().st_size <= MAX_FILE:
                        target = out / name / inner
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(file, target)
    return found


def read(path):
    """Returns the lines of packages.txt as lists: registry, name, version, licence."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [row for row in rows if row and not row[0].startswith("#")]


def folder_name(registry, name):
    return registry + "." + re.sub(r"[^\w.-]+", "_", name).strip("_")


def fetch(rows, out, jobs=6):
    """Fetches all rows below `out`, a folder each; returns the rows with version and licence."""
    debian = Debian(out.parent / "apt-state") if any(row[0] == "deb-src" for row in rows) else None

    def one(row):
        registry, name, version = row[:3]
        target = out / folder_name(registry, name)
        note = target / ".fetched"
        if note.exists():
            return [registry, name, *json.loads(note.read_text())]
        with tempfile.TemporaryDirectory(dir=out.parent) as work:
            way = {"pypi": pypi, "npm": npm, "deb": debian_binary, "deb-src": debian.fetch if debian else None}[registry]
            target.mkdir(parents=True, exist_ok=True)
            try:
                got = way(name, version, target, pathlib.Path(work))
            except Exception as error:  # One broken archive must not end the other downloads.
                got = repr(error)
        if isinstance(got, str):
            print(f"left out: {registry} {name}: {got.strip().splitlines()[-1] if got.strip() else 'failed'}"[:200], file=sys.stderr)
            shutil.rmtree(target)
            return None
        thin(target)
        note.write_text(json.dumps(got))
        return [registry, name, *got]

    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(one, [row for row in rows if row[0] != "crates"]))
    names = [(row[1], row[2]) for row in rows if row[0] == "crates"]
    found = {}
    missing = [n for n in names if not (out / folder_name("crates", n[0])).exists()]
    if missing:
        found = crates(missing, out / "tmp-crates")
        for name, _ in missing:
            if name in found:
                target = out / folder_name("crates", name)
                shutil.move(out / "tmp-crates" / name, target)
                (target / ".fetched").write_text(json.dumps(found[name]))
        shutil.rmtree(out / "tmp-crates", ignore_errors=True)
    for name, _ in names:
        note = out / folder_name("crates", name) / ".fetched"
        if note.exists():
            done.append(["crates", name, *json.loads(note.read_text())])
    return [row for row in done if row]
