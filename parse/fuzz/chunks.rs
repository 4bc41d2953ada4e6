//! Cuts any bytes as a file of the name in `CS_FUZZ_NAME`. The first two bytes of an input are
//! the largest chunk, from 128 bytes to 4 KB; the rest is the file.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../src/chunk/check.rs"]
mod check;

use check::{Checked, check};

static NAME: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = std::env::var_os("CS_FUZZ_NAME");
    name.expect("CS_FUZZ_NAME is a file name, such as a.rs").into()
});

fuzz_target!(|input: &[u8]| {
    let [high, low, source @ ..] = input else {
        return;
    };
    let limit = 128 + usize::from(u16::from_be_bytes([*high, *low]) % 4096);
    let chunks: Vec<Checked> = cs_parse::chunks_of(&NAME, source, limit)
        .into_iter()
        .map(|span| Checked {
            bytes: span.bytes,
            lines: span.lines,
            parent: span.parent,
        })
        .collect();
    check(source, &chunks, limit);
});
