//! The `cs-query` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // SAFETY: there is one thread yet.
    unsafe { cs_store::set_threads() };
    cs_common::tool::run("cs-query", cs_query::run)
}
