#!/usr/bin/env python3
"""What scripts/bench/run.py store needs of pylance: streams of a size, the peer's time, recall.

Usage: store-peers.py grow STREAM OUT ROWS [DIM]
       store-peers.py write STREAM DATASET
       store-peers.py questions STREAM COUNT
       store-peers.py recall STORE QUESTIONS.jsonl PROBES REFINE

grow repeats the rows of a stream until there are ROWS, each time under another repository and with
other ids, and gives vectors DIM numbers by repeating their first ones. write times write_dataset of
a stream into a new dataset. questions writes a stream of JSON Lines whose texts are the first
sentences of COUNT chunks' documentation, without anything else of the chunk, for cs-embed. recall
asks a store for the 10 nearest of each of these vectors, exactly and by its index, and prints the
share of the exact ones that the index finds, and the median milliseconds of both, in one process
that has opened the store.

Needs pylance (of the version that the store's database has, so that the index is searched in the
same way) and numpy. Last run with pylance 14.0.2.
"""

import json
import pathlib
import resource
import statistics
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def copies(source):
    """Yields the batches of a stream again and again, with the number of the repetition."""
    for round in range(1_000_000):
        with pa.ipc.open_stream(source) as reader:
            for batch in reader:
                yield round, batch


def renamed(batch, name, suffix):
    column = batch[name]
    values = pa.array([value and value + suffix for value in column.to_pylist()], column.type)
    return batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), values)


def wider(batch, dim):
    vectors = batch["vector"]
    width = vectors.type.list_size
    numbers = np.asarray(vectors.flatten()).reshape(-1, width)
    numbers = np.concatenate([numbers, numbers[:, :dim - width]], axis=1)
    numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    field = pa.field("vector", pa.list_(pa.field("item", pa.float32()), dim))
    values = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), dim)
    values = values.cast(field.type)
    return batch.set_column(batch.schema.get_field_index("vector"), field, values)


def grow(source, out, rows, dim):
    with pa.ipc.open_stream(source) as reader:
        metadata = dict(reader.schema.metadata)
        width = reader.schema.field("vector").type.list_size
    model = json.loads(metadata[b"cs.model"])
    dim = int(dim or width)
    metadata[b"cs.model"] = json.dumps({**model, "dim": dim}).encode()
    left = int(rows)
    writer = None
    for round, batch in copies(source):
        batch = batch.filter(pc.equal(batch["op"], "put")).slice(0, left)
        if round:
            batch = renamed(batch, "repo", f"-{round}")
            batch = renamed(batch, "chunk_id", f"-{round}")
        if dim > width:
            batch = wider(batch, dim)
        if writer is None:
            schema = batch.schema.with_metadata(metadata)
            writer = pa.ipc.new_stream(out, schema)
        writer.write_batch(batch.replace_schema_metadata(metadata))
        left -= batch.num_rows
        if left == 0:
            break
    writer.close()


def write(source, out):
    import lance

    started = time.perf_counter()
    with pa.ipc.open_stream(source) as reader:
        lance.write_dataset(reader, out)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_rss_mib": peak, "version": lance.__version__}))


def questions(source, count):
    """A question is not a document: its text stands alone, and so does what is embedded of it."""
    texts = set()
    with pa.ipc.open_stream(source) as reader:
        for batch in reader:
            for doc in batch["doc"].to_pylist():
                first = (doc or "").split("\n\n")[0].split(". ")[0].strip()
                if 20 <= len(first) <= 120:
                    texts.add(first)
    # Spread over the stream, the same ones each time.
    texts = sorted(texts)[::max(1, len(texts) // int(count))][:int(count)]
    for number, text in enumerate(texts):
        print(json.dumps({"op": "put", "repo": "q", "path": "", "chunk_id": str(number),
                          "content": text}))
    print(json.dumps({"op": "end"}))


def recall(store, questions, probes, refine):
    import lance

    rows = [json.loads(line) for line in pathlib.Path(questions).read_text().splitlines()]
    vectors = [np.array(row["vector"], np.float32) for row in rows if row["op"] == "put"]
    dataset = lance.dataset(str(pathlib.Path(store) / "chunks.lance"))
    shares, times = [], {True: [], False: []}

    def nearest(vector, by_index):
        search = {"column": "vector", "q": vector, "k": 10, "metric": "cosine",
                  "use_index": by_index}
        if by_index:
            search |= {"nprobes": int(probes), "refine_factor": int(refine)}
        started = time.perf_counter()
        found = dataset.to_table(columns=["chunk_id", "_distance"], nearest=search)
        times[by_index].append((time.perf_counter() - started) * 1000)
        return found["_distance"].to_pylist()

    for vector in vectors:
        exact = nearest(vector, False)
        # By distance: of equal chunks one is as good as the other.
        within = sum(distance <= exact[-1] + 1e-5 for distance in nearest(vector, True))
        shares.append(min(within, 10) / len(exact))
    print(json.dumps({"rows": dataset.count_rows(), "questions": len(vectors),
                      "recall": statistics.fmean(shares),
                      "index_ms": statistics.median(times[True]),
                      "exact_ms": statistics.median(times[False])}))


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    what, *rest = sys.argv[1:]
    if what == "grow":
        source, out, rows, *dim = rest
        grow(source, out, rows, dim[0] if dim else None)
    else:
        {"write": write, "questions": questions, "recall": recall}[what](*rest)


if __name__ == "__main__":
    main()
