#!/usr/bin/env python3
"""Measures how readable the repository is: sentences of documents and comments, and names.

Usage: prose.py [--json] [--worst N]
  --json      print one JSON object
  --worst N   print the N longest sentences of each document as well

Sentences end at `.`, `!` or `?` before a blank, at the end of an item of a list, and at a blank line. Code
blocks, tables, headings and links' targets do not count, and code in a sentence counts as one word.
A name's words are divided by `_` and by capitals. Tests (`tests/`, `#[cfg(test)]`) do not count.
"""

import argparse
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONG = 30


def tracked(*patterns: str) -> list[Path]:
    """Returns the files of the repository that match."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines()]


def sentences(text: str) -> list[str]:
    """Returns the sentences of a Markdown text."""
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.S | re.M)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    found = []
    block: list[str] = []

    def close() -> None:
        joined = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(block))
        joined = re.sub(r"`[^`]*`", "code", joined)
        for part in re.split(r"(?<=[.!?])[*_)\"']*\s+", joined):
            if re.search(r"\w", part):
                found.append(part.strip())
        block.clear()

    for line in text.splitlines():
        stripped = line.strip()
        is_code = line.startswith("    ") and not block
        if not stripped or is_code or stripped.startswith(("|", "#")):
            close()
            continue
        item = re.match(r"(?:[-*+]|\d+\.)\s+(.*)", stripped)
        if item:
            close()
            stripped = item.group(1)
        block.append(stripped)
    close()
    return found


def lengths(found: list[str]) -> dict:
    """Returns the number of sentences, their mean length in words, and the share of long ones."""
    counts = [len(sentence.split()) for sentence in found]
    number = max(1, len(counts))
    return {
        "sentences": len(counts),
        "words_a_sentence": round(sum(counts) / number, 1),
        "over_30_percent": round(100 * sum(count > LONG for count in counts) / number, 1),
    }


def rust() -> dict[Path, str]:
    """Returns the sources of the tools and libraries, without their tests."""
    sources = {}
    for path in tracked("*.rs"):
        parts = path.relative_to(ROOT).parts
        if parts[0] == "tests" or "tests" in parts or "examples" in parts or path.name == "tests.rs":
            continue
        sources[path] = path.read_text().split("#[cfg(test)]\nmod ")[0]
    return sources


def words(name: str) -> int:
    """Returns how many words a name has."""
    return len(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name))


def names(sources: dict[Path, str]) -> dict:
    """Returns the shares of types and functions with one word, and types named twice."""
    types: list[tuple[str, str]] = []
    functions: list[str] = []
    for path, text in sources.items():
        package = path.relative_to(ROOT).parts[0]
        types += [(name, package) for name in re.findall(
            r"^\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union|type) (\w+)", text, re.M)]
        functions += re.findall(r"\bfn (\w+)", text)
    used = Counter(name for name, _ in types)
    single = sum(words(name) == 1 for name, _ in types)
    packages = {name: {package for n, package in types if n == name} for name in used}
    return {
        "types": len(types),
        "one_word_types_percent": round(100 * single / max(1, len(types)), 1),
        "types_in_several_packages": sorted(n for n, found in packages.items() if len(found) > 1),
        "one_word_functions_percent": round(
            100 * sum(words(name) == 1 for name in functions) / max(1, len(functions)), 1),
    }


def unsafe_without_safety(sources: dict[Path, str]) -> list[str]:
    """Returns the places of unsafe blocks and implementations without a `SAFETY:` comment."""
    places = []
    for path, text in sources.items():
        lines = text.splitlines()
        for number, line in enumerate(lines):
            code = line.split("//")[0]
            if not re.search(r"\bunsafe\s*(\{|impl\b)", code) and "#[unsafe(" not in code:
                continue
            before = "\n".join(lines[max(0, number - 8):number + 1])
            if "SAFETY:" not in before:
                places.append(f"{path.relative_to(ROOT)}:{number + 1}")
    return places


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worst", type=int, default=0, metavar="N")
    args = parser.parse_args()

    documents = {
        str(path.relative_to(ROOT)): sentences(path.read_text()) for path in tracked("*.md")
        if "fixtures" not in path.parts
    }
    sources = rust()
    comments = [sentence for text in sources.values() for sentence in sentences("\n".join(
        match or "" for match in re.findall(r"^\s*//[/!]? ?(.*)$|^.*$", text, re.M)))]
    figures = {
        "documents": {name: lengths(found) for name, found in documents.items()},
        "comments": lengths(comments),
        "names": names(sources),
        "unsafe_without_safety": unsafe_without_safety(sources),
    }
    if args.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"{'document':<40} {'sentences':>9} {'words each':>10} {'over 30':>8}")
    for name, row in [*figures["documents"].items(), ("comments in Rust", figures["comments"])]:
        print(f"{name:<40} {row['sentences']:>9} {row['words_a_sentence']:>10} {row['over_30_percent']:>7}%")
        for sentence in sorted(documents.get(name, []), key=lambda s: -len(s.split()))[:args.worst]:
            print(f"    {len(sentence.split())}: {sentence}")
    found = figures["names"]
    print(f"one-word types {found['one_word_types_percent']}% of {found['types']}, "
          f"one-word functions {found['one_word_functions_percent']}%")
    print(f"types in several packages: {', '.join(found['types_in_several_packages']) or 'none'}")
    print(f"unsafe without SAFETY: {len(figures['unsafe_without_safety'])}")
    for place in figures["unsafe_without_safety"]:
        print(f"    {place}")


if __name__ == "__main__":
    main()
