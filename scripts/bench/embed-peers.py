#!/usr/bin/env python3
"""Times other programs that run the same encoder on the same texts, for scripts/bench/run.py embed.

Usage: embed-peers.py MODEL_DIR TEXTS.json PEER [THREADS]

TEXTS.json is a list of texts. PEER is one of torch-f32, torch-bf16, onnx-f32, onnx-int8. Prints
one line of JSON: peer, versions, texts, tokens, seconds, cpu_seconds, peak_rss_mib, and writes
TEXTS.json.PEER.npy, the vectors in the order of the texts.

Each peer gets what favours it: texts sorted by length, batches of 32 padded to their longest,
one run to warm up on a tenth of the texts, and only the model is timed, not the tokenizer. int8
is ONNX Runtime's dynamic quantisation with a scale for each output channel. Needs torch,
transformers, onnx, onnxscript and onnxruntime. Last run with torch 2.15.0, transformers 5.23.0,
onnx 1.23.2, onnxruntime 1.31.1.
"""

import json
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np
from tokenizers import Tokenizer

BATCH = 32


def batches(ids):
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    for start in range(0, len(order), BATCH):
        part = order[start:start + BATCH]
        longest = len(ids[part[0]])
        tokens = np.zeros((len(part), longest), np.int64)
        mask = np.zeros_like(tokens)
        for row, text in enumerate(part):
            tokens[row, :len(ids[text])] = ids[text]
            mask[row, :len(ids[text])] = 1
        yield part, tokens, mask


def pool(hidden, mask):
    mask = mask[:, :, None].astype(np.float32)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def torch_model(folder, threads, bf16):
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.AutoModel.from_pretrained(folder).eval()

    def run(tokens, mask):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(input_ids=torch.from_numpy(tokens), attention_mask=torch.from_numpy(mask))
        return out.last_hidden_state.float().numpy()

    return run, {"torch": torch.__version__, "transformers": transformers.__version__}


def onnx_model(folder, threads, int8):
    import onnxruntime

    cache = pathlib.Path(tempfile.gettempdir()) / "cs-embed-peers"
    cache.mkdir(exist_ok=True)
    path = cache / "model.onnx"
    if not path.exists():
        export(folder, path)
    if int8:
        quantized = cache / "model-int8.onnx"
        if not quantized.exists():
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(path, quantized, per_channel=True, weight_type=QuantType.QInt8)
        path = quantized
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(tokens, mask):
        return session.run(None, {"tokens": tokens, "mask": mask})[0]

    return run, {"onnxruntime": onnxruntime.__version__}


def export(folder, path):
    import torch
    import transformers

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        def forward(self, tokens, mask):
            return self.model(input_ids=tokens, attention_mask=mask).last_hidden_state

    tokens = torch.ones((2, 16), dtype=torch.int64)
    axes = {0: "batch", 1: "length"}
    torch.onnx.export(Hidden(), (tokens, tokens), str(path), input_names=["tokens", "mask"],
                      output_names=["hidden"], opset_version=17, dynamo=False,
                      dynamic_axes={"tokens": axes, "mask": axes, "hidden": axes})


def main():
    folder, texts_path, peer = sys.argv[1:4]
    threads = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    texts = json.loads(pathlib.Path(texts_path).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    kind, number = peer.split("-")
    make = {"torch": torch_model, "onnx": onnx_model}[kind]
    run, versions = make(folder, threads, number in ("bf16", "int8"))
    parts = list(batches(ids))
    for _, tokens, mask in parts[::10]:
        run(tokens, mask)
    vectors = np.zeros((len(ids), 384), np.float32)
    used, start = time.process_time(), time.perf_counter()
    for part, tokens, mask in parts:
        vectors[part] = pool(run(tokens, mask), mask)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    np.save(f"{texts_path}.{peer}.npy", vectors)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peer": peer, "versions": versions, "texts": len(ids), "tokens": sum(map(len, ids)),
                      "seconds": round(seconds, 2), "cpu_seconds": round(used, 2), "peak_rss_mib": round(rss)}))


if __name__ == "__main__":
    main()
