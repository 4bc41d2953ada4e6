//! An encoder for tests of what surrounds one: small, and right in every file.

use std::collections::BTreeMap;

use serde_json::json;

/// Returns the files of a BERT encoder of one layer and 64 dimensions, its weights made up.
pub fn files() -> BTreeMap<String, Vec<u8>> {
    const HIDDEN: usize = 64;
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let signs = (b'!'..=b'~').filter(|sign| !sign.is_ascii_uppercase());
    let signs: Vec<String> = signs.map(|sign| char::from(sign).to_string()).collect();
    let mut words: Vec<String> = special.map(str::to_owned).to_vec();
    words.extend(signs.iter().cloned());
    words.extend(signs.iter().map(|sign| format!("##{sign}")));
    // Words that no text has: they make the weights large enough to be cut.
    words.extend((words.len()..1000).map(|at| format!("[unused{at}]")));
    let vocab: serde_json::Map<_, _> = words.iter().cloned().zip((0..).map(Into::into)).collect();
    let added: Vec<_> = (0..special.len())
        .map(|id| {
            json!({"id": id, "content": special[id], "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let known = |name: &str, id: u32| json!({"id": name, "ids": [id], "tokens": [name]});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true,
                       "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [token("[CLS]"), text, token("[SEP]")],
            "pair": [token("[CLS]"), text, token("[SEP]"), json!({"Sequence": {"id": "B", "type_id": 1}})],
            "special_tokens": {"[CLS]": known("[CLS]", 2), "[SEP]": known("[SEP]", 3)}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    });
    let config = json!({
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": words.len(),
        "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 2 * HIDDEN, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "max_position_embeddings": 128, "type_vocab_size": 2, "initializer_range": 0.02,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute",
        "use_cache": true, "torch_dtype": "float32",
    });
    let modules = json!([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]);
    let pooling = json!({"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": false,
                         "pooling_mode_mean_tokens": true});
    BTreeMap::from([
        ("README.md".to_owned(), b"# tiny\n".to_vec()),
        ("config.json".to_owned(), config.to_string().into_bytes()),
        (
            "tokenizer.json".to_owned(),
            tokenizer.to_string().into_bytes(),
        ),
        ("modules.json".to_owned(), modules.to_string().into_bytes()),
        (
            "1_Pooling/config.json".to_owned(),
            pooling.to_string().into_bytes(),
        ),
        (
            "sentence_bert_config.json".to_owned(),
            json!({"max_seq_length": 96}).to_string().into_bytes(),
        ),
        ("model.safetensors".to_owned(), weights(words.len(), HIDDEN)),
        ("pytorch_model.bin".to_owned(), vec![7; 8192]),
    ])
}

/// Writes the tensors of a BERT encoder in safetensors.
fn weights(vocabulary: usize, hidden: usize) -> Vec<u8> {
    let layer = "encoder.layer.0";
    let square = vec![hidden, hidden];
    let mut tensors: Vec<(String, Vec<usize>)> = vec![
        (
            "embeddings.word_embeddings.weight".into(),
            vec![vocabulary, hidden],
        ),
        (
            "embeddings.position_embeddings.weight".into(),
            vec![128, hidden],
        ),
        (
            "embeddings.token_type_embeddings.weight".into(),
            vec![2, hidden],
        ),
        ("embeddings.LayerNorm.weight".into(), vec![hidden]),
        ("embeddings.LayerNorm.bias".into(), vec![hidden]),
    ];
    for (name, shape) in [
        ("attention.self.query", square.clone()),
        ("attention.self.key", square.clone()),
        ("attention.self.value", square.clone()),
        ("attention.output.dense", square),
        ("attention.output.LayerNorm", vec![hidden]),
        ("intermediate.dense", vec![2 * hidden, hidden]),
        ("output.dense", vec![hidden, 2 * hidden]),
        ("output.LayerNorm", vec![hidden]),
    ] {
        tensors.push((format!("{layer}.{name}.bias"), vec![shape[0]]));
        tensors.push((format!("{layer}.{name}.weight"), shape));
    }
    let mut header = serde_json::Map::new();
    let mut bytes = Vec::new();
    let mut seed = 1_u32;
    for (name, shape) in tensors {
        let start = bytes.len();
        for _ in 0..shape.iter().product() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from(u16::try_from(seed >> 16).unwrap_or_default()) / 65536.0 - 0.5;
            // Norms are near 1, all else is small around 0.
            let is_scale = name.ends_with("LayerNorm.weight");
            let value = if is_scale {
                1.0 + 0.1 * value
            } else {
                0.2 * value
            };
            bytes.extend(value.to_le_bytes());
        }
        let offsets = [start, bytes.len()];
        header.insert(
            name,
            json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}),
        );
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(bytes);
    file
}
