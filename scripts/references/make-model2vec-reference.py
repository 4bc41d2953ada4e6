#!/usr/bin/env python3
"""Makes embed/tests/data/model2vec/: small static models, and what model2vec makes of texts.

Usage: make-model2vec-reference.py

Needs model2vec (and with it tokenizers, safetensors, numpy). Last run with model2vec 0.10.0,
tokenizers 0.23.3, safetensors 0.8.0, numpy 2.4.6. Numbers are random under a fixed seed; the
tokenizers are trained on the texts below. The folders differ in what a static model may have:

plain      WordPiece, f32, normalised
humps      WordPiece behind a normaliser that parts camelCase, f16, not normalised, no limit
quantised  WordPiece, int8, weights and mapping of a quantised vocabulary, 16 tokens at most
unigram    Unigram, f32, normalised
bpe        byte-level BPE without an unknown token, f64, weights
nested     WordPiece as sentence-transformers' StaticEmbedding lays it out
"""

import json
import pathlib
import shutil

import numpy as np
from model2vec import StaticModel
from model2vec.persistence import save_pretrained
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).resolve().parents[2] / "embed/tests/data/model2vec"
DIM = 16
SPECIAL = ["[PAD]", "[UNK]"]

TEXTS = [
    "how to read a file in python",
    "fn parse_date(text: &str) -> Option<Date> { text.split('-').map(parse).collect() }",
    "class HTTPResponseReader:\n    def readLine(self, maxBytes=1024):\n        return self.buffer[:maxBytes]",
    "getHTTPResponseCode XMLParser iOS x86Linux parseURL2Path",
    "SELECT name, count(*) FROM users WHERE id > 17 GROUP BY name;",
    "größe naïve Straße café 漢字 🦀",
    "漢字",
    "zzz \u0416\u0416",
    "",
    " \t\n",
    "[UNK] read [PAD] file",
    "the longest text of all, " * 60 + "and its end",
    "reader " * 30,
    "x" * 101 + " file",
]


def word_piece(humps=False):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    bert = normalizers.BertNormalizer(lowercase=True)
    if humps:
        pattern = Regex("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
        bert = normalizers.Sequence([normalizers.Replace(pattern, " "), bert])
    tokenizer.normalizer = bert
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=250, special_tokens=SPECIAL, limit_alphabet=60,
                                        show_progress=False)
    tokenizer.train_from_iterator(TEXTS[:5], trainer)
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="[UNK]",
                                      show_progress=False)
    tokenizer.train_from_iterator(TEXTS[:5], trainer)
    return tokenizer


def bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS[:5], trainer)
    return tokenizer


def save(name, tokenizer, vectors, weights=None, mapping=None, **config):
    folder = OUT / name
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], **config}
    save_pretrained(folder, vectors, tokenizer, config, create_model_card=False, weights=weights,
                    mapping=mapping)
    return folder


def nested(tokenizer, vectors):
    folder = OUT / "nested"
    inner = folder / "0_StaticEmbedding"
    inner.mkdir(parents=True)
    tokenizer.save(str(inner / "tokenizer.json"), pretty=False)
    save_file({"embedding.weight": vectors}, inner / "model.safetensors")
    (folder / "config_sentence_transformers.json").write_text("{}\n")
    return folder


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    rng = np.random.default_rng(7)
    random = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    pieces, parted, one, bytes_ = word_piece(), word_piece(humps=True), unigram(), bpe()
    size = lambda tokenizer: tokenizer.get_vocab_size()
    save("plain", pieces, random(size(pieces), DIM), normalize=True, max_length=512)
    save("humps", parted, random(size(parted), DIM).astype(np.float16), normalize=False,
         max_length=None)
    rows = np.clip(np.rint(random(40, DIM) * 40), -127, 127).astype(np.int8)
    save("quantised", pieces, rows, weights=np.abs(random(size(pieces))) / 40,
         mapping=rng.integers(0, 40, size(pieces)).astype(np.int32), normalize=True, max_length=16)
    save("unigram", one, random(size(one), DIM), normalize=True)
    save("bpe", bytes_, random(size(bytes_), DIM).astype(np.float64),
         weights=np.abs(random(size(bytes_))), normalize=True)
    nested(pieces, random(size(pieces), DIM))
    models_ = {}
    for folder in sorted(OUT.iterdir()):
        model = StaticModel.from_pretrained(folder)
        vectors = model.encode(TEXTS).astype(np.float64)
        models_[folder.name] = [[round(float(x), 7) for x in vector] for vector in vectors]
    expected = {"texts": TEXTS, "models": models_}
    (OUT / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    print(f"{len(TEXTS)} texts, {len(models_)} models, "
          f"{sum(path.stat().st_size for path in OUT.rglob('*') if path.is_file())} bytes")


if __name__ == "__main__":
    main()
