//! A request with JSON as a service on loopback reads it.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::TcpStream;

use serde_json::Value;

/// What came.
pub(crate) struct Posted {
    pub(crate) path: String,
    /// The header `Authorization`.
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

impl Posted {
    /// Reads the one request of a connection.
    pub(crate) fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut length, mut authorization) = (0, None);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or_default(),
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Self {
            path,
            authorization,
            body: serde_json::from_slice(&body)?,
        })
    }
}
