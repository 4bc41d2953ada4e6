//! A language model behind a chat service, on loopback: what `/v1/chat/completions` answers, bit by
//! bit or at once, and its bad days.
//!
//! What it says is decided by the test, from what it is asked.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::posted::Posted;

/// What a request meets instead of a proper answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: the answer is a proper one.
    Fine,
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// A pause of this length after the first piece of the answer.
    Stall(Duration),
    /// The connection ends after this many pieces, without a word.
    Cut(usize),
    /// The length that is told is the true one and this much.
    Lie(i64),
    /// The answer ends because it is too long.
    TooLong,
    /// The answer comes at once, as JSON, though it was to be streamed.
    AtOnce,
    /// Another body, with status 200.
    Body(String),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The body.
    pub body: Value,
    /// When it came.
    pub at: Instant,
}

impl Asked {
    /// Returns what the message of a role says.
    pub fn said(&self, role: &str) -> String {
        let messages = self.body["messages"].as_array();
        let of_role = messages.into_iter().flatten().filter(|m| m["role"] == role);
        of_role.filter_map(|m| m["content"].as_str()).collect()
    }
}

type Reply = dyn Fn(&Asked) -> String + Send + Sync;

struct State {
    faults: Vec<Fault>,
    asked: Vec<Asked>,
}

/// A running service; it ends with the test's process.
#[derive(Clone)]
pub struct Chat {
    /// Its URL, a host alone.
    pub url: String,
    state: Arc<Mutex<State>>,
    reply: Arc<Reply>,
}

impl Chat {
    /// Starts a service that says what `reply` returns.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn start(reply: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (faults, asked) = (Vec::new(), Vec::new());
        let chat = Self {
            url: format!("http://127.0.0.1:{port}"),
            state: Arc::new(Mutex::new(State { faults, asked })),
            reply: Arc::new(reply),
        };
        let own = chat.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let chat = own.clone();
                thread::spawn(move || {
                    // A client that goes away in the middle is none of the service's failures.
                    let _ = chat.serve(stream);
                });
            }
        });
        chat
    }

    /// Returns the flags that name it.
    pub fn flags(&self) -> String {
        format!("--llm {} --llm-model tiny", self.url)
    }

    /// Lets the next requests meet faults, one each.
    ///
    /// # Panics
    /// If a server thread did.
    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut state = self.state.lock().expect("no server thread panicked");
        state.faults.extend(faults);
    }

    /// Returns all requests so far, and forgets them.
    ///
    /// # Panics
    /// If a server thread did.
    pub fn asked(&self) -> Vec<Asked> {
        let mut state = self.state.lock().expect("no server thread panicked");
        std::mem::take(&mut state.asked)
    }

    /// Answers the one request of a connection.
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let posted = Posted::read(&stream)?;
        let asked = Asked {
            authorization: posted.authorization,
            body: posted.body,
            at: Instant::now(),
        };
        let fault = {
            let mut state = self.state.lock().expect("no server thread panicked");
            state.asked.push(asked.clone());
            match state.faults.is_empty() {
                true => Fault::Fine,
                false => state.faults.remove(0),
            }
        };
        let text = (self.reply)(&asked);
        let is_streamed = asked.body["stream"] == true && !matches!(fault, Fault::AtOnce);
        let mut head = "HTTP/1.1 200 OK\r\nconnection: close\r\n".to_owned();
        match &fault {
            Fault::Status(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                let length = body.len();
                return write!(stream, "{head}content-length: {length}\r\n\r\n{body}");
            }
            Fault::Body(body) => {
                let length = body.len();
                return write!(stream, "{head}content-length: {length}\r\n\r\n{body}");
            }
            _ if !is_streamed => {
                let choice = json!({"message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
                let body = json!({"choices": [choice]}).to_string();
                let length = body.len();
                return write!(stream, "{head}content-length: {length}\r\n\r\n{body}");
            }
            Fault::Lie(more) => {
                let length = events(&text, "stop").concat().len() as i64 + more;
                head.push_str(&format!("content-length: {length}\r\n"));
            }
            _ => {}
        }
        head.push_str("content-type: text/event-stream\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let reason = match fault {
            Fault::TooLong => "length",
            _ => "stop",
        };
        for (at, event) in events(&text, reason).into_iter().enumerate() {
            if matches!(fault, Fault::Cut(pieces) if pieces == at) {
                return Ok(());
            }
            if let (Fault::Stall(time), 1) = (&fault, at) {
                thread::sleep(*time);
            }
            stream.write_all(event.as_bytes())?;
            stream.flush()?;
        }
        Ok(())
    }
}

/// Returns the events of an answer: a few letters each, then why it ends, then that it does.
fn events(text: &str, reason: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let pieces = letters.chunks(3).map(|piece| {
        let piece: String = piece.iter().collect();
        json!({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": null}]})
    });
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    let mut events: Vec<String> = pieces
        .chain([last])
        .map(|event| format!(": still here\n\ndata: {event}\r\n\r\n"))
        .collect();
    events.push("data: [DONE]\n\n".to_owned());
    events
}
