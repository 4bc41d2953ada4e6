//! Questions that are worded anew, parted and answered: by rules, and by a language model on its
//! good and bad days.

use std::time::Duration;

use cs_tests::chat::{Asked, Chat, Fault};
use cs_tests::{Home, Output};
use serde_json::Value;

/// Makes a store of an upload, a session, and what reads a configuration.
fn stored() -> Home {
    let home = Home::new();
    home.write(
        "app/upload.rs",
        "/// Tries a failed upload again, three times.\npub fn retry_upload(file: &str) -> bool {\n    send(file) || send(file) || send(file)\n}\n",
    );
    home.write(
        "app/session.py",
        "class Session:\n    \"\"\"What is known of a visitor.\"\"\"\n\n    def save(self, store):\n        store.write(self.name, self.values)\n",
    );
    home.write(
        "app/cfg.go",
        "package app\n\n// LoadCfg opens the cfg.\nfunc LoadCfg() error {\n\treturn nil\n}\n",
    );
    home.sh("cs-parse app | cs-embed | cs-store db").status(0);
    home
}

const QUESTION: &str = "cs-query --db db 'where are failed uploads retried?'";
const SAID: &str = "They are tried three times [1].";

fn answer(home: &Home, chat: &Chat, more: &str) -> Output {
    home.sh(&format!("{QUESTION} --answer {} {more}", chat.flags()))
}

#[track_caller]
fn one(output: &Output) -> Value {
    let records = output.records();
    assert_eq!(records.len(), 1, "{output}");
    records.into_iter().next().unwrap_or_default()
}

#[test]
fn an_answer_cites_the_places_that_it_is_from() {
    let home = stored();
    let chat = Chat::start(|_| SAID.to_owned());
    let output = answer(&home, &chat, "").status(0).silent();
    assert_eq!(
        output.text(),
        "They are tried three times [app/upload.rs:1-4].\n\n\
         app/upload.rs:1: function retry_upload: pub fn retry_upload(file: &str) -> bool\n"
    );
    let asked = chat.asked().remove(0);
    assert_eq!(asked.body["model"], "tiny");
    assert_eq!(asked.authorization, None);
    assert!(asked.said("system").contains("NOT IN CONTEXT"));
    let given = asked.said("user");
    assert!(
        given.starts_with("[1] app/upload.rs:1-4 function retry_upload\n```rust\n"),
        "{given}"
    );
    assert!(
        given.ends_with("The question: where are failed uploads retried?"),
        "{given}"
    );

    let record = one(&answer(&home, &chat, "--json --explain -n 2")
        .status(0)
        .silent());
    let answer = &record["answer"];
    assert_eq!(
        answer["text"],
        "They are tried three times [app/upload.rs:1-4]."
    );
    assert_eq!(answer["cites"], serde_json::json!([0]));
    assert_eq!(
        (&answer["holds"], &answer["complete"]),
        (&true.into(), &true.into())
    );
    assert_eq!(answer["model"], "tiny");
    assert_eq!(record["hits"].as_array().map(Vec::len), Some(2));
    assert_eq!(record["failed"], Value::Null);
}

#[test]
fn only_code_that_has_room_is_sent_and_none_is_made_up() {
    let home = stored();
    let chat = Chat::start(|_| "It is in [1] and [7].".to_owned());
    let output = answer(&home, &chat, "--llm-context 80").status(0);
    let output = output.says("the answer cites what the model was not given: 7");
    assert!(output.text().contains(" and [?]."), "{output}");
    assert!(chat.asked()[0].said("user").len() < 400);
    let output = answer(&home, &chat, "--llm-context 1").status(1);
    output.says("no hit fits into --llm-context 1");
    assert!(chat.asked().is_empty());
    // Without a hit there is nothing to answer from.
    home.sh(&format!(
        "{QUESTION} --lang klingon --answer {}",
        chat.flags()
    ))
    .status(1)
    .says("no hit");
    assert!(chat.asked().is_empty());
}

#[test]
fn a_model_says_that_the_code_holds_no_answer() {
    let home = stored();
    let chat = Chat::start(|_| "NOT IN CONTEXT\nNothing is said of uploads\u{1b}[2J.".to_owned());
    let output = answer(&home, &chat, "").status(1);
    let text = output.text();
    assert!(
        text.starts_with("Nothing is said of uploads\u{fffd}[2J.\n\napp/"),
        "{text}"
    );
    let record = one(&answer(&home, &chat, "--json").status(1));
    assert_eq!(record["answer"]["holds"], false);
    assert_eq!(record["answer"]["complete"], true);
    let chat = Chat::start(|_| "They are, believe me.".to_owned());
    let output = answer(&home, &chat, "").status(1);
    assert!(output.text().contains("\napp/upload.rs:1:"), "{output}");
}

#[test]
fn a_service_has_bad_days_and_the_hits_are_still_shown() {
    let home = stored();
    let chat = Chat::start(|_| SAID.to_owned());
    let complaint = "{\"error\": {\"message\": \"no such model\"}}".to_owned();
    for (fault, begins, says) in [
        (Fault::Cut(4), true, "broke off"),
        (Fault::Lie(-70), true, "broke off"),
        (Fault::TooLong, true, "too long"),
        (Fault::Stall(Duration::from_secs(4)), true, "timeout"),
        (Fault::Body("<html>\n".to_owned()), false, "broke off"),
        (Fault::Body("{}".to_owned()), false, "said nothing"),
        (
            Fault::Status(404, Vec::new(), complaint),
            false,
            "404 (no such model)",
        ),
    ] {
        chat.faults([fault.clone()]);
        let output = answer(&home, &chat, "--llm-timeout 1 --llm-retries 0").status(1);
        let output = output.says("cs-query: warning: --answer: ").says(says);
        let text = output.text();
        assert_eq!(text.starts_with("The"), begins, "{fault:?}: {output}");
        assert!(
            text.contains("app/upload.rs:1: function retry_upload"),
            "{fault:?}: {output}"
        );
        assert_eq!(chat.asked().len(), 1, "{fault:?}");
    }
    chat.faults([Fault::Cut(4)]);
    let record = one(&answer(&home, &chat, "--json").status(1));
    assert_eq!(record["answer"]["complete"], false);
    assert_eq!(record["failed"][0]["stage"], "answer");
    assert!(
        record["hits"]
            .as_array()
            .is_some_and(|hits| !hits.is_empty())
    );
    // Nobody is there: said at once.
    home.sh(&format!(
        "{QUESTION} --answer --llm http://127.0.0.1:9 --llm-model m"
    ))
    .status(1)
    .says("--answer: http://127.0.0.1:9/v1/chat/completions: ");
}

#[test]
fn what_passes_by_itself_is_waited_for() {
    let home = stored();
    let chat = Chat::start(|_| SAID.to_owned());
    let busy = |headers| Fault::Status(429, headers, String::new());
    chat.faults([
        busy(vec![("retry-after", "1".to_owned())]),
        Fault::Status(503, Vec::new(), String::new()),
        Fault::Cut(0),
    ]);
    let output = answer(&home, &chat, "").status(0);
    assert!(
        output
            .text()
            .starts_with("They are tried three times [app/"),
        "{output}"
    );
    let asked = chat.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
    // A length that is too large tells nothing of an answer that has its end.
    for fault in [Fault::Lie(100), Fault::AtOnce, Fault::Fine] {
        chat.faults([fault]);
        answer(&home, &chat, "").status(0).silent();
    }
}

#[test]
fn a_key_goes_to_the_service_and_nowhere_else() {
    let home = stored();
    let chat = Chat::start(|_| SAID.to_owned());
    let told = "{\"error\": \"sk-secret is not valid\"}".to_owned();
    chat.faults([Fault::Status(401, Vec::new(), told)]);
    let run = format!("{QUESTION} --answer -v {}", chat.flags());
    let output = home.sh(&format!("CS_LLM_KEY=sk-secret {run}")).status(1);
    assert!(!output.stderr.contains("sk-secret"), "{output}");
    assert_eq!(
        chat.asked()[0].authorization.as_deref(),
        Some("Bearer sk-secret")
    );
    home.sh(&format!("CS_API_KEY=a OPENAI_API_KEY=b {run}"))
        .status(0);
    assert_eq!(chat.asked()[0].authorization, None);
    for (flags, says) in [
        ("--answer", "--llm"),
        ("--answer --llm http://localhost:1", "--llm-model"),
        (
            "--answer --llm http://me:secret@host --llm-model m",
            "CS_LLM_KEY",
        ),
        (
            "--answer --files --llm http://localhost:1 --llm-model m",
            "--files",
        ),
    ] {
        home.sh(&format!("{QUESTION} {flags}")).status(2).says(says);
    }
}

#[test]
fn rules_word_a_question_as_code_is() {
    let home = stored();
    let ask = "cs-query --db db --mode text --json configurations visitors";
    home.sh(&format!("{ask} --lang go")).status(1);
    let hits = home
        .sh(&format!("{ask} --rewrite --lang go"))
        .status(0)
        .hits();
    assert_eq!(hits[0]["name"], "LoadCfg");
}

#[test]
fn a_question_that_is_several_is_asked_so() {
    let home = stored();
    let ask = "cs-query --db db --json --explain 'how are uploads retried, and where is a session saved?'";
    let record = one(&home.sh(&format!("{ask} --decompose")).status(0));
    assert_eq!(
        record["parts"],
        serde_json::json!(["how are uploads retried", "where is a session saved"])
    );
    let hits = record["hits"].as_array().expect("hits");
    let paths: Vec<&str> = hits
        .iter()
        .take(2)
        .filter_map(|hit| hit["path"].as_str())
        .collect();
    assert!(
        paths.contains(&"upload.rs") && paths.contains(&"session.py"),
        "{paths:?}"
    );
    for hit in hits {
        let steps = hit["explain"]["score"].as_array().expect("steps");
        let sum: f64 = steps.iter().filter_map(|step| step["adds"].as_f64()).sum();
        let score = hit["score"].as_f64().expect("a score");
        assert!((sum - score).abs() < 1e-5 && score <= 1.0, "{hit}");
        let rules: Vec<&str> = steps
            .iter()
            .filter_map(|step| step["rule"].as_str())
            .collect();
        assert!(
            rules
                .iter()
                .all(|rule| ["question", "file again"].contains(rule) || rule.starts_with("part "))
        );
    }
    let record = one(&home.sh(ask).status(0));
    assert_eq!(record["parts"], Value::Null);
    // A name is looked for as it is.
    let record = one(&home.sh("cs-query --db db --json --decompose 'a.rs;b.rs'"));
    assert_eq!(record["parts"], Value::Null);
}

/// Parts and rewrites as a model would.
fn planner(asked: &Asked) -> String {
    let system = asked.said("system");
    match system.contains("You part a question") {
        true => "[\"where is a session saved?\", \"how is an upload tried again?\"]".to_owned(),
        false => "1. retry_upload\n2. Session.save\n".to_owned(),
    }
}

#[test]
fn a_model_parts_and_rewrites_or_the_rules_do() {
    let home = stored();
    let chat = Chat::start(planner);
    let ask = format!("{QUESTION} --json --rewrite --decompose {}", chat.flags());
    let record = one(&home.sh(&ask).status(0).silent());
    let parts = [
        "where is a session saved?",
        "how is an upload tried again?",
        "retry_upload",
        "Session.save",
    ];
    assert_eq!(record["parts"], serde_json::json!(parts));
    let streamed = chat
        .asked()
        .iter()
        .filter(|asked| asked.body["stream"] == true)
        .count();
    assert_eq!(streamed, 0);
    chat.faults([
        Fault::Status(500, Vec::new(), String::new()),
        Fault::Body("{\"choices\":[]}".to_owned()),
    ]);
    let output = home.sh(&format!("{ask} --llm-retries 0")).status(1);
    let output = output
        .says("--decompose: ")
        .says("--rewrite: ")
        .says("the rules are taken");
    let record = one(&output);
    assert_eq!(record["failed"][0]["stage"], "decompose");
    assert_eq!(record["failed"][1]["stage"], "rewrite");
    assert_eq!(record["hits"][0]["name"], "retry_upload");
    // Figures of another way of asking would be none of this one.
    home.write(
        "q.jsonl",
        "{\"id\": 1, \"question\": \"how is an upload retried\"}\n",
    );
    home.write("a.jsonl", "{\"query\": 1, \"path\": \"upload.rs\"}\n");
    chat.faults([Fault::Status(400, Vec::new(), String::new())]);
    let eval = format!(
        "cs-query --db db --eval q.jsonl --qrels a.jsonl --rewrite {}",
        chat.flags()
    );
    home.sh(&eval).status(2).says("the question 1: --rewrite");
    home.sh(&eval).status(0);
}

#[test]
fn a_batch_survives_its_bad_questions_and_its_model() {
    let home = stored();
    let chat = Chat::start(|asked| match asked.said("user").contains("refuse me") {
        true => "NOT IN CONTEXT".to_owned(),
        false => SAID.to_owned(),
    });
    let lines: Vec<String> = (0..200)
        .map(|at| match at % 40 {
            0 => format!("{{\"id\": {at}, \"question\": \"\"}}"),
            10 => format!("{{\"id\": {at}, \"question\": \"retry\", \"grep\": \"(\"}}"),
            20 => format!("{{\"id\": {at}, \"question\": \"retry\", \"colour\": 1}}"),
            30 => format!("{{\"id\": {at}, \"question\": \"retry\", \"like\": \"no.rs:1\"}}"),
            _ => format!("{{\"id\": {at}, \"question\": \"retry upload {at}\", \"limit\": 1}}"),
        })
        .collect();
    home.write("questions", lines.join("\n"));
    let output = home.sh("cs-query --db db --batch < questions").status(1);
    let output = output.says("20 questions failed");
    let records = output.records();
    assert_eq!(records.len(), 200);
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record["id"], at);
        let hits = record["hits"].as_array().map(Vec::len);
        match at % 10 {
            0 => assert!(record["error"].is_string() && hits.is_none(), "{record}"),
            _ => assert_eq!(hits, Some(1), "{record}"),
        }
    }
    chat.faults([Fault::Status(400, Vec::new(), String::new())]);
    let batch = format!("cs-query --db db --batch -j 1 --answer {}", chat.flags());
    let script =
        format!("printf '%s\\n' 'retry upload' '{{}}' 'retry, refuse me' 'retry it' | {batch}");
    let output = home.sh(&script).status(1).says("1 answers lack a stage");
    let records = output.records();
    assert_eq!(records[0]["failed"][0]["stage"], "answer");
    assert!(records[0]["hits"].is_array() && records[1]["error"].is_string());
    assert_eq!(records[2]["answer"]["holds"], false);
    assert_eq!(records[3]["answer"]["holds"], true);
}

#[test]
fn each_stage_is_timed() {
    let home = stored();
    let chat = Chat::start(
        |asked| match asked.said("system").contains("numbered pieces") {
            true => SAID.to_owned(),
            false => planner(asked),
        },
    );
    let reranker = cs_tests::root().join("embed/tests/data/rerankers/bert");
    let reranker = reranker.display();
    let all = format!("--rewrite --decompose --rerank {reranker} --answer --profile");
    let output = home
        .sh(&format!("{QUESTION} {all} {} --json", chat.flags()))
        .status(0);
    let record = one(&output);
    let stages = record["profile"]["stages"].as_array().expect("stages");
    for stage in stages {
        let (name, ms) = (stage["stage"].as_str().unwrap_or_default(), &stage["ms"]);
        assert!(ms.as_f64().is_some_and(|ms| ms > 0.0), "{name}: {record}");
        assert!(
            output.stderr.contains(&format!("\n{name} ")),
            "{name}: {output}"
        );
    }
    assert_eq!(stages.len(), 10);
}
