//! The `cs-parse` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cs_common::tool::run("cs-parse", cs_parse::run)
}
