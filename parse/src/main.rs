//! The `cs-parse` program.

use std::process::ExitCode;

/// Takes the place of the C library's as well, in which the parsers allocate every node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cs_common::tool::run("cs-parse", cs_parse::run)
}
