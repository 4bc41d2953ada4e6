//! What two stages of the pipeline must agree on: the stream, its rows and metadata, and how a
//! process of the pipeline behaves.
//!
//! Nothing that one stage alone uses belongs here: no grammar, tokenizer, accelerator, database
//! or async runtime. `WIRE.md` beside this crate is the same contract in words, for people who
//! write a stage of their own.

pub mod document;
mod error;
mod jsonl;
pub mod manifest;
pub mod metadata;
pub mod meter;
mod pages;
mod pipe;
pub mod progress;
mod reader;
pub mod report;
pub mod rows;
mod spare;
pub mod tool;
mod trace;
mod watch;
mod writer;

pub use error::Error;

/// Reading and writing of chunk streams.
pub mod stream {
    pub use crate::reader::StreamReader;
    pub use crate::writer::{Format, StreamWriter, print, refuse_terminal};
}
