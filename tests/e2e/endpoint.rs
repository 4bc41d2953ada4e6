//! A model that a service runs: through the whole pipeline, on the service's good and bad days.

use std::time::{Duration, SystemTime};

use cs_common::document::document;
use cs_tests::service::{DIM, Fault, Service, vector};
use cs_tests::{Home, Output};
use serde_json::Value;

const CHUNKS: usize = 40;

/// A home with a stream of [`CHUNKS`] functions, and a service.
fn home() -> (Home, Service) {
    let home = Home::new();
    let functions = (0..CHUNKS).map(|at| {
        format!("/// Says hello to guest {at}.\npub fn greet_{at}() {{\n    hello({at});\n}}\n\n")
    });
    home.write("repo/greet.rs", functions.collect::<String>());
    home.sh("cs-parse repo > chunks.arrows").status(0);
    (home, Service::start())
}

fn embed(service: &Service, flags: &str) -> String {
    let url = &service.url;
    format!("cs-embed --endpoint {url} --model tiny {flags} --to jsonl < chunks.arrows")
}

/// Expects that each row has the vector that the service makes of its document.
#[track_caller]
fn expect_whole(output: &Output) {
    let records = output.records();
    let rows: Vec<&Value> = records.iter().filter(|row| row["op"] == "put").collect();
    assert_eq!(rows.len(), CHUNKS, "{output}");
    assert_eq!(records.last().map(|row| &row["op"]), Some(&"end".into()));
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let document = document(text("path"), row["symbol"].as_str(), text("content"));
        let numbers = row["vector"].as_array().expect("a vector").iter();
        let found: Vec<f64> = numbers.filter_map(Value::as_f64).collect();
        assert_eq!(found, vector(&document), "{}", text("symbol"));
    }
}

#[test]
fn each_chunk_gets_the_vector_of_its_document() {
    let (home, service) = home();
    service.always(Fault::Slow(Duration::from_millis(100)));
    let output = home
        .sh(&embed(&service, "--concurrency 3 --batch-size 7"))
        .status(0)
        .silent();
    expect_whole(&output);
    let model = output.records()[0]["metadata"]["cs.model"].clone();
    let model: Value = serde_json::from_str(model.as_str().unwrap_or_default()).expect("JSON");
    let url = format!("{}/v1/embeddings", service.url);
    assert_eq!(model["id"], "tiny");
    assert_eq!(model["dim"], DIM);
    assert_eq!(model["sha256"], "");
    assert_eq!(model["endpoint"]["url"], url.as_str());
    assert_eq!(model["endpoint"]["dim"], DIM);
    let requests = service.requests();
    assert!(requests.iter().all(|request| request.texts.len() <= 7));
    assert_eq!(requests.len(), 1 + CHUNKS.div_ceil(7));
    assert!(
        requests
            .iter()
            .all(|request| request.path == "/v1/embeddings"
                && request.model == "tiny"
                && request.authorization.is_none())
    );
    assert!((2..=3).contains(&service.most_running()));

    home.sh(&embed(&service, "--batch-bytes 300")).status(0);
    let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let requests = service.requests();
    assert!(requests.iter().all(|request| bytes(&request.texts) <= 300));
}

#[test]
fn what_passes_is_waited_for_and_the_order_is_kept() {
    let status = |code, after: Option<String>| {
        let header = after.map(|after| ("retry-after", after));
        Fault::Status(code, header.into_iter().collect(), "{}".to_owned())
    };
    let soon = home_date(2);
    for fault in [
        status(429, Some("1".to_owned())),
        status(429, Some(soon)),
        status(429, None),
        status(500, None),
        Fault::Status(502, Vec::new(), "<html>bad gateway</html>".to_owned()),
        status(503, None),
        Fault::Cut(40),
        Fault::CutUnseen(60),
        Fault::Slow(Duration::from_secs(3)),
        Fault::Body("<html>a proxy's page</html>".to_owned()),
    ] {
        let (home, service) = home();
        service.faults([fault.clone(), Fault::Fine, fault.clone(), Fault::Reversed]);
        let output = home
            .sh(&embed(&service, "--batch-size 10 --timeout 1"))
            .status(0)
            .says("trying again in");
        expect_whole(&output);
        assert_eq!(service.requests().len(), 7, "{fault:?}");
    }
}

/// Returns a date of HTTP some seconds from now.
fn home_date(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let then = now.expect("a clock").as_secs() + seconds;
    let date = Home::new().sh(&format!(
        "LC_ALL=C date -u -d @{then} '+%a, %d %b %Y %H:%M:%S GMT'"
    ));
    date.status(0).text().trim().to_owned()
}

#[test]
fn all_requests_pause_as_long_as_the_service_asks() {
    let (home, service) = home();
    let busy = Fault::Status(429, vec![("retry-after", "2".to_owned())], String::new());
    service.faults([Fault::Fine, busy]);
    let script = embed(&service, "--batch-size 4 --concurrency 1");
    let output = home
        .sh(&script)
        .status(0)
        .says("HTTP status 429; trying again in 2.0 s");
    expect_whole(&output);
    let requests = service.requests();
    let pause = requests[2].at - requests[1].at;
    assert!(pause >= Duration::from_secs(2), "{pause:?}");
}

#[test]
fn a_request_that_does_not_pass_fails_the_stage_and_seals_nothing() {
    let told = |status, message: &str| {
        let body = format!(r#"{{"error":{{"message":"{message}"}}}}"#);
        Fault::Status(status, Vec::new(), body)
    };
    let hour = vec![("retry-after", "3600".to_owned())];
    for (fault, says) in [
        (Fault::Fewer, "9 vectors came for 10 texts"),
        (Fault::Shorter, "repo/greet.rs:46-49: "),
        (Fault::Shorter, "a vector of 7 numbers, not 8"),
        (told(401, "who are you"), "HTTP status 401 (who are you)"),
        (
            told(401, "who are you"),
            "hint: the service wants a key: set CS_API_KEY",
        ),
        (
            told(404, "no such model"),
            "does the service have the model tiny?",
        ),
        (Fault::Status(429, hour, String::new()), "HTTP status 429"),
        (
            Fault::Status(429, Vec::new(), String::new()),
            "--concurrency 1",
        ),
        (
            Fault::Status(500, Vec::new(), String::new()),
            "HTTP status 500",
        ),
        (Fault::Cut(40), "hint: --timeout and --retries"),
        (Fault::Slow(Duration::from_secs(4)), "timeout"),
        (
            Fault::Body("no".to_owned()),
            "the answer holds no embeddings",
        ),
        (
            Fault::Body(r#"{"data":[{"index":0,"embedding":[NaN]}]}"#.to_owned()),
            "the answer holds no embeddings",
        ),
    ] {
        let (home, service) = home();
        service.faults([Fault::Fine]);
        service.always(fault.clone());
        let flags = "--batch-size 10 --concurrency 1 --timeout 1 --retries 1";
        let output = home.sh(&embed(&service, flags)).status(2).says(says);
        assert!(!output.text().contains(r#"{"op":"end"}"#), "{fault:?}");
        assert!(service.requests().len() <= 3, "{fault:?}");
    }
}

#[test]
fn a_service_that_cannot_be_had_is_told_before_the_input() {
    let home = Home::new();
    home.sh("cs-embed --endpoint http://127.0.0.1:1 --model m < /dev/null")
        .status(2)
        .says("http://127.0.0.1:1/v1/embeddings: ")
        .says("hint: is the service running");
    for (flags, says) in [
        ("--endpoint http://127.0.0.1:1", "--model"),
        ("--endpoint localhost:1 --model m", "is no URL"),
        (
            "--endpoint http://h --model m --cuda",
            "cannot be used with",
        ),
        (
            "--endpoint http://h --model m --pooling cls",
            "cannot be used with",
        ),
        (
            "--endpoint http://h --model m --max-tokens 99",
            "cannot be used with",
        ),
        (
            "--endpoint http://h --model m --dtype bf16",
            "cannot be used with",
        ),
        (
            "--endpoint http://h --model m --revision v1",
            "cannot be used with",
        ),
        ("--concurrency 2", "--endpoint"),
    ] {
        home.sh(&format!("cs-embed {flags} < /dev/null"))
            .status(2)
            .says(says);
    }
}

#[test]
fn too_many_texts_are_sent_in_smaller_requests() {
    let (home, service) = home();
    service.most(5);
    expect_whole(&home.sh(&embed(&service, "--concurrency 1")).status(0));
    let sizes: Vec<usize> = service.requests().iter().map(|r| r.texts.len()).collect();
    assert_eq!(sizes[..5], [1, 32, 16, 8, 4]);
}

#[test]
fn a_text_that_the_service_does_not_take_is_named() {
    let (home, service) = home();
    service.refuse("greet_21");
    let output = home
        .sh(&embed(&service, ""))
        .status(2)
        .says("repo/greet.rs:106-109: ")
        .says("HTTP status 400 (input is too long), for a text of")
        .says("hint: let the service cut long texts");
    assert!(!output.text().contains(r#"{"op":"end"}"#));
}

#[test]
fn a_key_goes_to_the_service_and_nowhere_else() {
    let (home, service) = home();
    let script = format!("export CS_API_KEY=own-secret; {}", embed(&service, ""));
    let output = home.sh(&script).status(0).silent();
    assert!(!output.text().contains("own-secret"));
    let requests = service.requests();
    assert!(requests.len() > 1);
    assert!(
        requests
            .iter()
            .all(|r| r.authorization.as_deref() == Some("Bearer own-secret"))
    );

    let script = format!(
        "export OPENAI_API_KEY=their-secret; {}",
        embed(&service, "")
    );
    home.sh(&script).status(0);
    assert!(service.requests().iter().all(|r| r.authorization.is_none()));

    // Whoever repeats the key does not make it printed.
    let body = r#"{"error":{"message":"bad key: own-secret"}}"#.to_owned();
    service.always(Fault::Status(401, Vec::new(), body));
    let script = format!("export CS_API_KEY=own-secret; {}", embed(&service, "-vv"));
    let output = home
        .sh(&script)
        .status(2)
        .says("bad key: …")
        .says("look at the key in CS_API_KEY");
    assert!(!output.stderr.contains("own-secret"), "{output}");
    for url in [
        "http://own-secret@127.0.0.1:1",
        "http://127.0.0.1:1/v1?key=own-secret",
    ] {
        let script = format!("cs-embed --endpoint '{url}' --model m < /dev/null");
        home.sh(&script)
            .status(2)
            .says("a key belongs into CS_API_KEY");
    }
}

#[test]
fn a_redirect_is_followed_on_the_same_server_only() {
    let (home, service) = home();
    let other = Service::start();
    let to = |url: String| Fault::Status(307, vec![("location", url)], String::new());
    service.faults([to("/moved/embeddings".to_owned())]);
    expect_whole(&home.sh(&embed(&service, "")).status(0));
    assert_eq!(service.requests()[1].path, "/moved/embeddings");
    service.faults([to(format!("{}/v1/embeddings?secret", other.url))]);
    let script = format!("export CS_API_KEY=own-secret; {}", embed(&service, ""));
    let output = home
        .sh(&script)
        .status(2)
        .says("redirects to http://127.0.0.1:");
    assert!(!output.stderr.contains("?secret"), "{output}");
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn questions_go_where_the_store_or_the_user_says() {
    let (home, service) = home();
    let flags = "--query-prefix 'query: ' --document-prefix 'passage: ' --normalize true";
    let script = embed(&service, flags).replace("--to jsonl", "");
    home.sh(&format!("{script} | cs-store db")).status(0);
    let texts: Vec<String> = service
        .requests()
        .into_iter()
        .flat_map(|r| r.texts)
        .collect();
    assert!(texts[1..].iter().all(|text| text.starts_with("passage: ")));
    let ask = "cs-query --db db --mode dense 'who is greeted'";
    home.sh(&format!("export CS_API_KEY=own-secret; {ask}"))
        .status(0);
    let requests = service.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].texts, ["query: who is greeted"]);
    assert_eq!(requests[0].authorization, None, "a store gets no key");

    let url = &service.url;
    home.sh(&format!(
        "export CS_API_KEY=own-secret CS_ENDPOINT={url}; {ask}"
    ))
    .status(0);
    let authorization = service.requests()[0].authorization.clone();
    assert_eq!(authorization.as_deref(), Some("Bearer own-secret"));

    // The service has moved.
    let other = Service::start();
    home.sh(&format!("export CS_ENDPOINT={}/v1; {ask}", other.url))
        .status(0);
    assert_eq!((service.requests().len(), other.requests().len()), (0, 1));
    home.sh("cs-store info db").status(0);
    let script = embed(&other, flags).replace("--to jsonl", "");
    home.sh(&format!("{script} | cs-store db"))
        .status(2)
        .says("endpoint");
}

#[test]
fn a_store_does_not_lead_questions_off_this_machine() {
    let (home, service) = home();
    let script = embed(&service, "");
    let away = "https://service.example/v1/embeddings";
    let edit = format!("sed 's#{}/v1/embeddings#{away}#g'", service.url);
    home.sh(&format!("{script} | {edit} | cs-store db"))
        .status(0);
    service.requests();
    home.sh("cs-query --db db 'who is greeted'")
        .status(2)
        .says("the store's vectors are of the service https://service.example/v1/embeddings")
        .says("hint: export CS_ENDPOINT=https://service.example/v1/embeddings");
    home.sh("cs-query --db db --mode text greet_7").status(0);
    let named = format!(
        "export CS_ENDPOINT={}; cs-query --db db 'who is greeted'",
        service.url
    );
    home.sh(&named).status(0);
    assert_eq!(service.requests().len(), 1);
}

#[test]
fn vectors_are_cut_and_brought_to_length_one() {
    let (home, service) = home();
    let output = home
        .sh(&embed(&service, "--dims 4 --normalize true"))
        .status(0);
    for row in output.records().iter().filter(|row| row["op"] == "put") {
        let numbers = row["vector"].as_array().expect("a vector").iter();
        let numbers: Vec<f64> = numbers.filter_map(Value::as_f64).collect();
        let length: f64 = numbers.iter().map(|number| number * number).sum();
        assert_eq!(numbers.len(), 4);
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    home.sh(&embed(&service, "--dims 9"))
        .status(2)
        .says("it has 8");
    let script = embed(&service, "--dims 4").replace("--to jsonl", "");
    home.sh(&format!(
        "{script} | cs-store db && cs-query --db db 'who is greeted'"
    ))
    .status(0);
}
