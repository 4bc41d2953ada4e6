//! What a vector is on the wire and in the store: its length and the type of its numbers.

use cs_tests::{Home, python, root};
use serde_json::Value;

fn home() -> Home {
    let home = Home::new();
    home.write(
        "repo/upload.rs",
        "/// Tries a failed upload again.\npub fn retry_upload() -> bool {\n    send() || send()\n}\n",
    );
    home.write(
        "repo/dates.py",
        "def parse_date(text):\n    \"\"\"Turn text into a date.\"\"\"\n    return Date(text)\n",
    );
    home
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Expects that a question by meaning alone finds its function in a store.
fn expect_found(home: &Home, db: &str) {
    for (question, symbol) in [
        ("try a failed upload again", "retry_upload"),
        ("turn text into a date", "parse_date"),
    ] {
        let script = format!("cs-query --db {db} --mode dense --json -n 1 '{question}'");
        let hits = home.sh(&script).status(0).hits();
        assert_eq!(hits[0]["symbol"], symbol, "{db}: {hits:?}");
        assert!(hits[0]["score"].as_f64().expect("score") > 0.2, "{hits:?}");
    }
}

#[test]
fn a_store_of_shorter_vectors_is_asked_with_shorter_ones() {
    let home = home();
    home.sh("cs-parse repo > chunks.arrows; cs-embed --dims 64 < chunks.arrows | cs-store db")
        .status(0);
    expect_found(&home, "db");
    let script = "cs-embed --dims 64 --to jsonl < chunks.arrows";
    let rows = lines(&home.sh(script).status(0).text());
    let begin = rows[0]["metadata"]["cs.model"].as_str().expect("a model");
    let model: Value = serde_json::from_str(begin).expect("JSON");
    assert_eq!(model["dim"], 64);
    assert_eq!(rows[0]["columns"]["vector"], "FixedSizeList(64 x Float32)");
    assert_eq!(rows[1]["vector"].as_array().expect("a vector").len(), 64);
    // Vectors of another length are of another model.
    home.sh("cs-embed < chunks.arrows | cs-store db")
        .status(2)
        .says("64 dimensions");
    home.sh("cs-embed --dims 100000 < chunks.arrows")
        .status(2)
        .says("vectors of 100000 numbers are wanted");
    home.sh("cs-embed --dims 0 < chunks.arrows").status(2);
}

#[test]
fn halves_go_through_every_form_and_stage() {
    let home = home();
    home.sh("cs-parse repo > chunks.arrows
        cs-embed --vector-type f16 < chunks.arrows > half.arrows
        cs-embed --vector-type f16 --to jsonl < chunks.arrows > half.jsonl
        cs-embed --to jsonl < chunks.arrows > whole.jsonl
        cs-store db < half.arrows && cs-store db-jsonl < half.jsonl
        cs-embed < chunks.arrows | cs-store db-mixed && cs-store db-mixed < half.arrows
        cs-store db-half < half.arrows && cs-embed < chunks.arrows | cs-store db-half")
        .status(0);
    for db in ["db", "db-jsonl", "db-mixed", "db-half"] {
        expect_found(&home, db);
    }
    // A store keeps the type that its first stream had.
    let script = "grep -alr 'fixed_size_list:halffloat' db*/*/_versions | cut -d/ -f1 | sort -u";
    let kept = home.sh(script).status(0).text();
    assert_eq!(kept, "db\ndb-half\ndb-jsonl\n");
    let half = lines(&String::from_utf8_lossy(&home.read("half.jsonl")));
    let whole = lines(&String::from_utf8_lossy(&home.read("whole.jsonl")));
    let declared = half[0]["columns"]["vector"].as_str().expect("a type");
    assert!(declared.ends_with(" x Float16)"), "{declared}");
    let vector = |row: &Value| -> Vec<f64> {
        let numbers = row["vector"].as_array().expect("a vector");
        numbers.iter().filter_map(Value::as_f64).collect()
    };
    for (half, whole) in half[1..].iter().zip(&whole[1..]) {
        if half["op"] == "put" {
            for (half, whole) in vector(half).iter().zip(vector(whole)) {
                assert!((half - whole).abs() <= whole.abs() / 2048.0 + 1e-7);
            }
        }
    }
}

#[test]
fn halves_are_what_pyarrow_takes_them_for() {
    let Some(python) = python() else { return };
    let home = home();
    home.write("halves.py", HALVES);
    let script = format!(
        "cs-parse repo | cs-embed --vector-type f16 > half.arrows
        '{}' halves.py half.arrows again.arrows && cs-store db < again.arrows",
        python.display()
    );
    let told = home.sh(&script).status(0).text();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let dim = told["model"]["dim"].as_u64().expect("dim");
    let expected = format!("fixed_size_list<item: halffloat>[{dim}]");
    assert_eq!(told["type"], expected);
    let norm = told["norm"].as_f64().expect("norm");
    assert!((norm - 1.0).abs() < 5e-3, "{norm}");
    expect_found(&home, "db");
}

/// Reads a stream, and writes its vectors as halves that pyarrow made.
const HALVES: &str = r#"
import json, sys, pyarrow as pa, pyarrow.compute as pc
table = pa.ipc.open_stream(sys.argv[1]).read_all()
table.validate(full=True)
table = table.filter(pc.equal(table["op"], "put"))
at = table.schema.get_field_index("vector")
field = table.schema.field(at)
dim = field.type.list_size
numbers = [[float(x) for x in row.as_py()] for row in table["vector"]]
flat = pa.array([x for row in numbers for x in row], pa.float32()).cast(pa.float16())
table = table.set_column(at, "vector", pa.FixedSizeListArray.from_arrays(flat, dim))
with pa.ipc.new_stream(sys.argv[2], table.schema) as writer:
    writer.write_table(table)
model = json.loads(table.schema.metadata[b"cs.model"])
print(json.dumps({"type": str(field.type), "model": model,
                  "norm": sum(x * x for x in numbers[0])}))
"#;

#[test]
fn a_vector_that_halves_cannot_hold_is_refused_by_its_chunks_name() {
    let home = home();
    let model = root().join("embed/tests/data/model2vec/plain");
    let read = |name: &str| std::fs::read(model.join(name)).expect("the file");
    let mut weights = read("model.safetensors");
    let header = weights[..8].try_into().map(u64::from_le_bytes);
    let header = usize::try_from(header.expect("a length")).expect("a length");
    for number in weights[8 + header..].as_chunks_mut().0 {
        *number = 100_000_f32.to_le_bytes();
    }
    home.write("large/model.safetensors", weights);
    home.write("large/tokenizer.json", read("tokenizer.json"));
    home.write("large/config.json", r#"{"normalize": false}"#);
    home.sh("cs-parse repo > chunks.arrows").status(0);
    home.sh("cs-embed --model large < chunks.arrows > /dev/null")
        .status(0);
    home.sh("cs-embed --model large --vector-type f16 < chunks.arrows > /dev/null")
        .status(2)
        .says("cs-embed: repo/")
        .says("f16 cannot hold");
}
