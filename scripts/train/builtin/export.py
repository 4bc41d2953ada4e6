"""Writes the model's directory: rows of eight bits, a factor each, as model2vec reads them."""

import hashlib
import json

import numpy as np
from safetensors.numpy import save_file

import vocabulary


def write(rows, tokens, out):
    """Quantises each row by its largest number; the row's scale is its weight."""
    out.mkdir(parents=True, exist_ok=True)
    # model2vec leaves unknown tokens out: here they count only in a text that has no other.
    rows[0] *= 1e-6 / np.linalg.norm(rows[0])
    scale = np.maximum(np.abs(rows).max(1), 1e-12) / 127
    # One factor for all changes no vector; a mean of 1 keeps the numbers readable.
    weights = (scale / scale.mean()).astype(np.float32)
    quantised = np.rint(rows / scale[:, None]).astype(np.int8)
    save_file({"embeddings": quantised, "weights": weights}, out / "model.safetensors")
    (out / "model.safetensors").chmod(0o644)
    config = {"model_type": "model2vec", "hidden_dim": rows.shape[1], "normalize": True,
              "max_length": None}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    text = json.dumps(vocabulary.tokenizer_json(tokens), ensure_ascii=False, separators=(",", ":"))
    (out / "tokenizer.json").write_text(text, encoding="utf-8")
    for name in ("model.safetensors", "tokenizer.json"):
        data = (out / name).read_bytes()
        print(hashlib.sha256(data).hexdigest(), len(data), name)
