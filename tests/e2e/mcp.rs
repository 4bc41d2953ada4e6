//! What coding agents ask of a store, through the protocol's own client for Python.

use cs_tests::{Home, python};
use serde_json::Value;

const UPLOAD: &str = "/// Tries a failed upload again, three times.\npub fn retry_upload(file: &str) -> bool {\n    send(file) || send(file) || send(file)\n}\n\n/// Sends a file to the server.\nfn send(file: &str) -> bool {\n    connect().write(file)\n}\n";
const QUEUE: &str = "class UploadQueue:\n    \"\"\"Files that wait for their upload.\"\"\"\n\n    def push(self, file):\n        self.files.append(file)\n\n    def drain(self):\n        for file in self.files:\n            retry_upload(file)\n";

/// Calls tools one after the other, `[name, arguments]` each, and prints what came of it.
const CLIENT: &str = r#"
import asyncio, json, subprocess, sys
from mcp import ClientSession, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main():
    server = StdioServerParameters(command=sys.argv[1], args=json.loads(sys.argv[2]))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        started = await session.initialize()
        tools = (await session.list_tools()).tools
        out = {"server": started.server_info.name, "tools": {}, "answers": []}
        for tool in tools:
            out["tools"][tool.name] = {"description": tool.description, "schema": tool.input_schema}
        for line in open(sys.argv[3]):
            name, arguments = json.loads(line)
            if name == "sh":
                subprocess.run(arguments, shell=True, check=True)
                await asyncio.sleep(1.1)
                continue
            try:
                result = await session.call_tool(name, arguments)
                text = "".join(block.text for block in result.content)
                out["answers"].append({"text": text, "failed": bool(result.is_error)})
            except MCPError as error:
                out["answers"].append({"code": error.code, "message": error.message})
        print(json.dumps(out))

asyncio.run(main())
"#;

fn stored() -> Home {
    let home = Home::new();
    home.write("app/src/upload.rs", UPLOAD);
    home.write("app/src/queue.py", QUEUE);
    home.write("client.py", CLIENT);
    home.sh("cs-parse app | cs-embed | cs-store db").status(0);
    home
}

/// Calls tools of a server that was started with some arguments.
fn session(home: &Home, arguments: &str, calls: &[Value]) -> Option<Value> {
    let python = python()?;
    let lines: Vec<String> = calls.iter().map(Value::to_string).collect();
    home.write("calls", lines.join("\n"));
    let script = format!(
        "{} client.py \"$(command -v cs-query)\" '{arguments}' calls",
        python.display()
    );
    let output = home.sh(&script).status(0);
    let told = serde_json::from_str(&output.text());
    Some(told.unwrap_or_else(|error| panic!("{error}: {output}")))
}

fn text(answer: &Value) -> &str {
    assert_eq!(answer["failed"], false, "{answer}");
    answer["text"].as_str().expect("a text")
}

#[test]
fn an_agent_finds_its_way() {
    let home = stored();
    let calls = serde_json::json!([
        ["search", {"question": "where are failed uploads retried?"}],
        ["search", {"question": "upload", "lang": ["python"], "tokens": 1, "limit": 2}],
        ["symbol", {"name": "UploadQueue.drain"}],
        ["similar", {"at": "app/src/upload.rs:7"}],
        ["outline", {"path": "app/src/queue.py"}],
        ["status", {}],
        ["search", {"question": "klingon", "lang": ["klingon"]}],
        ["sh", "echo 'fn open_airlock() {}' > app/src/door.rs && cs-parse app --since db | cs-embed | cs-store -q db"],
        ["symbol", {"name": "open_airlock"}],
    ]);
    let calls = calls.as_array().expect("calls");
    let Some(told) = session(&home, r#"["--mcp", "--db", "db"]"#, calls) else {
        return;
    };
    assert_eq!(told["server"], "cs-query");
    let names: Vec<&str> = told["tools"]
        .as_object()
        .expect("tools")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["search", "similar", "symbol", "outline", "status"]);
    let answers = told["answers"].as_array().expect("answers");
    let found = text(&answers[0]);
    assert!(
        found.starts_with("app/src/upload.rs:1-4 function retry_upload\n```rust\n"),
        "{found}"
    );
    assert!(found.contains("send(file) || send(file)"), "{found}");
    // What has no room is told by its place.
    let places = text(&answers[1]);
    assert!(
        places.starts_with("more, without their code:\napp/src/queue.py:"),
        "{places}"
    );
    assert_eq!(places.lines().count(), 3, "{places}");
    let symbol = text(&answers[2]);
    assert!(
        symbol.starts_with("app/src/queue.py:7-9 method UploadQueue.drain\n"),
        "{symbol}"
    );
    let similar = text(&answers[3]);
    assert!(
        similar.contains("retry_upload") && !similar.contains("connect()"),
        "{similar}"
    );
    let outline = text(&answers[4]);
    let expected = "app/src/queue.py (python)\n1-2 class UploadQueue\n  4-5 def push(self, file)\n  \
        7-9 def drain(self)\n";
    assert_eq!(outline, expected);
    let status = text(&answers[5]);
    assert!(
        status.contains("db: ") && status.contains("model builtin\n"),
        "{status}"
    );
    assert_eq!(text(&answers[6]), "no hit\n");
    // What was stored meanwhile is found.
    let new = text(&answers[7]);
    assert!(
        new.starts_with("app/src/door.rs:1-1 function open_airlock"),
        "{new}"
    );
}

#[test]
fn a_bad_argument_is_an_error_and_not_the_end() {
    let home = stored();
    let bad = serde_json::json!([
        ["search", {}],
        ["search", {"question": ""}],
        ["search", {"question": 3}],
        ["search", {"question": "a", "colour": "red"}],
        ["search", {"question": "a", "tokens": 0}],
        ["search", {"question": "a", "limit": -1}],
        ["search", {"question": "a", "path": "a[z-b]"}],
        ["similar", {"at": "nowhere.rs:1"}],
        ["similar", {"at": "app/src/upload.rs"}],
        ["similar", {"question": "a"}],
        ["symbol", {"name": ["a"]}],
        ["outline", {"path": "nowhere.rs"}],
        ["outline", {"path": "app/src/queue.py", "lang": "rust"}],
        ["status", {"all": true}],
        ["frobnicate", {}],
        ["symbol", {"name": "send"}],
    ]);
    let calls = bad.as_array().expect("calls");
    let Some(told) = session(&home, r#"["--mcp", "--db", "db"]"#, calls) else {
        return;
    };
    let answers = told["answers"].as_array().expect("answers");
    let (last, failed) = answers.split_last().expect("answers");
    for (answer, call) in failed.iter().zip(calls) {
        assert_eq!(answer["code"], -32602, "{call}: {answer}");
    }
    let says = |at: usize, words: &str| {
        let message = failed[at]["message"].as_str().expect("a message");
        assert!(message.contains(words), "{message}");
    };
    says(3, "`colour`");
    says(4, "`tokens`");
    says(7, "nowhere.rs:1");
    says(11, "nowhere.rs");
    says(14, "frobnicate");
    assert!(text(last).contains("fn send(file: &str)"), "{last}");
}

#[test]
fn what_agents_pay_for_is_short() {
    let home = stored();
    let Some(told) = session(&home, r#"["--mcp", "--db", "db"]"#, &[]) else {
        return;
    };
    // Three bytes are more than a token; each conversation begins with all of it.
    let bytes = told["tools"].to_string().len();
    assert!(bytes < 3 * 800, "{bytes} bytes");
    home.sh("cs-query --mcp --db db < /dev/null")
        .status(0)
        .silent();
    home.sh("echo no | cs-query --mcp --db db").says("");
    home.sh("cs-query --mcp --db nowhere < /dev/null")
        .status(2)
        .says("nowhere");
    home.sh("cs-query --mcp --db db question")
        .status(2)
        .says("--mcp");
}
