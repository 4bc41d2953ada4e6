//! The `cs-parse` program.

use std::process::ExitCode;

/// Takes the place of the C library's as well, in which the parsers allocate every node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option `purge_delay` of mimalloc's `mi_option_t`, which its crate does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// How long freed memory is kept for the next file, in milliseconds. mimalloc's 10 give back
/// most of each tree, only for the pages to be cleared anew: a tenth of all time.
const KEPT_MS: i32 = 500;

fn main() -> ExitCode {
    // SAFETY: sets a number that mimalloc reads when it frees memory; there is one thread yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT_MS.into()) };
    cs_common::tool::run("cs-parse", cs_parse::run)
}
