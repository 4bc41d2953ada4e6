//! The second look at the best hits: by a cross-encoder of PyTorch's making, and by a service on
//! its good and bad days.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cs_tests::hub::{Hub, MODEL};
use cs_tests::service::{Fault, Service, score};
use cs_tests::{Home, Output, root};
use serde_json::Value;

const FAMILIES: [&str; 3] = ["bert", "xlm-roberta", "modernbert"];

/// What `scripts/references/make-rerank-references.py` made of a family.
fn folder(family: &str) -> PathBuf {
    root().join("embed/tests/data/rerankers").join(family)
}

/// A small repository, a question about it, and what PyTorch makes of its chunks.
fn reference(family: &str) -> Value {
    let json = fs::read(folder(family).join("reference.json")).expect("the reference");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    json["repository"].clone()
}

/// Makes a store of the repository; `bert` beside it is a cross-encoder.
fn stored() -> Home {
    let home = Home::new();
    let reference = reference("bert");
    for file in reference["files"].as_array().expect("files") {
        let text = |name: &str| file[name].as_str().expect("a text");
        home.write(&format!("app/{}", text("path")), text("content"));
    }
    home.sh(&format!(
        "cs-parse app | cs-embed | cs-store db; ln -s {} bert",
        folder("bert").display()
    ))
    .status(0);
    home
}

const QUESTION: &str = "where is a failed upload tried again?";

fn ask(flags: &str) -> String {
    format!("cs-query --db db --json '{QUESTION}' {flags}")
}

fn asked_of(service: &Service, flags: &str) -> String {
    let url = &service.url;
    ask(&format!("--rerank m --rerank-endpoint {url} {flags}"))
}

fn hits(home: &Home, script: &str) -> Vec<Value> {
    home.sh(script).status(0).silent().hits()
}

fn paths(hits: &[Value]) -> Vec<String> {
    let path = |hit: &Value| hit["path"].as_str().expect("a path").to_owned();
    hits.iter().map(path).collect()
}

fn scores(hits: &[Value]) -> Vec<f64> {
    let score = |hit: &Value| hit["score"].as_f64().expect("a score");
    hits.iter().map(score).collect()
}

/// What a reranker reads of a hit.
fn text(hit: &Value) -> String {
    let part = |name: &str| hit[name].as_str().expect("a text");
    [part("path"), part("symbol"), part("content")].join("\n")
}

#[track_caller]
fn expect_falling(hits: &[Value]) {
    assert!(
        scores(hits).is_sorted_by(|a, b| a >= b),
        "{:?}",
        scores(hits)
    );
}

/// Expects the hits in the order of the search, with a warning, a field that says so and status 1.
#[track_caller]
fn expect_unranked(home: &Home, output: Output, says: &str) {
    let output = output
        .status(1)
        .says("warning: --rerank: ")
        .says(says)
        .says("the hits are in the order of the search");
    let record = output.records().remove(0);
    let error = record["failed"][0]["error"]
        .as_str()
        .expect("why it failed");
    assert!(error.contains(says), "{error}");
    assert_eq!(record["hits"], Value::Array(hits(home, &ask(""))));
}

#[test]
fn the_order_and_the_scores_are_pytorchs() {
    let home = stored();
    let before = paths(&hits(&home, &ask("")));
    for family in FAMILIES {
        let reference = reference(family);
        assert_eq!(reference["question"], QUESTION);
        let mut files = reference["files"].as_array().expect("files").clone();
        let logit = |file: &Value| file["logit"].as_f64().expect("a logit");
        files.sort_by(|a, b| logit(b).total_cmp(&logit(a)));
        let script = ask(&format!("--rerank {}", folder(family).display()));
        let found = hits(&home, &script);
        assert_eq!(paths(&found), paths(&files), "{family}");
        assert_ne!(paths(&found), before, "{family}: nothing was reordered");
        for (hit, file) in found.iter().zip(&files) {
            for name in ["symbol", "content"] {
                assert_eq!(hit[name], file[name], "what PyTorch has read");
            }
            let difference = (hit["score"].as_f64().expect("a score") - logit(file)).abs();
            assert!(difference < 1e-4, "{family}: {difference}");
        }
    }
}

#[test]
fn only_the_best_are_looked_at_again_and_each_form_of_output_has_their_order() {
    let home = stored();
    let plain = hits(&home, &ask(""));
    let found = hits(&home, &ask("--rerank bert --rerank-top 3 --explain"));
    expect_falling(&found);
    let mut best = paths(&found)[..3].to_vec();
    best.sort();
    let mut expected = paths(&plain)[..3].to_vec();
    expected.sort();
    assert_eq!(best, expected);
    assert_eq!(paths(&found)[3..], paths(&plain)[3..]);
    for (at, hit) in found.iter().enumerate() {
        let explain = &hit["explain"];
        let own = plain.iter().find(|own| own["path"] == hit["path"]);
        assert_eq!(explain["before"], own.expect("the same hit")["score"]);
        assert_eq!(explain["rerank"].is_null(), at >= 3, "{explain}");
        let steps = explain["score"].as_array().expect("steps");
        let sum: f64 = steps.iter().filter_map(|step| step["adds"].as_f64()).sum();
        let score = hit["score"].as_f64().expect("a score");
        assert!((sum - score).abs() < 1e-4, "{explain}");
        if at < 3 {
            assert_eq!(explain["rerank"], hit["score"]);
        }
    }

    // -n and --offset page through the new order; more is looked at than is printed.
    let all = paths(&hits(&home, &ask("--rerank bert")));
    assert_eq!(paths(&hits(&home, &ask("--rerank bert -n 2"))), all[..2]);
    let page = ask("--rerank bert -n 2 --offset 3");
    assert_eq!(paths(&hits(&home, &page)), all[3..5]);
    assert_eq!(hits(&home, &page)[0]["rank"], 4);
    for mode in ["dense", "text"] {
        let found = hits(&home, &ask(&format!("--rerank bert --mode {mode} -n 1")));
        let wide = hits(&home, &ask(&format!("--rerank bert --mode {mode}")));
        assert_eq!(found[0], wide[0], "{mode}");
    }
    // --min-score is about the scores of the second look, --grep goes before it.
    let third = scores(&hits(&home, &ask("--rerank bert")))[2];
    let flags = format!("--rerank bert --min-score {}", third - 1e-3);
    assert_eq!(paths(&hits(&home, &ask(&flags))), all[..3]);
    let matching = paths(&hits(&home, &ask("--rerank bert --rerank-top 2 --grep fn")));
    assert_eq!(matching.len(), 2);

    let asked = format!("cs-query --db db '{QUESTION}' --rerank bert");
    let files = home.sh(&format!("{asked} --files")).status(0).text();
    let shown: Vec<String> = all.iter().map(|path| format!("app/{path}")).collect();
    assert_eq!(files.lines().collect::<Vec<_>>(), shown);
    let context = home.sh(&format!("{asked} --context 60")).status(0).text();
    assert!(context.starts_with(&shown[0]), "{context}");
    let explained = home.sh(&format!("{asked} --explain")).status(0).text();
    assert!(explained.contains("before ") && explained.contains("reranker +"));
    let script = format!("{asked} --arrow > hits.arrows; cs-embed --to jsonl < hits.arrows");
    let rows = home.sh(&script).status(0).records();
    let rows: Vec<&Value> = rows.iter().filter(|row| row["op"] == "put").collect();
    assert_eq!(rows.len(), all.len());
    assert!(
        rows.iter()
            .zip(&all)
            .all(|(row, path)| row["path"] == path.as_str())
    );
    home.sh(&format!("{asked} --profile"))
        .status(0)
        .says("rerank  ");
}

#[test]
fn similar_code_and_batches_are_looked_at_again_as_each_line_says() {
    let home = stored();
    let like = "cs-query --db db --json --like app/src/load.py:1 --rerank bert";
    let found = hits(&home, like);
    assert_eq!(found.len(), 5);
    expect_falling(&found);

    home.write(
        "lines",
        format!(
            "{{\"id\": 1, \"question\": \"{QUESTION}\"}}
{{\"id\": 2, \"question\": \"{QUESTION}\", \"rerank\": false}}
{{\"id\": 3, \"question\": \"{QUESTION}\", \"rerank_top\": 3}}
{{\"id\": 4, \"question\": \"{QUESTION}\", \"rerank_top\": 0}}
"
        ),
    );
    let batch = "cs-query --db db --batch < lines";
    let output = home.sh(&format!("{batch} --rerank bert")).status(1);
    let records = output.records();
    for (at, flags) in ["--rerank bert", "", "--rerank bert --rerank-top 3"]
        .into_iter()
        .enumerate()
    {
        let expected = Value::Array(hits(&home, &ask(flags)));
        assert_eq!(records[at]["hits"], expected, "{flags}");
    }
    let error = records[3]["error"].as_str().expect("an error");
    assert!(error.contains("rerank_top is no number from 1"), "{error}");
    let without = home.sh(batch).status(1).records();
    assert!(
        without[2]["error"]
            .to_string()
            .contains("no --rerank names")
    );
    assert!(without[0]["error"].is_null() && without[1]["error"].is_null());

    home.write(
        "queries",
        format!("{{\"id\": 1, \"question\": \"{QUESTION}\"}}\n"),
    );
    let first = &paths(&hits(&home, &ask("--rerank bert")))[0];
    home.write(
        "qrels",
        format!("{{\"query\": 1, \"path\": \"{first}\"}}\n"),
    );
    let eval = "cs-query --db db --eval queries --qrels qrels --json --rerank";
    let figures = home.sh(&format!("{eval} bert")).status(0).text();
    assert!(figures.contains("\"mrr@10\":{\"mean\":1.0"), "{figures}");
    let script = format!("{eval} m --rerank-endpoint http://127.0.0.1:1");
    home.sh(&script)
        .status(2)
        .says("the question 1: --rerank: ");
}

#[test]
fn a_model_that_cannot_be_opened_is_an_error_before_the_search() {
    let home = stored();
    fs::copy(
        folder("bert").join("config.json"),
        home.path().join("config"),
    )
    .expect("a copy");
    home.sh("mkdir two none; cp bert/* two; sed 's/\"0\":\"LABEL_0\"/\"0\":\"a\",\"1\":\"b\"/' config > two/config.json")
        .status(0);
    for (flags, says) in [
        ("--rerank nowhere", "model nowhere: not a folder"),
        ("--rerank org/name", "HF_HUB_OFFLINE is set"),
        ("--rerank none", "none/config.json: "),
        ("--rerank two", "two/config.json: `id2label` has 2 labels"),
        ("--rerank-top 3", "--rerank <MODEL>"),
        ("--rerank bert --rerank-top 0", "0 is not in 1..=1000"),
        ("--rerank-endpoint http://h", "--rerank <MODEL>"),
        (
            "--rerank bert --rerank-timeout 3",
            "--rerank-endpoint <URL>",
        ),
        ("--rerank m --rerank-endpoint h", "is no URL"),
        (
            "--rerank m --rerank-endpoint http://user@h",
            "CS_RERANK_KEY",
        ),
    ] {
        let output = home.sh(&ask(flags)).status(2).says(says);
        assert!(output.stdout.is_empty(), "{output}");
    }
    let help = home.sh("cs-query --help").status(0).text();
    for flag in [
        "--rerank <MODEL>",
        "--rerank-top <N>",
        "--rerank-endpoint <URL>",
        "--rerank-timeout <SECONDS>",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn a_model_of_the_hub_is_downloaded_and_found_again() {
    let home = stored();
    let mut files = std::collections::BTreeMap::from([("onnx/model.onnx".to_owned(), vec![0; 99])]);
    for entry in fs::read_dir(folder("bert")).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str());
        files.insert(
            name.expect("a name").to_owned(),
            fs::read(&path).expect("a file"),
        );
    }
    let hub = Hub::start(files);
    let script = ask(&format!("--rerank {MODEL}"));
    let found = home
        .sh(&format!("{}\n{script}", hub.env()))
        .status(0)
        .hits();
    assert_eq!(found, hits(&home, &ask("--rerank bert")));
    let brought: Vec<String> = hub
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert!(
        brought
            .iter()
            .any(|path| path.ends_with("model.safetensors")),
        "{brought:?}"
    );
    assert!(
        !brought.iter().any(|path| path.contains("onnx")),
        "{brought:?}"
    );
    // Without the network it is there now.
    let env = hub.env();
    home.sh(&format!("{env}\nexport HF_HUB_OFFLINE=1\n{script}"))
        .status(0);
}

#[test]
fn a_service_is_asked_once_in_cohere_s_shape() {
    let home = stored();
    let service = Service::start();
    let found = hits(&home, &asked_of(&service, "--rerank-top 4"));
    let requests = service.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/v1/rerank");
    assert_eq!(requests[0].authorization, None);
    let body = &requests[0].body;
    assert_eq!(body["model"], "m");
    assert_eq!(body["query"], QUESTION);
    assert_eq!(body["top_n"], 4);
    assert_eq!(body["return_documents"], false);
    let plain = hits(&home, &ask(""));
    let sent: Vec<String> = plain[..4].iter().map(text).collect();
    assert_eq!(requests[0].texts, sent);
    expect_falling(&found);
    for hit in &found[..4] {
        let expected = score(QUESTION, &text(hit)) as f32;
        assert_eq!(
            hit["score"].as_f64().map(|score| score as f32),
            Some(expected)
        );
    }
    assert_eq!(paths(&found)[4..], paths(&plain)[4..]);
    service.faults([Fault::Reversed]);
    assert_eq!(hits(&home, &asked_of(&service, "--rerank-top 4")), found);
    assert!(
        hits(
            &home,
            &asked_of(&service, "--lang klingon -n 1 --lang rust")
        )
        .len()
            == 1
    );
    service.requests();
    home.sh(&asked_of(&service, "--lang klingon")).status(1);
    assert!(service.requests().is_empty(), "nothing was found");
}

#[test]
fn a_service_of_another_shape_and_smaller_requests_is_asked_so() {
    let home = stored();
    let service = Service::start();
    let found = hits(&home, &asked_of(&service, ""));
    service.requests();
    service.want("texts");
    service.most(3);
    let script = asked_of(&service, "").replace(&service.url, &format!("{}/rerank", service.url));
    assert_eq!(hits(&home, &script), found);
    let requests = service.requests();
    assert!(requests.iter().all(|request| request.path == "/rerank"));
    let last = requests.last().expect("a request");
    assert_eq!(
        (last.texts.len(), &last.body["raw_scores"]),
        (3, &true.into())
    );

    // The key is for the service alone, its own before the general one, and nobody prints it.
    let service = Service::start();
    for (keys, sent) in [
        ("CS_API_KEY=general-secret", "Bearer general-secret"),
        (
            "CS_API_KEY=general-secret CS_RERANK_KEY=own-secret",
            "Bearer own-secret",
        ),
        ("OPENAI_API_KEY=own-secret", ""),
    ] {
        let script = format!("export {keys}; {}", asked_of(&service, "-vv"));
        let output = home.sh(&script).status(0);
        assert!(!output.text().contains("secret") && !output.stderr.contains("secret"));
        let authorization = service.requests().remove(0).authorization;
        assert_eq!(authorization.unwrap_or_default(), sent);
    }
    let body = r#"{"message":"bad key: own-secret"}"#.to_owned();
    service.faults([Fault::Status(401, Vec::new(), body)]);
    let script = format!(
        "export CS_RERANK_KEY=own-secret; {}",
        asked_of(&service, "")
    );
    let output = home
        .sh(&script)
        .status(1)
        .says("bad key: …")
        .says("look at the key");
    assert!(!output.stderr.contains("own-secret"), "{output}");
}

#[test]
fn what_passes_is_waited_for() {
    let home = stored();
    let service = Service::start();
    let found = hits(&home, &asked_of(&service, ""));
    let busy = |after| Fault::Status(429, vec![("retry-after", after)], "{}".to_owned());
    for fault in [
        busy("1".to_owned()),
        Fault::Status(503, Vec::new(), String::new()),
        Fault::Cut(20),
        Fault::CutUnseen(20),
        Fault::Body("<html>".to_owned()),
    ] {
        service.faults([fault.clone()]);
        let script = asked_of(&service, "");
        assert_eq!(home.sh(&script).status(0).hits(), found, "{fault:?}");
    }
}

#[test]
fn a_service_that_fails_leaves_the_hits_as_they_were() {
    let home = stored();
    let list = |items: &str| Fault::Body(format!("{{\"results\":[{items}]}}"));
    let item =
        |index: &str, score: &str| format!("{{\"index\":{index},\"relevance_score\":{score}}}");
    let all = |indices: [&str; 6]| list(&indices.map(|index| item(index, "0.5")).join(","));
    let busy = |after: &str| {
        Fault::Status(
            429,
            vec![("retry-after", after.to_owned())],
            r#"{"message":"slow down"}"#.to_owned(),
        )
    };
    for (fault, says) in [
        (busy("60"), "HTTP status 429 (slow down)"),
        (busy("9999"), "HTTP status 429"),
        (
            Fault::Status(503, Vec::new(), String::new()),
            "HTTP status 503",
        ),
        (
            Fault::Status(404, Vec::new(), String::new()),
            "HTTP status 404",
        ),
        (Fault::Slow(Duration::from_secs(20)), "timeout"),
        (Fault::Cut(20), "127.0.0.1"),
        (Fault::CutUnseen(20), "the answer holds no scores"),
        (Fault::Fewer, "5 scores came for 6 texts"),
        (
            all(["0", "1", "2", "3", "4", "6"]),
            "a score came for the text 6 of 6",
        ),
        (
            all(["0", "1", "2", "3", "4", "4"]),
            "two scores came for the text 4",
        ),
        (all(["0", "1", "2", "3", "4", "-5"]), "of a score"),
        (list(&item("0", "null")), "of a score"),
        (list(&item("0", "NaN")), "the answer holds no scores"),
        (Fault::Body("{}".to_owned()), "the answer holds no scores"),
        (Fault::Body("[]".to_owned()), "0 scores came for 6 texts"),
    ] {
        let service = Service::start();
        service.always(fault);
        let started = Instant::now();
        let script = asked_of(&service, "--rerank-timeout 1");
        expect_unranked(&home, home.sh(&script), says);
        assert!(started.elapsed() < Duration::from_secs(15));
    }
    let dead = ask("--rerank m --rerank-endpoint http://127.0.0.1:1");
    let output = home.sh(&dead).says("hint: is the service running");
    expect_unranked(&home, output, "http://127.0.0.1:1/v1/rerank: ");
    // No hit is left out by scores of another kind.
    let output = home.sh(&format!("{dead} --min-score 5"));
    expect_unranked(&home, output, "127.0.0.1:1");
    for form in ["--files", "--arrow", "--context 999", ""] {
        let script = dead.replace("--json", form);
        let output = home.sh(&script).status(1).says("order of the search");
        assert!(!output.stdout.is_empty(), "{form}");
    }
    let script = format!(
        "printf 'upload\\ncache\\n' | {}",
        dead.replace(&format!("--json '{QUESTION}'"), "--batch")
    );
    let output = home.sh(&script).status(1).says("2 answers lack a stage");
    for record in output.records() {
        assert!(record["failed"][0]["error"].is_string() && record["hits"][0].is_object());
    }
}
