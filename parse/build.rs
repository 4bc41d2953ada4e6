//! Hashes what decides how files are cut: the sources of this crate and of the document that is
//! hashed, and the exact grammars. A store's manifest keeps the hash, so that a changed chunker
//! parses anew what an older one had parsed.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = Vec::new();
    list(&here.join("src"), &mut files)?;
    files.push(here.join("../common/src/document.rs"));
    files.sort();
    let mut hash = Fnv::default();
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        hash.update(&fs::read(file)?);
    }
    println!("cargo::rerun-if-changed={}", here.join("src").display());
    let lock = here.join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    for package in fs::read_to_string(lock)?.split("[[package]]") {
        if package.contains("name = \"tree-sitter") {
            hash.update(package.as_bytes());
        }
    }
    println!("cargo::rustc-env=CS_PARSE_RULES={:016x}", hash.0);
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a, 64 bits: enough to tell versions of one program apart.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
