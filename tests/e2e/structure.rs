//! What the workspace promises of itself: who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cs_tests::root;
use serde_json::Value;

/// Returns the target triple of this machine, such as `x86_64-unknown-linux-gnu`.
fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("a host").to_owned()
}

/// Returns, for each package of the workspace, the names of all packages that it is built from on
/// this machine. Only these have been downloaded by the build.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &host()])
        .current_dir(root())
        .output()
        .expect("cargo");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {errors}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's metadata");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> = list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    // A dependency that only tests have is no part of the tool.
    let edges: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let built = list(&node["deps"]).into_iter().filter(|dep| {
                list(&dep["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].as_str() != Some("dev"))
            });
            (
                text(&node["id"]),
                built.map(|dep| text(&dep["pkg"])).collect(),
            )
        })
        .collect();
    list(&metadata["workspace_members"])
        .iter()
        .map(|member| {
            let mut seen = BTreeSet::new();
            let mut open = vec![text(member)];
            while let Some(id) = open.pop() {
                for next in edges.get(&id).into_iter().flatten() {
                    if seen.insert(next.clone()) {
                        open.push(next.clone());
                    }
                }
            }
            let named = seen.iter().map(|id| names[id].clone()).collect();
            (names[&text(member)].clone(), named)
        })
        .collect()
}

#[test]
fn stages_do_not_see_each_other_and_parse_and_embed_not_the_database() {
    let dependencies = dependencies();
    let forbidden: [(&str, &[&str]); 5] = [
        (
            "cs-common",
            &[
                "cs-parse",
                "cs-embed",
                "cs-store",
                "tree-sitter",
                "tokenizers",
                "candle-core",
                "lancedb",
                "tokio",
            ],
        ),
        (
            "cs-parse",
            &[
                "cs-embed",
                "cs-store",
                "candle-core",
                "tokenizers",
                "lancedb",
                "tokio",
            ],
        ),
        (
            "cs-embed",
            &["cs-parse", "cs-store", "tree-sitter", "lancedb", "tokio"],
        ),
        (
            "cs-store",
            &["cs-parse", "cs-embed", "tree-sitter", "candle-core"],
        ),
        ("cs-query", &["cs-parse", "tree-sitter"]),
    ];
    for (package, names) in forbidden {
        let built_from = &dependencies[package];
        assert!(
            package == "cs-common" || built_from.contains("cs-common"),
            "{package}"
        );
        for name in names {
            assert!(
                !built_from.contains(*name),
                "{package} is built from {name}"
            );
        }
    }
}

#[test]
fn no_second_version_of_arrow_or_of_the_tokenizers() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    for name in [
        "arrow-array",
        "arrow-ipc",
        "tokenizers",
        "candle-core",
        "lance",
    ] {
        let count = lock.matches(&format!("name = \"{name}\"\n")).count();
        assert_eq!(count, 1, "{name}");
    }
}

#[test]
fn the_top_level_has_no_other_parts() {
    let output = Command::new("git")
        .args(["ls-tree", "--name-only", "-d", "HEAD"])
        .current_dir(root())
        .output()
        .expect("git");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let folders: Vec<&str> = listed
        .lines()
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(
        folders,
        [
            "common", "embed", "parse", "query", "scripts", "store", "tests"
        ]
    );
}
