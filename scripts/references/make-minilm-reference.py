#!/usr/bin/env python3
"""Writes embed/tests/data/minilm-reference.json: texts and what sentence-transformers makes of them.

Usage: make-minilm-reference.py MINILM_DIR      (what scripts/fetch-minilm prints)

Needs sentence-transformers. 200 texts of many kinds, vectors of all-MiniLM-L6-v2 in f32 on the
CPU, each text embedded alone, rounded to six digits. The versions used stand in the file.
"""

import json
import pathlib
import sys

import numpy
import sentence_transformers
import torch
import transformers

CODE = [
    "fn retry(times: u32) -> bool {{ (0..times).any(|_| send_{0}()) }}",
    "def load_{0}(path):\n    \"\"\"Load {0} from path.\"\"\"\n    with open(path) as f:\n        return f.read()",
    "const {0} = async (url) => (await fetch(url)).json();",
    "func (s *Server) Handle{0}(w http.ResponseWriter, r *http.Request) {{ s.mu.Lock() }}",
    "public static int {0}(List<Integer> xs) {{ return xs.stream().mapToInt(i -> i).sum(); }}",
    "SELECT name, COUNT(*) FROM {0} WHERE age > 30 GROUP BY name;",
    "template <typename T> T {0}(T a, T b) {{ return a < b ? b : a; }}",
    "# {0}\n\nHow to install, configure and remove it.",
]
WORDS = ["upload", "parser", "cacheLine", "user_profile", "HTTPServer", "matrix", "größe", "日本語",
         "emoji 🦀🔥", "naïve café", "x", "tokenizer"]
ODD = ["", " ", "\n\t\n", "a", "?", "🦀", "漢字", "…—–", "\u200b", "0x1F 1e-9 3.14159", "𝕏 𝔘", "مرحبا", "Ωμέγα",
       "wordwithoutend" * 30, "ab " * 400, "fn f() {}\n" * 200, "the quick brown fox " * 100, "{}" * 300,
       "how to read a file in python"]


def texts():
    made = [code.format(word) for word in WORDS for code in CODE] + ODD
    for n in range(200 - len(made)):
        made.append(" ".join(WORDS[(n * 7 + k * k) % len(WORDS)] for k in range(n * 3 % 290)))
    return made


def main():
    model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
    rows = [{"text": t, "vector": [round(float(x), 6) for x in model.encode(t, batch_size=1)]}
            for t in texts()]
    versions = {m.__name__: m.__version__ for m in (sentence_transformers, transformers, torch, numpy)}
    root = pathlib.Path(__file__).resolve().parents[2]
    out = root / "embed/tests/data/minilm-reference.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"versions": versions, "rows": rows}, separators=(",", ":")) + "\n")
    print(len(rows), versions)


if __name__ == "__main__":
    main()
