//! The `cs-query` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cs_common::tool::run("cs-query", cs_query::run)
}
