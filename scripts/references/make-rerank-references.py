#!/usr/bin/env python3
"""Writes embed/tests/data/rerankers: a small random cross-encoder of each family, and what PyTorch
makes of pairs of a question and a document with it.

Usage: make-rerank-references.py [FAMILY ...]      (all without names)

Needs torch, transformers 5, sentence-transformers and tokenizers. A folder is a model as the hub
has cross-encoders, and `reference.json`: versions, pairs, token ids and types, logits in f32. They
are made by CrossEncoder of sentence-transformers without its activation, which would saturate. The
same seeds give the same files.
"""

import json
import pathlib
import shutil
import sys

import safetensors.torch
import sentence_transformers
import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).resolve().parents[2] / "embed/tests/data/rerankers"
HIDDEN, HEADS, INTERMEDIATE, LAYERS = 32, 2, 48, 2
# Tokens of a pair.
LIMIT = 64
# How far logits are spread: their standard deviation over the pairs.
SPREAD = 4.0

CORPUS = [
    "fn retry(times: u32) -> bool { (0..times).any(|_| send()) }",
    "def load(path):\n    with open(path) as f:\n        return f.read()",
    "The quick brown fox jumps over the lazy dog, and reads a file in Python.",
    "SELECT name, COUNT(*) FROM users WHERE age > 30 GROUP BY name;",
    "größe naïve café Straße Ωμέγα 漢字 かな 日本語 мир 🦀",
]
WORDS = "upload parser cache line user profile server matrix token read file path retry index".split()


def words(count, step):
    """The text of a rule: `count` words, the k-th of them WORDS[(k * k + step * k) % len(WORDS)]."""
    return " ".join(WORDS[(k * k + step * k) % len(WORDS)] for k in range(count))


QUESTION = "how is a file read in python"
PAIRS = [
    ("sentence", QUESTION, CORPUS[1]),
    ("other", QUESTION, CORPUS[3]),
    ("code", "retry a failed upload", "src/upload.rs\nretry_upload\n" + CORPUS[0]),
    ("same", CORPUS[2], CORPUS[2]),
    ("empty document", QUESTION, ""),
    ("empty question", "", CORPUS[0]),
    ("both empty", "", ""),
    ("non-ascii", "größe der Straße: 漢字かな", "🦀🔥 naïve café, Ωμέγα и мир"),
    ("spaces", "  a \t b\n\n  c ", " x\n\n y  "),
    ("long document", QUESTION, words(300, 3)),
    ("long question", words(300, 5), CORPUS[1]),
    ("both long", words(200, 7), words(210, 9)),
    ("both a little long", words(33, 4), words(32, 1)),
    ("just fitting", words(20, 5), words(41, 3)),
]

# Files of one chunk each, with its symbol, for the tests of cs-query, and a question about them.
REPOSITORY_QUESTION = "where is a failed upload tried again?"
REPOSITORY = [
    ("src/upload.rs", "retry_upload", "pub fn retry_upload(times: u32) -> bool {\n    (0..times).any(|_| send())\n}"),
    ("src/load.py", "load", "def load(path):\n    with open(path) as f:\n        return f.read()"),
    ("src/cache.go", "Evict", "func Evict(line int) error {\n\treturn cache.Drop(line)\n}"),
    ("src/token.rs", "next_token", "fn next_token(text: &str) -> Option<&str> {\n    text.split(' ').next()\n}"),
    ("web/profile.js", "userProfile", "function userProfile(id) {\n  return fetch(`/user/${id}`);\n}"),
    ("docs/upload.md", "Uploads", "# Uploads\n\nAn upload that failed is tried again three times."),
]


def chunk(path, symbol, content):
    """What cs-query gives a reranker to read."""
    return "\n".join((path, symbol, content))


def special_tokens(tokenizer, names):
    return [(name, tokenizer.token_to_id(name)) for name in names]


def pieces(tokenizer):
    """The words and the signs of the corpus, in one order always: trainers break ties by chance."""
    parted = set()
    for text in CORPUS + WORDS:
        normalized = tokenizer.normalizer.normalize_str(text)
        parted |= {word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)}
    signs = sorted({sign for word in parted for sign in word})
    return sorted(word for word in parted if len(word) > 1), signs


def word_piece():
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    known, signs = pieces(tokenizer)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ends = sorted({"##" + word[-3:] for word in known if len(word) > 4})
    vocabulary = special + signs + ["##" + sign for sign in signs] + known + ends
    tokenizer.model = models.WordPiece({piece: at for at, piece in enumerate(vocabulary)}, unk_token="[UNK]")
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=special_tokens(tokenizer, ["[CLS]", "[SEP]"]))
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
                       "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
                       "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}


def unigram():
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    known, signs = pieces(tokenizer)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    scored = [(piece, -4.0 - at / 64) for at, piece in enumerate(piece for piece in known if len(piece) > 1)]
    scored += [(sign, -9.0 - at / 64) for at, sign in enumerate(signs)]
    tokenizer.model = models.Unigram([(name, 0.0) for name in special] + scored, unk_id=3)
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s>:0 $A:0 </s>:0 </s>:0 $B:1 </s>:1",
        special_tokens=special_tokens(tokenizer, ["<s>", "</s>"]))
    # Its second text has the type 1, of which XLM-RoBERTa has no row: the names say that types are
    # not for the model.
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>",
                       "cls_token": "<s>", "bos_token": "<s>", "sep_token": "</s>", "eos_token": "</s>",
                       "mask_token": "<mask>", "model_input_names": ["input_ids", "attention_mask"]}


def byte_level():
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS + WORDS, trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=special_tokens(tokenizer, ["[CLS]", "[SEP]"]))
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
                       "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
                       "model_input_names": ["input_ids", "attention_mask"]}


def randomise(state, seed):
    """Weights large enough to matter: norms about 1 and not 1, biases about 0 and not 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(state.items()):
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            is_scale = tensor.dim() == 1 and name.endswith("weight")
            tensor.copy_(1 + 0.2 * noise if is_scale else 0.3 * noise)


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def save(state, folder):
    made = {name: tensor.contiguous().clone() for name, tensor in state.items() if "position_ids" not in name}
    safetensors.torch.save_file(made, folder / "model.safetensors", metadata={"format": "pt"})


def cross_encoder(folder):
    return sentence_transformers.CrossEncoder(
        str(folder), device="cpu", activation_fn=torch.nn.Identity(), model_kwargs={"dtype": torch.float32})


def logits(folder, pairs=tuple(pair[1:] for pair in PAIRS)):
    return cross_encoder(folder).predict(list(pairs), convert_to_tensor=True).float().tolist()


def spread(folder, state, last):
    """Scales the last map so that the logits are well apart, and moves their mean to a logit at which
    sigmoid is 1.0 in f32 for many of them."""
    found = torch.tensor(logits(folder))
    scale = SPREAD / found.std()
    state[last + ".weight"] *= scale
    state[last + ".bias"] *= scale
    state[last + ".bias"] += 12 - scale * found.mean()
    save(state, folder)


def make(name, tokenizer, model, last, seed, variants=()):
    """Writes a folder; `variants` are further values of keys in config.json, each with logits of its own."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made, own = tokenizer
    write_json(folder / "tokenizer.json", json.loads(made.to_str()))
    write_json(folder / "tokenizer_config.json", {**own, "model_max_length": LIMIT})
    config = {**model.config.to_dict(), "architectures": [type(model).__name__],
              "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid",
                                        "version": sentence_transformers.__version__}}
    write_json(folder / "config.json", config)
    state = model.state_dict()
    randomise(state, seed)
    save(state, folder)
    spread(folder, state, last)
    encoder = cross_encoder(folder)
    rows = []
    for (kind, question, document), logit in zip(PAIRS, logits(folder)):
        # A list of pairs, as CrossEncoder has it: of one pair an empty document would count as none.
        ids = encoder.tokenizer([(question, document)], truncation="longest_first", max_length=LIMIT)
        types = {"types": ids["token_type_ids"][0]} if "token_type_ids" in ids else {}
        rows.append({"name": kind, "question": question, "document": document, "logit": logit,
                     "ids": ids["input_ids"][0], **types})
    found = {"versions": {m.__name__: m.__version__ for m in (torch, transformers, sentence_transformers, tokenizers)},
             "rows": rows, "variants": []}
    asked = [(REPOSITORY_QUESTION, chunk(*file)) for file in REPOSITORY]
    found["repository"] = {"question": REPOSITORY_QUESTION, "files": [
        {"path": path, "symbol": symbol, "content": content, "logit": logit}
        for (path, symbol, content), logit in zip(REPOSITORY, logits(folder, asked))]}
    for key, value in variants:
        write_json(folder / "config.json", {**config, key: value})
        found["variants"].append({"key": key, "from": config[key], "to": value, "logits": logits(folder)})
    write_json(folder / "config.json", config)
    write_json(folder / "reference.json", found)
    print(f"{name}: {sum(p.stat().st_size for p in folder.iterdir()) / 1024:.0f} KiB, logits",
          *(f"{row['logit']:.2f}" for row in rows), "of chunks",
          *(f"{file['logit']:.2f}" for file in found["repository"]["files"]))


def shape(tokenizer, **more):
    return {"vocab_size": tokenizer[0].get_vocab_size(), "hidden_size": HIDDEN, "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS, "intermediate_size": INTERMEDIATE, "num_labels": 1, **more}


def make_bert():
    tokenizer = word_piece()
    config = transformers.BertConfig(**shape(tokenizer, max_position_embeddings=LIMIT))
    make("bert", tokenizer, transformers.BertForSequenceClassification(config), "classifier", 31)


def make_xlm_roberta():
    tokenizer = unigram()
    config = transformers.XLMRobertaConfig(**shape(
        tokenizer, max_position_embeddings=LIMIT + 2, type_vocab_size=1, pad_token_id=1, bos_token_id=0,
        eos_token_id=2, layer_norm_eps=1e-5))
    make("xlm-roberta", tokenizer, transformers.XLMRobertaForSequenceClassification(config), "classifier.out_proj", 34)


def make_modernbert():
    tokenizer = byte_level()
    config = transformers.ModernBertConfig(**shape(
        tokenizer, max_position_embeddings=512, local_attention=12, global_attn_every_n_layers=2, pad_token_id=3,
        cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2, classifier_pooling="mean"))
    model = transformers.ModernBertForSequenceClassification(config)
    make("modernbert", tokenizer, model, "classifier", 33, [("classifier_pooling", "cls")])


MAKERS = {"bert": make_bert, "xlm-roberta": make_xlm_roberta, "modernbert": make_modernbert}

if __name__ == "__main__":
    torch.set_num_threads(2)
    for family in sys.argv[1:] or MAKERS:
        MAKERS[family]()
