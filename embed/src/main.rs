//! The `cs-embed` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cs_common::tool::run("cs-embed", cs_embed::run)
}
