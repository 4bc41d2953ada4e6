#!/usr/bin/env python3
"""Writes embed/tests/data/encoders: a small random model of each family of encoders, and what
PyTorch makes of texts with it.

Usage: make-encoder-references.py [FAMILY ...]      (all without names)

Needs torch, transformers 5, sentence-transformers and tokenizers. A folder is a model as
sentence-transformers writes it, and `reference.json`: versions, texts, token ids, vectors in f32.
Vectors are made by sentence-transformers around the classes of transformers; JinaBERT, which has no
class there, is computed below from its paper and model card. The same seeds give the same files.
"""

import json
import math
import pathlib
import shutil
import sys
import tempfile

import safetensors.torch
import sentence_transformers
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).resolve().parents[2] / "embed/tests/data/encoders"
HIDDEN, HEADS, INTERMEDIATE, LAYERS = 48, 3, 80, 3
# The limit of families whose positions have no table.
LONG = 10000

CORPUS = [
    "fn retry(times: u32) -> bool { (0..times).any(|_| send()) }",
    "def load(path):\n    with open(path) as f:\n        return f.read()",
    "const get = async (url) => (await fetch(url)).json();",
    "The quick brown fox jumps over the lazy dog, and reads a file in Python.",
    "SELECT name, COUNT(*) FROM users WHERE age > 30 GROUP BY name;",
    "query: passage: search_query: Instruct: Given a question, find code that answers it",
    "größe naïve café Straße Ωμέγα 漢字 かな 日本語 мир 🦀",
]
WORDS = "upload parser cache line user profile server matrix token read file path retry index".split()


def words(count):
    """The text of a rule: `count` words, the k-th of them WORDS[(k * k + 3 * k) % len(WORDS)]."""
    return " ".join(WORDS[(k * k + 3 * k) % len(WORDS)] for k in range(count))


TEXTS = [
    {"name": "sentence", "text": "how to read a file in python"},
    {"name": "word", "text": "x"},
    {"name": "empty", "text": ""},
    {"name": "code", "text": CORPUS[0] + "\n" + CORPUS[1]},
    {"name": "non-ascii", "text": "größe der Straße: 漢字かな 🦀🔥 naïve café, Ωμέγα и мир"},
    {"name": "spaces", "text": "  a \t b\n\n  c "},
    {"name": "middle", "words": 60},
    {"name": "long", "words": 400},
    {"name": "10000 tokens", "words": 10000},
]


def word_piece():
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer, {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
                       "sep_token": "[SEP]", "mask_token": "[MASK]"}


def unigram():
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>"))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "bos_token": "<s>",
                       "sep_token": "</s>", "eos_token": "</s>", "mask_token": "<mask>"}


def byte_level(special, template):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    ids = [(token, tokenizer.token_to_id(token)) for token in special]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def modern_tokenizer():
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    return byte_level(special, "[CLS] $A [SEP]"), {
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}


def qwen_tokenizer():
    end = "<|endoftext|>"
    return byte_level([end], f"$A {end}"), {"pad_token": end, "eos_token": end}


def randomise(state, seed):
    """Weights large enough to matter: norms about 1 and not 1, biases about 0 and not 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(state.items()):
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        is_scale = tensor.dim() == 1 and name.endswith("weight")
        tensor.copy_(1 + 0.2 * noise if is_scale else 0.3 * noise)


def slopes():
    """The slopes of ALiBi (Press et al., 2022) for a number of heads that is no power of two."""
    power = 2 ** math.floor(math.log2(HEADS))
    made = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    made += [2 ** (-8 * (i + 1) / (2 * power)) for i in range(0, 2 * power, 2)][:HEADS - power]
    return made


class Jina:
    """JinaBERT v2 from its state, one text at a time; `code` is the variant of v2-base-code."""

    def __init__(self, state, code):
        self.state, self.code = state, code

    def norm(self, x, name):
        state = self.state
        return torch.nn.functional.layer_norm(x, (HIDDEN,), state[name + ".weight"], state[name + ".bias"], 1e-12)

    def linear(self, x, name):
        return torch.nn.functional.linear(x, self.state[name + ".weight"], self.state.get(name + ".bias"))

    def head(self, query, key, value, slope):
        at = torch.arange(len(query))
        scores = query @ key.T / math.sqrt(HIDDEN // HEADS)
        scores -= slope * (at[None, :] - at[:, None]).abs()
        return scores.softmax(-1) @ value

    def attention(self, x, name):
        query, key, value = (self.linear(x, f"{name}.self.{part}") for part in ("query", "key", "value"))
        if self.code:
            query = self.norm(query, name + ".self.layer_norm_q")
            key = self.norm(key, name + ".self.layer_norm_k")
        heads = zip(*(t.chunk(HEADS, -1) for t in (query, key, value)), slopes())
        # One head at a time: the scores of 10,000 tokens are 400 MB.
        mixed = torch.cat([self.head(*head) for head in heads], -1)
        return self.norm(self.linear(mixed, name + ".output.dense") + x, name + ".output.LayerNorm")

    def layer(self, x, name):
        gelu = torch.nn.functional.gelu
        attended = self.attention(x, name + ".attention")
        if not self.code:
            bent, plain = self.linear(attended, name + ".mlp.gated_layers").chunk(2, -1)
            return self.norm(self.linear(gelu(bent) * plain, name + ".mlp.wo") + attended, name + ".mlp.layernorm")
        # The attention's own sum and norm is followed by one more.
        attended = self.norm(x + attended, name + ".layer_norm_1")
        plain, bent = self.linear(attended, name + ".mlp.up_gated_layer").chunk(2, -1)
        return self.norm(attended + self.linear(plain * gelu(bent), name + ".mlp.down_layer"), name + ".layer_norm_2")

    def __call__(self, ids):
        state = self.state
        x = state["embeddings.word_embeddings.weight"][ids] + state["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for index in range(LAYERS):
            x = self.layer(x, f"encoder.layer.{index}")
        return x


def jina_state(vocabulary, code):
    shapes = {"embeddings.word_embeddings": (vocabulary, HIDDEN), "embeddings.token_type_embeddings": (2, HIDDEN)}
    norms = ["embeddings.LayerNorm"]
    biased = []
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        dense = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        dense.append(layer + ".attention.output.dense")
        shapes |= {name: (HIDDEN, HIDDEN) for name in dense}
        norms.append(layer + ".attention.output.LayerNorm")
        up, down = ("up_gated_layer", "down_layer") if code else ("gated_layers", "wo")
        shapes[f"{layer}.mlp.{up}"] = (2 * INTERMEDIATE, HIDDEN)
        shapes[f"{layer}.mlp.{down}"] = (HIDDEN, INTERMEDIATE)
        biased += dense + [f"{layer}.mlp.{down}"]
        norms += [f"{layer}.attention.self.layer_norm_{part}" for part in "qk"] if code else []
        norms += [f"{layer}.layer_norm_{part}" for part in "12"] if code else [layer + ".mlp.layernorm"]
    state = {name + ".weight": torch.zeros(shape) for name, shape in shapes.items()}
    state |= {name + ".bias": torch.zeros(shapes[name][0]) for name in biased}
    state |= {f"{name}.{part}": torch.zeros(HIDDEN) for name in norms for part in ("weight", "bias")}
    return state


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_folder(folder, tokenizer, config, max_tokens, pooling, modules, prompts):
    """Writes everything of a model but its weights."""
    made, special = tokenizer
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "tokenizer.json", json.loads(made.to_str()))
    limit = {} if max_tokens is None else {"model_max_length": max_tokens}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special, **limit})
    write_json(folder / "config.json", config)
    kinds = ["Transformer", "Pooling", *modules]
    paths = ["", *(f"{index}_{kind}" for index, kind in enumerate(kinds) if index)]
    write_json(folder / "modules.json", [
        {"idx": index, "name": str(index), "path": path, "type": "sentence_transformers.models." + kind}
        for index, (path, kind) in enumerate(zip(paths, kinds))])
    write_json(folder / "1_Pooling/config.json", pooling)
    write_json(folder / "config_sentence_transformers.json",
               {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"})


def old_pooling(mode):
    keys = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    return {"word_embedding_dimension": HIDDEN, **{"pooling_mode_" + key: key.startswith(mode) for key in keys}}


def native(model_class, config, seed):
    torch.manual_seed(seed)
    model = model_class(config, add_pooling_layer=False) if model_class.__name__.endswith(("BertModel", "RobertaModel")) \
        and "Modern" not in model_class.__name__ else model_class(config)
    state = model.state_dict()
    randomise(state, seed)
    return {name: tensor.clone() for name, tensor in state.items() if "position_ids" not in name}


def save(state, path, prefix="", dtype=torch.float32):
    made = {prefix + name: tensor.to(dtype).contiguous() for name, tensor in state.items()}
    safetensors.torch.save_file(made, path, metadata={"format": "pt"})
    return {name: tensor.to(dtype).float() for name, tensor in state.items()}


def full_text(entry):
    return entry["text"] if "text" in entry else words(entry["words"])


def reference(folder, encode, prompts, plain=True):
    """Writes `reference.json`; `encode(text)` returns the ids and the vector of a text."""
    rows = []
    asked = [(entry, None) for entry in TEXTS if plain] + \
        [(TEXTS[0], name) for name, prompt in prompts.items() if prompt or not plain]
    for entry, prompt in asked:
        ids, vector = encode(prompts.get(prompt, "") + full_text(entry))
        assert entry["name"] != "10000 tokens" or len(ids) in (96, 100, LONG), len(ids)
        row = {**entry, "prompt": prompt, "tokens": len(ids),
               "vector": [float(f"{x:.7g}") for x in vector.tolist()]}
        if len(ids) <= 64:
            row["ids"] = ids
        rows.append(row)
    versions = {m.__name__: m.__version__ for m in (torch, transformers, sentence_transformers, tokenizers)}
    write_json(folder / "reference.json", {"versions": versions, "words": WORDS, "rows": rows})


def by_sentence_transformers(folder):
    """How sentence-transformers embeds with a folder, in f32 whatever its weights are stored in."""
    model = sentence_transformers.SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"dtype": torch.float32, "attn_implementation": "sdpa"})

    def encode(text):
        ids = model.tokenizer(text, truncation=True)["input_ids"]
        return ids, model.encode(text, convert_to_tensor=True, prompt="").float()
    return encode


def make_bert():
    """The first token, as bge has it; names as transformers writes them."""
    folder, tokenizer = OUT / "bert", word_piece()
    config = transformers.BertConfig(
        vocab_size=tokenizer[0].get_vocab_size(), hidden_size=HIDDEN, num_attention_heads=HEADS,
        num_hidden_layers=LAYERS, intermediate_size=INTERMEDIATE, max_position_embeddings=96)
    write_folder(folder, tokenizer, config.to_dict(), 96, old_pooling("cls"), ["Normalize"], {})
    save(native(transformers.BertModel, config, 1), folder / "model.safetensors")
    reference(folder, by_sentence_transformers(folder), {})


def make_xlm_roberta():
    """Mean pooling, prompts, a Dense module; f16 in two files with a prefix."""
    folder, tokenizer = OUT / "xlm-roberta", unigram()
    config = transformers.XLMRobertaConfig(
        vocab_size=tokenizer[0].get_vocab_size(), hidden_size=HIDDEN, num_attention_heads=HEADS,
        num_hidden_layers=LAYERS, intermediate_size=INTERMEDIATE, max_position_embeddings=130, type_vocab_size=1,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5)
    prompts = {"query": "query: ", "passage": "passage: "}
    write_folder(folder, tokenizer, config.to_dict(), None, old_pooling("mean_tokens"), ["Dense", "Normalize"], prompts)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 100, "do_lower_case": False})
    write_json(folder / "2_Dense/config.json", {
        "in_features": HIDDEN, "out_features": 31, "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh"})
    dense = {"linear.weight": torch.zeros(31, HIDDEN), "linear.bias": torch.zeros(31)}
    randomise(dense, 22)
    save(dense, folder / "2_Dense/model.safetensors")
    state = native(transformers.XLMRobertaModel, config, 2)
    parts = [{k: v for k, v in state.items() if k.startswith("embeddings") == first} for first in (True, False)]
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for part, file in zip(parts, files):
        save(part, folder / file, "roberta.", torch.float16)
    write_json(folder / "model.safetensors.index.json", {
        "metadata": {}, "weight_map": {"roberta." + k: file for part, file in zip(parts, files) for k in part}})
    reference(folder, by_sentence_transformers(folder), prompts)


def nomic_config(tokenizer, layers):
    return transformers.NomicBertConfig(
        vocab_size=tokenizer[0].get_vocab_size(), hidden_size=HIDDEN, num_attention_heads=HEADS,
        num_hidden_layers=layers, intermediate_size=INTERMEDIATE, max_position_embeddings=LONG,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0})


def make_nomic_native():
    """Config and names as transformers 5 has them; the older keys' `max` pooling, not normalised."""
    folder, tokenizer = OUT / "nomic-native", word_piece()
    config = nomic_config(tokenizer, 2)
    write_folder(folder, tokenizer, config.to_dict(), LONG, old_pooling("max_tokens"), [], {})
    save(native(transformers.NomicBertModel, config, 3), folder / "model.safetensors")
    reference(folder, by_sentence_transformers(folder), {})


def make_nomic():
    """Config and names as on the hub; the newer form of the pooling's config."""
    folder, tokenizer = OUT / "nomic", word_piece()
    config = nomic_config(tokenizer, LAYERS)
    state = native(transformers.NomicBertModel, config, 4)
    prompts = {"query": "search_query: ", "document": "search_document: "}
    pooling = {"embedding_dimension": HIDDEN, "pooling_mode": "mean", "include_prompt": True}
    with tempfile.TemporaryDirectory() as temporary:
        twin = pathlib.Path(temporary) / "model"
        write_folder(twin, tokenizer, config.to_dict(), LONG, pooling, ["Normalize"], prompts)
        save(state, twin / "model.safetensors")
        encode = by_sentence_transformers(twin)
    hub = {
        "model_type": "nomic_bert", "architectures": ["NomicBertModel"], "activation_function": "swiglu",
        "causal": False, "layer_norm_epsilon": 1e-12, "mlp_fc1_bias": False, "mlp_fc2_bias": False,
        "n_embd": HIDDEN, "n_head": HEADS, "n_inner": INTERMEDIATE, "n_layer": LAYERS, "n_positions": LONG,
        "parallel_block": False, "prenorm": False, "qkv_proj_bias": False, "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None, "type_vocab_size": 2, "use_rms_norm": False,
        "vocab_size": tokenizer[0].get_vocab_size()}
    write_folder(folder, tokenizer, hub, LONG, pooling, ["Normalize"], prompts)
    renamed = {}
    for name, tensor in state.items():
        if ".self_attn.q_proj." in name:
            rest = [state[name.replace("q_proj", part)] for part in ("k_proj", "v_proj")]
            name, tensor = name.replace("self_attn.q_proj", "attn.Wqkv"), torch.cat([tensor, *rest])
        elif ".k_proj." in name or ".v_proj." in name:
            continue
        for new, old in (("self_attn.o_proj", "attn.out_proj"), ("mlp.up_proj", "mlp.fc11"),
                         ("mlp.gate_proj", "mlp.fc12"), ("mlp.down_proj", "mlp.fc2"),
                         ("post_attention_layernorm", "norm1"), ("post_mlp_layernorm", "norm2"),
                         ("embeddings.LayerNorm", "emb_ln")):
            name = name.replace(new, old)
        renamed["encoder." + name if name.startswith("layers.") else name] = tensor
    save(renamed, folder / "model.safetensors")
    reference(folder, encode, prompts)


def make_jina(code):
    folder, tokenizer = OUT / ("jina-code" if code else "jina"), word_piece()
    vocabulary = tokenizer[0].get_vocab_size()
    config = {
        "model_type": "bert", "architectures": ["JinaBertForMaskedLM"], "position_embedding_type": "alibi",
        "feed_forward_type": "geglu", "hidden_act": "gelu", "hidden_size": HIDDEN, "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS, "intermediate_size": INTERMEDIATE, "layer_norm_eps": 1e-12,
        "max_position_embeddings": LONG, "type_vocab_size": 2, "vocab_size": vocabulary}
    write_folder(folder, tokenizer, config, LONG, old_pooling("mean_tokens"), ["Normalize"] if code else [], {})
    state = jina_state(vocabulary, code)
    randomise(state, 6 if code else 5)
    # As checkpoints for masked language models have it.
    save(state, folder / "model.safetensors", "bert." if code else "")
    model = Jina(state, code)

    def encode(text):
        tokenizer[0].enable_truncation(LONG)
        ids = tokenizer[0].encode(text).ids
        vector = model(torch.tensor(ids)).mean(0)
        return ids, torch.nn.functional.normalize(vector, dim=0) if code else vector
    with torch.no_grad():
        reference(folder, encode, {})


def make_modernbert():
    """Local layers of a small window, so that a long text needs more than one of them."""
    folder, tokenizer = OUT / "modernbert", modern_tokenizer()
    config = transformers.ModernBertConfig(
        vocab_size=tokenizer[0].get_vocab_size(), hidden_size=HIDDEN, num_attention_heads=HEADS,
        num_hidden_layers=5, intermediate_size=INTERMEDIATE, max_position_embeddings=LONG, local_attention=12,
        global_attn_every_n_layers=3, pad_token_id=3, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2)
    # Keys as on the hub.
    written = {key: value for key, value in config.to_dict().items() if key not in ("rope_parameters", "layer_types")}
    written |= {"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "global_attn_every_n_layers": 3}
    write_folder(folder, tokenizer, written, LONG, old_pooling("cls"), ["Normalize"], {})
    save(native(transformers.ModernBertModel, config, 7), folder / "model.safetensors", "model.")
    reference(folder, by_sentence_transformers(folder), {})


def make_qwen3():
    """Grouped heads that are wider together than the state, the last token, bf16."""
    folder, tokenizer = OUT / "qwen3", qwen_tokenizer()
    config = transformers.Qwen3Config(
        vocab_size=tokenizer[0].get_vocab_size(), hidden_size=HIDDEN, num_attention_heads=6, num_key_value_heads=2,
        head_dim=16, num_hidden_layers=LAYERS, intermediate_size=INTERMEDIATE, max_position_embeddings=LONG,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, pad_token_id=0, eos_token_id=0)
    written = {key: value for key, value in config.to_dict().items() if key != "rope_parameters"}
    written |= {"rope_theta": 1000000, "rope_scaling": None}
    prompts = {"query": "Instruct: Given a question, find code that answers it\nQuery:", "document": ""}
    write_folder(folder, tokenizer, written, LONG, {**old_pooling("lasttoken"), "include_prompt": True},
                 ["Normalize"], prompts)
    save(native(transformers.Qwen3Model, config, 8), folder / "model.safetensors", "model.", torch.bfloat16)
    reference(folder, by_sentence_transformers(folder), prompts)


MAKERS = {
    "bert": make_bert,
    "xlm-roberta": make_xlm_roberta,
    "nomic": make_nomic,
    "nomic-native": make_nomic_native,
    "jina": lambda: make_jina(False),
    "jina-code": lambda: make_jina(True),
    "modernbert": make_modernbert,
    "qwen3": make_qwen3,
}

if __name__ == "__main__":
    torch.set_num_threads(2)
    for name in sys.argv[1:] or MAKERS:
        MAKERS[name]()
        size = sum(path.stat().st_size for path in (OUT / name).rglob("*") if path.is_file())
        print(f"{name}: {size / 1024:.0f} KiB")
