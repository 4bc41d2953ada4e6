//! The harness of the end-to-end tests: real binaries, a temporary home, shell pipelines.
//!
//! A failing expectation prints the command, its status and both of its streams.

pub mod chat;
pub mod hub;
mod posted;
pub mod s3;
pub mod service;
pub mod stages;
pub mod tiny_bert;

use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Defines the shell function `plainly`, which runs a command without root's right to read
/// everything, so that tests of permissions test something for root as well.
pub const PLAINLY: &str = r#"plainly() {
    if [ "$(id -u)" = 0 ]; then
        local rights=-dac_override,-dac_read_search
        setpriv --bounding-set="$rights" --inh-caps="$rights" "$@"
    else
        "$@"
    fi
}
"#;

/// Variables of the one who runs the tests that would change what they see.
const FOREIGN: [&str; 27] = [
    "CS_DB",
    "CS_ENDPOINT",
    "CS_API_KEY",
    "CS_RERANK_KEY",
    "OPENAI_API_KEY",
    "CS_LLM",
    "CS_LLM_MODEL",
    "CS_LLM_KEY",
    "XDG_CACHE_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "TRANSFORMERS_OFFLINE",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// A folder of its own for one test, which is home and working directory of what it runs.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Output {
    command: String,
    status: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Home {
    /// Makes an empty folder.
    ///
    /// # Panics
    /// If the system has no place for it.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self { folder }
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the folder, with the folders it needs.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("the parent folder");
        }
        fs::write(&path, contents).expect("the file");
        path
    }

    /// Reads a file below the folder.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path().join(path)).expect("the file")
    }

    /// Runs a bash script in the folder, under pipefail, the binaries on its path.
    ///
    /// # Panics
    /// If there is no bash.
    pub fn sh(&self, script: &str) -> Output {
        let mut command = self.command(Path::new("bash"));
        command.args(["-o", "pipefail", "-c", script]);
        let output = command.output().expect("bash");
        let status = output.status;
        Output {
            command: script.to_owned(),
            status: status.code().or(status.signal().map(|signal| 128 + signal)),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Returns a command that runs in the folder, the binaries on its path.
    fn command(&self, program: &Path) -> Command {
        let bin = bin_folder();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env("HOME", self.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            // What a test does not say itself never reaches for the network.
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null());
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    /// Expects an exit status.
    ///
    /// # Panics
    /// If it was another one.
    #[track_caller]
    pub fn status(self, expected: i32) -> Self {
        assert_eq!(self.status, Some(expected), "{self}");
        self
    }

    /// Expects that standard error holds a text.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn says(self, expected: &str) -> Self {
        assert!(self.stderr.contains(expected), "no {expected:?} in {self}");
        self
    }

    /// Expects that standard error holds nothing at all.
    ///
    /// # Panics
    /// If it holds something.
    #[track_caller]
    pub fn silent(self) -> Self {
        assert!(self.stderr.is_empty(), "not silent: {self}");
        self
    }

    /// Returns the records on standard output, one JSON object a line.
    ///
    /// # Panics
    /// If a line is no JSON.
    pub fn records(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// Returns the hits of `cs-query --json`.
    ///
    /// # Panics
    /// If standard output is not one object with hits.
    #[track_caller]
    pub fn hits(&self) -> Vec<Value> {
        let records = self.records();
        let hits = match records.as_slice() {
            [only] => only["hits"].as_array(),
            _ => None,
        };
        hits.unwrap_or_else(|| panic!("no hits in {self}")).clone()
    }

    /// Returns what the rows of a JSON Lines stream do to which files: `put a.rs` once for each
    /// file, `delete b.rs`. Reports do nothing.
    ///
    /// # Panics
    /// If it is no whole stream: the first record begins it and the last one seals it.
    #[track_caller]
    pub fn changes(&self) -> Vec<String> {
        let records = self.records();
        let op = |record: &Value| record["op"].as_str().unwrap_or_default().to_owned();
        let ends = (records.first().map(op), records.last().map(op));
        assert_eq!(ends, (Some("begin".into()), Some("end".into())), "{self}");
        let mut changes: Vec<String> = records[1..records.len() - 1]
            .iter()
            .filter(|record| record["op"] != "report")
            .map(|record| {
                let path = record["path"].as_str().unwrap_or_default();
                format!("{} {path}", op(record))
            })
            .collect();
        changes.dedup();
        changes
    }

    /// Returns the reports of the stages that a JSON Lines stream went through, the first one's first.
    ///
    /// # Panics
    /// If one is no JSON, or does not stand at the end, before the seal.
    #[track_caller]
    pub fn reports(&self) -> Vec<Value> {
        let records = self.records();
        let rows = records.iter().filter(|record| record["op"] != "end");
        rows.skip_while(|record| record["op"] != "report")
            .map(|record| {
                assert_eq!(record["op"], "report", "{self}");
                let text = record["content"].as_str().expect("content");
                serde_json::from_str(text).expect("JSON")
            })
            .collect()
    }

    /// Returns standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(4000)]);
        writeln!(f, "command: {}", self.command)?;
        writeln!(f, "status: {:?}", self.status)?;
        writeln!(f, "stdout: {stdout}")?;
        write!(f, "stderr: {}", self.stderr)
    }
}

/// Returns where the binaries are: beside this test's own executable's folder.
///
/// # Panics
/// If they have not been built; cargo does not build other packages' binaries for a test.
pub fn bin_folder() -> PathBuf {
    let own = std::env::current_exe().expect("the test's own path");
    let folder = own.ancestors().nth(2).expect("the target directory");
    for tool in ["cs-parse", "cs-embed", "cs-store", "cs-query"] {
        assert!(
            folder.join(tool).is_file(),
            "{tool} is not built: run scripts/test, or cargo build --release --bins first"
        );
    }
    folder.to_owned()
}

/// Returns the repository's root.
///
/// # Panics
/// If this package stands alone.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("the workspace")
}

/// Says that a test is skipped because the machine has not got what it needs.
///
/// # Panics
/// If `CI` is set: there every test runs, and `scripts/test` installs what it needs.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "not to be skipped here: {reason}"
    );
    println!("skipped: {reason}");
}

/// Returns a Python that has pyarrow, or says that the test is skipped.
///
/// `scripts/test` sets one up and names it in `CS_PYTHON`.
pub fn python() -> Option<PathBuf> {
    let python = std::env::var_os("CS_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skip("CS_PYTHON names no Python with pyarrow (scripts/test sets it)");
    }
    python
}

/// Returns the folder of all-MiniLM-L6-v2, or says that the test is skipped.
///
/// `scripts/test` fetches it and names it in `CS_MINILM`.
pub fn minilm() -> Option<String> {
    let model = std::env::var("CS_MINILM").ok();
    if model.is_none() {
        skip("CS_MINILM names no model (scripts/test sets it)");
    }
    model
}
