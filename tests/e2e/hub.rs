//! Models of a hub: downloaded from a server on loopback, cut, taken up again, refused, listed.

use std::fs;
use std::path::{Path, PathBuf};

use cs_tests::hub::{COMMIT, Fault, Hub, MODEL, OLD, Request, etag};
use cs_tests::{Home, tiny_bert};

const WEIGHTS: &str = "model.safetensors";
const CACHE: &str = ".cache/huggingface/hub/models--team--tiny";

/// A home with a stream to embed, and a hub.
fn home() -> (Home, Hub) {
    let home = Home::new();
    home.write("repo/a.rs", "fn first() {}\n\nfn second() {}\n");
    home.sh("cs-parse repo > chunks.arrows").status(0);
    (home, Hub::start(tiny_bert::files()))
}

fn embed(hub: &Hub) -> String {
    format!(
        "{} cs-embed --model {MODEL} --no-report --to jsonl < chunks.arrows",
        hub.env()
    )
}

fn cache(home: &Home) -> PathBuf {
    home.path().join(CACHE)
}

fn gets<'a>(requests: &'a [Request], file: &str) -> Vec<&'a Request> {
    let stored = format!("/stored/{file}?");
    let hits = requests.iter().filter(|r| r.elsewhere && r.method == "GET");
    hits.filter(|request| request.path.starts_with(&stored))
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_model_is_downloaded_laid_out_as_python_does_and_embeds() {
    let (home, hub) = home();
    let files = tiny_bert::files();
    let first = home
        .sh(&embed(&hub))
        .status(0)
        .says("downloading team/tiny (");
    let begin = &first.records()[0];
    let model = begin["metadata"]["cs.model"].as_str().unwrap_or_default();
    assert!(model.contains(r#""id":"team/tiny""#), "{model}");
    assert!(model.contains(r#""dim":64"#), "{model}");

    let cache = cache(&home);
    let main = fs::read_to_string(cache.join("refs/main")).expect("the ref");
    assert_eq!(main, COMMIT);
    let snapshot = cache.join("snapshots").join(COMMIT);
    for (path, up) in [
        ("config.json", "../.."),
        ("tokenizer.json", "../.."),
        ("modules.json", "../.."),
        ("sentence_bert_config.json", "../.."),
        ("1_Pooling/config.json", "../../.."),
        (WEIGHTS, "../.."),
    ] {
        let link = fs::read_link(snapshot.join(path)).expect("a link");
        let target = format!("{up}/blobs/{}", etag(&files[path]));
        assert_eq!(link, Path::new(&target), "{path}");
        assert_eq!(
            fs::read(snapshot.join(path)).expect("its file"),
            files[path]
        );
    }
    assert!(!snapshot.join("pytorch_model.bin").exists());
    assert!(!snapshot.join("README.md").exists());
    let blobs = names(&cache.join("blobs"));
    assert_eq!(blobs.len(), 6, "{blobs:?}");

    // What is there is not asked for again, and a folder of the same files embeds the same.
    hub.requests();
    let again = home.sh(&embed(&hub)).status(0).silent();
    assert_eq!(hub.requests().len(), 0);
    assert_eq!(again.stdout, first.stdout);
    let offline = format!("cs-embed --model {MODEL} --no-report --to jsonl < chunks.arrows");
    home.sh(&offline).status(0).silent();
}

#[test]
fn a_question_gets_the_model_of_its_store() {
    let (home, hub) = home();
    let env = hub.env();
    home.sh(&format!(
        "{env} cs-embed --model {MODEL} --revision v1 < chunks.arrows | cs-store db"
    ))
    .status(0);
    fs::remove_dir_all(cache(&home)).expect("the cache");
    home.sh("cs-query --db db first")
        .status(2)
        .says("model team/tiny@v1: not a folder, and not in the cache at")
        .says("HF_HUB_OFFLINE");
    home.sh(&format!("{env} cs-query --db db first"))
        .status(0)
        .says("downloading team/tiny@v1");
    assert!(cache(&home).join("refs/v1").is_file());
    assert!(!cache(&home).join("refs/main").exists());
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let (home, hub) = home();
    hub.fault(WEIGHTS, Fault::Cut(100_000));
    home.sh(&embed(&hub)).status(0).says("trying again");
    let requests = hub.requests();
    let ranges: Vec<Option<&str>> = gets(&requests, WEIGHTS)
        .into_iter()
        .map(|request| request.range.as_deref())
        .collect();
    assert_eq!(ranges, [None, Some("bytes=100000-")]);
}

#[test]
fn a_later_run_goes_on_as_well_and_a_server_may_ignore_it() {
    for (fault, asked) in [
        (None, 1),
        (Some(Fault::NoRange), 1),
        (Some(Fault::Cut(5)), 2),
    ] {
        let (home, hub) = home();
        let weights = &tiny_bert::files()[WEIGHTS];
        let partial = format!("{CACHE}/blobs/{}.incomplete", etag(weights));
        home.write(&partial, &weights[..70_000]);
        if let Some(fault) = fault {
            hub.fault(WEIGHTS, fault);
        }
        home.sh(&embed(&hub)).status(0);
        let requests = hub.requests();
        let gets = gets(&requests, WEIGHTS);
        assert_eq!(gets.len(), asked, "{fault:?}");
        assert_eq!(gets[0].range.as_deref(), Some("bytes=70000-"));
        assert!(!home.path().join(partial).exists());
    }
}

#[test]
fn a_partial_file_that_is_too_long_is_begun_again() {
    let (home, hub) = home();
    let weights = &tiny_bert::files()[WEIGHTS];
    let partial = format!("{CACHE}/blobs/{}.incomplete", etag(weights));
    home.write(&partial, vec![0; weights.len() + 1]);
    home.sh(&embed(&hub)).status(0);
    assert_eq!(gets(&hub.requests(), WEIGHTS)[0].range, None);
}

#[test]
fn wrong_bytes_are_thrown_away() {
    for file in [WEIGHTS, "config.json"] {
        let (home, hub) = home();
        hub.fault(file, Fault::Wrong);
        home.sh(&embed(&hub))
            .status(2)
            .says("model team/tiny: could not be downloaded")
            .says(file)
            .says("have the hash");
        assert!(!cache(&home).join("refs/main").exists());
        let blobs = names(&cache(&home).join("blobs"));
        assert!(
            !blobs.contains(&etag(&tiny_bert::files()[file])),
            "{blobs:?}"
        );
        assert!(!blobs.iter().any(|name| name.ends_with(".incomplete")));
        home.sh(&embed(&hub)).status(0);
    }
}

#[test]
fn a_model_in_part_is_made_whole() {
    let (home, hub) = home();
    let config = &tiny_bert::files()["config.json"];
    home.write(&format!("{CACHE}/refs/main"), COMMIT);
    home.write(&format!("{CACHE}/snapshots/{COMMIT}/config.json"), config);
    home.sh(&format!("cs-embed --model {MODEL} < chunks.arrows"))
        .status(2)
        .says("with all its files: tokenizer.json is missing, and HF_HUB_OFFLINE is set");
    home.sh(&embed(&hub)).status(0);
    let requests = hub.requests();
    let asked = |file: &str| requests.iter().filter(|r| r.path.ends_with(file)).count();
    assert_eq!(asked(&format!("{COMMIT}/config.json")), 0);
    assert_eq!(asked(&format!("{COMMIT}/tokenizer.json")), 2);
}

#[test]
fn weights_in_several_files_all_come() {
    let (home, hub) = home();
    hub.remove(WEIGHTS);
    hub.put(
        "model.safetensors.index.json",
        r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#,
    );
    hub.put("model-1.safetensors", vec![1; 5000]);
    let download = format!("{} cs-embed models --download {MODEL}", hub.env());
    home.sh(&download)
        .status(2)
        .says("has no model-2.safetensors, only");
    hub.put("model-2.safetensors", vec![2; 50]);
    hub.put("model-3.safetensors", vec![3; 50]);
    home.sh(&download).status(0);
    let listed = names(&cache(&home).join("snapshots").join(COMMIT));
    let weights: Vec<_> = listed
        .iter()
        .filter(|name| name.starts_with("model"))
        .collect();
    let expected = [
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(weights, expected);
}

#[test]
fn a_model_that_has_another_name_now_comes_under_the_old_one() {
    let (home, hub) = home();
    let env = hub.env();
    home.sh(&format!(
        "{env} export HF_TOKEN=x; cs-embed --model {OLD} < chunks.arrows > v.arrows"
    ))
    .status(0);
    assert!(
        home.path()
            .join(CACHE.replace("tiny", "old"))
            .join("refs/main")
            .is_file()
    );
    let here = hub.requests();
    let told = here
        .iter()
        .filter(|request| request.authorization.is_some())
        .count();
    assert_eq!(
        told,
        here.iter().filter(|request| !request.elsewhere).count()
    );
}

#[test]
fn a_token_is_asked_for_taken_and_told_to_nobody_else() {
    let (home, hub) = home();
    hub.demand("hf_sesame");
    home.sh(&embed(&hub))
        .status(2)
        .says("gives it to nobody without a token")
        .says("set HF_TOKEN");
    let output = home
        .sh(&format!("export HF_TOKEN=hf_wrong; {}", embed(&hub)))
        .status(2)
        .says("no such model");
    assert!(!output.stderr.contains("hf_wrong"), "{output}");
    hub.requests();

    home.write(".cache/huggingface/token", "hf_sesame\n");
    let output = home.sh(&format!("{} -vv", embed(&hub))).status(0);
    assert!(!output.stderr.contains("sesame"), "{output}");
    assert!(!output.stderr.contains("Signature"), "{output}");
    let (elsewhere, here): (Vec<_>, Vec<_>) = hub
        .requests()
        .into_iter()
        .partition(|request| request.elsewhere);
    assert!(!elsewhere.is_empty() && !here.is_empty());
    for request in elsewhere {
        assert_eq!(request.authorization, None, "{request:?}");
    }
    for request in here {
        let sent = request.authorization.as_deref();
        assert_eq!(sent, Some("Bearer hf_sesame"), "{request:?}");
    }
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let (home, hub) = home();
    let run = |args: &str| {
        let env = hub.env();
        home.sh(&format!(
            "{env} export HF_TOKEN=x; cs-embed {args} < chunks.arrows"
        ))
        .status(2)
    };
    run("--model team/other").says("model team/other: the hub at http://127.0.0.1:");
    run("--model team/other").says("has no such model");
    run("--model team/tiny --revision v9").says("has no revision v9 of it");
    run("--model tiny").says("model tiny: not a folder, and not in the cache at");
    run("--model repo --revision v1").says("is a folder, which has no --revision");
    hub.remove(WEIGHTS);
    run("--model team/tiny")
        .says("has no weights in safetensors, only")
        .says("pytorch_model.bin");
}

#[test]
fn nothing_is_asked_for_offline() {
    let (home, hub) = home();
    home.sh(&format!(
        "{} export HF_HUB_OFFLINE=1; cs-embed --model {MODEL} < chunks.arrows",
        hub.env()
    ))
    .status(2)
    .says("model team/tiny: not a folder, and not in the cache at")
    .says("and HF_HUB_OFFLINE is set");
    home.sh(&format!("cs-embed models --download {MODEL}"))
        .status(2)
        .says("HF_HUB_OFFLINE is set, nothing is downloaded");
    assert_eq!(hub.requests().len(), 0);
}

#[test]
fn a_busy_hub_is_asked_again_when_it_says() {
    let (home, hub) = home();
    hub.fault("api", Fault::Status(429, Some(1)));
    hub.fault("config.json", Fault::Status(503, None));
    hub.fault(WEIGHTS, Fault::Status(500, None));
    let started = std::time::Instant::now();
    home.sh(&embed(&hub))
        .status(0)
        .says("HTTP status 429; trying again in 1.0 s")
        .says("HTTP status 503; trying again in 0.")
        .says("HTTP status 500; trying again in 0.");
    assert!(started.elapsed().as_secs_f32() >= 1.7);
    hub.fault("api", Fault::Status(400, None));
    fs::remove_dir_all(cache(&home)).expect("the cache");
    home.sh(&embed(&hub)).status(2).says("HTTP status 400");
    // A refusal of the second server says nothing about tokens.
    hub.fault(WEIGHTS, Fault::Status(403, None));
    home.sh(&embed(&hub))
        .status(2)
        .says("could not be downloaded")
        .says("model.safetensors: HTTP status 403");
}

#[test]
fn tls_takes_the_roots_of_the_machine_and_no_others() {
    let home = Home::new();
    let made = home.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
         -subj /CN=hub -addext basicConstraints=critical,CA:FALSE \
         -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem",
    );
    if made.stderr.contains("not found") {
        cs_tests::skip("there is no openssl to make a certificate with");
        return;
    }
    made.status(0);
    let hub = Hub::start_tls(tiny_bert::files(), home.path());
    let env = hub.env();
    assert!(hub.endpoint.starts_with("https://"));
    hub.fault(WEIGHTS, Fault::Cut(100_000));
    home.sh(&format!(
        "{env} export SSL_CERT_FILE=$PWD/cert.pem HF_TOKEN=hf_sesame
         cs-embed models --download {MODEL}"
    ))
    .status(0);
    let (elsewhere, here): (Vec<_>, Vec<_>) = hub
        .requests()
        .into_iter()
        .partition(|request| request.elsewhere);
    assert!(here.iter().all(|request| request.authorization.is_some()));
    assert!(
        elsewhere
            .iter()
            .all(|request| request.authorization.is_none())
    );
    // The tokenizer, the weights, and the weights' rest.
    assert_eq!(elsewhere.len(), 3);
    home.sh(&format!("{env} cs-embed models --download {MODEL}"))
        .status(2)
        .says("could not be downloaded")
        .says("certificate");
}

#[test]
fn two_at_once_share_one_download() {
    let (home, hub) = home();
    let env = hub.env();
    home.sh(&format!(
        "{env} for n in 1 2 3; do cs-embed --no-report --model {MODEL} < chunks.arrows > $n.arrows & done
         status=0; for job in $(jobs -p); do wait $job || status=$?; done
         cmp 1.arrows 2.arrows && cmp 2.arrows 3.arrows && exit $status"
    ))
    .status(0);
    assert_eq!(gets(&hub.requests(), WEIGHTS).len(), 1);
    let blobs = names(&cache(&home).join("blobs"));
    assert_eq!(blobs.len(), 6, "{blobs:?}");
}

#[test]
fn models_are_listed_with_what_can_be_run() {
    let (home, hub) = home();
    let env = hub.env();
    let folder = home
        .sh(&format!(
            "{env} cs-embed models --download {MODEL} --revision refs/pr/1"
        ))
        .status(0)
        .text();
    let snapshot = cache(&home).join("snapshots").join(COMMIT);
    assert_eq!(folder.trim(), snapshot.display().to_string());
    let other = ".cache/huggingface/hub/models--org--t5";
    home.write(&format!("{other}/refs/main"), "abc");
    let config = format!("{other}/snapshots/abc/config.json");
    home.write(&config, r#"{"model_type": "t5", "hidden_size": 8}"#);
    home.write(".cache/huggingface/hub/datasets--org--d/refs/main", "abc");

    let lines = home
        .sh("cs-embed models --json")
        .status(0)
        .silent()
        .records();
    let models: Vec<_> = lines
        .iter()
        .filter(|line| line["kind"] == "model")
        .collect();
    let ids: Vec<_> = models.iter().map(|model| &model["model"]).collect();
    assert_eq!(ids, ["builtin", "org/t5", "team/tiny@refs/pr/1"]);
    let runs: Vec<_> = models.iter().map(|model| &model["runs"]).collect();
    assert_eq!(runs, [true, false, true]);
    assert_eq!(models[0]["dim"], 320);
    let cause = models[1]["cause"].as_str().expect("a cause");
    assert!(cause.contains("t5"), "{cause}");
    assert_eq!(models[2]["family"], "bert");
    assert_eq!(
        (&models[2]["dim"], &models[2]["max_tokens"]),
        (&64.into(), &96.into())
    );
    assert_eq!(models[2]["path"], snapshot.display().to_string());
    assert!(models[2]["bytes"].as_u64() > Some(256_000));
    let hub_line = lines.last().expect("a line");
    assert_eq!(hub_line["kind"], "hub");
    assert_eq!(hub_line["offline"], true);

    let table = home.sh("cs-embed models").status(0).silent().text();
    for text in [
        "MODEL ",
        "builtin ",
        "team/tiny@refs/pr/1 ",
        "cannot be run",
        "\ncache     ",
    ] {
        assert!(table.contains(text), "no {text:?} in {table}");
    }
    // The name that the list tells is one that can be run.
    home.sh("cs-embed --model team/tiny@refs/pr/1 < chunks.arrows > v.arrows")
        .status(0);
}
