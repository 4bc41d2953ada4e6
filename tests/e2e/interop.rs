//! pyarrow reads what we write, and we read what pyarrow wrote.

use cs_tests::{Home, python, root};
use serde_json::Value;

#[test]
fn pyarrow_reads_every_stream() {
    let Some(python) = python() else { return };
    let home = Home::new();
    home.write("repo/a.rs", "fn upload() {}\n");
    home.write("repo/empty/.keep", "");
    home.write("read.py", READ);
    home.sh(
        "cs-parse repo > chunks.arrows && cs-embed < chunks.arrows > vectors.arrows
        cs-parse repo/empty > none.arrows",
    )
    .status(0);
    let python = python.display();
    let read = |name: &str| {
        let text = home
            .sh(&format!("{python} read.py {name}"))
            .status(0)
            .text();
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    assert_eq!(read("none.arrows")["rows"], 0);
    assert_eq!(read("none.arrows")["reports"], 1);
    let chunks = read("chunks.arrows");
    assert_eq!(chunks["rows"], 1);
    assert_eq!(chunks["wire"], "1");
    assert_eq!(chunks["types"]["start_line"], "uint32");
    let vectors = read("vectors.arrows");
    assert_eq!(vectors["reports"], 2);
    let dim = vectors["model"]["dim"].as_u64().expect("dim");
    assert_eq!(
        vectors["types"]["vector"],
        format!("fixed_size_list<item: float>[{dim}]")
    );
    assert!(
        (vectors["norm"].as_f64().expect("norm") - 1.0).abs() < 1e-3,
        "{vectors}"
    );
}

const READ: &str = r#"
import json, sys, pyarrow as pa
reader = pa.ipc.open_stream(sys.argv[1])
table = reader.read_all()
table.validate(full=True)
meta = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
ops = table["op"].to_pylist()
out = {"rows": len(ops) - ops.count("report"), "reports": ops.count("report"), "wire": meta["cs.wire"],
       "types": {f.name: str(f.type) for f in table.schema}}
if "vector" in table.column_names:
    out["model"] = json.loads(meta["cs.model"])
    out["norm"] = sum(x * x for x in table["vector"][0].as_py())
print(json.dumps(out))
"#;

#[test]
fn golden_streams_of_version_one_are_read_for_ever() {
    let home = Home::new();
    let golden = root().join("tests/golden");
    let expected: Vec<Value> = std::fs::read_to_string(golden.join("v1.jsonl"))
        .expect("the golden stream")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|row: &Value| row["op"] != "begin")
        .collect();
    for name in ["v1.arrows", "v1-zstd.arrows", "v1-lz4.arrows", "v1.jsonl"] {
        let path = golden.join(name);
        let script = format!("cs-embed --to jsonl < '{}'", path.display());
        let text = home.sh(&script).status(0).text();
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let begin = lines.next().expect("a first line");
        assert_eq!(begin["metadata"]["team.note"], "kept", "{name}");
        assert_eq!(begin["columns"]["stars"], "Int64", "{name}");
        assert!(begin["columns"]["vector"].is_string(), "{name}");
        let mut rows: Vec<Value> = lines
            .map(|mut row| {
                if let Some(object) = row.as_object_mut() {
                    object.remove("vector");
                }
                row
            })
            .collect();
        // What the stage adds itself stands behind the report that was there.
        let added = rows.remove(rows.len() - 2);
        let text = added["content"].as_str().unwrap_or_default();
        assert!(text.contains("cs-embed"), "{name}: {added}");
        assert_eq!(rows, expected, "{name}");
        home.sh(&format!(
            "cs-embed < '{}' | cs-store db-{name}",
            path.display()
        ))
        .status(0);
    }
}
