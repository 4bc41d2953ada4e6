//! The `cs-store` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cs_common::tool::run("cs-store", cs_store::run)
}
