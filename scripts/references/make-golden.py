#!/usr/bin/env python3
"""Writes tests/golden/v1*: streams of contract v1 made by pyarrow, another implementation.

Usage: make-golden.py [DIR]        (default: tests/golden; needs pyarrow; last run with pyarrow 26.0.1)

The same four rows as an uncompressed stream, with zstd and lz4 buffers, and as JSON Lines. Once a
release can write a stream, the files of its version stay as they are for ever.
"""

import json
import pathlib
import sys

import pyarrow as pa

FIELDS = [
    ("op", pa.string()), ("repo", pa.string()), ("path", pa.string()), ("project", pa.string()),
    ("language", pa.string()), ("file_hash", pa.string()), ("file_size", pa.uint64()),
    ("file_mtime_ns", pa.int64()), ("chunk_id", pa.string()), ("content_hash", pa.string()),
    ("parent_id", pa.string()), ("kind", pa.string()), ("name", pa.string()),
    ("symbol", pa.string()), ("signature", pa.string()), ("doc", pa.string()),
    ("start_line", pa.uint32()), ("end_line", pa.uint32()), ("start_byte", pa.uint64()),
    ("end_byte", pa.uint64()), ("content", pa.string()), ("stars", pa.int64()),
]
METADATA = {
    "cs.wire": "1",
    "cs.chain": json.dumps([{"tool": "make-golden", "version": "1", "args": []}]),
    "cs.repos": json.dumps([{"name": "demo", "root": "/src/demo"}]),
    "cs.totals": json.dumps({"files": 2, "bytes": 52}),
    "team.note": "kept",
}


def put(path, line, name, content, **more):
    return {
        "op": "put", "repo": "demo", "path": path, "language": "rust",
        "file_hash": "0" * 32, "file_size": 26, "file_mtime_ns": 1700000000000000000,
        "chunk_id": f"{line:032x}", "content_hash": f"{line + 1:032x}", "kind": "function",
        "name": name, "symbol": name, "start_line": line, "end_line": line,
        "start_byte": 0, "end_byte": len(content.encode()), "content": content, **more,
    }


ROWS = [
    {"op": "delete", "repo": "demo", "path": "src/a.rs"},
    put("src/a.rs", 1, "upload", "fn upload() {}", doc="Sends it.", stars=5),
    put("src/it's \"b\".rs", 2, "größe", "fn größe() {}", parent_id="f" * 32),
    {"op": "report", "repo": "demo", "path": "", "content": "{\"files\":2}"},
]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/golden"
    required = ("op", "repo", "path")
    schema = pa.schema([pa.field(n, t, nullable=n not in required) for n, t in FIELDS], METADATA)
    batches = [pa.RecordBatch.from_pylist(rows, schema) for rows in (ROWS[:2], ROWS[2:])]
    for suffix, compression in [("", None), ("-zstd", "zstd"), ("-lz4", "lz4")]:
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with pa.OSFile(str(target / f"v1{suffix}.arrows"), "wb") as sink:
            with pa.ipc.new_stream(sink, schema, options=options) as writer:
                for batch in batches:
                    writer.write_batch(batch)
    begin = {"op": "begin", "metadata": METADATA, "columns": {"stars": "Int64"}}
    lines = [begin, *ROWS, {"op": "end"}]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (target / "v1.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
