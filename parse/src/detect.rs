//! Tells a file's language from its name and first bytes.
//!
//! Languages with a grammar stand in [`crate::language`]; here are the names of others,
//! which are cut by lines, and the order in which the signs are believed.

use std::path::Path;

use crate::language::TABLE;
use crate::languages;

/// What a file's name and first bytes tell about its language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detected {
    /// A language of the table, by its index in [`TABLE`].
    Parsed(usize),
    /// A language known by name only.
    Named(&'static str),
    Unknown,
}

impl Detected {
    /// Returns the name for the `language` column.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Detected::Parsed(index) => TABLE.get(index).map(|language| language.name),
            Detected::Named(name) => Some(name),
            Detected::Unknown => None,
        }
    }
}

/// Tells a file's language from its name, then from its `#!` line.
pub(crate) fn detect(path: &Path, bytes: &[u8]) -> Detected {
    let name = path.file_name().and_then(|name| name.to_str());
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    let found = name
        .and_then(by_file_name)
        .or_else(|| extension.as_deref().and_then(by_extension))
        .or_else(|| shebang(bytes).and_then(by_shebang));
    match found {
        Some(Detected::Parsed(index))
            if extension.as_deref() == Some("h") && languages::c::looks_like_cpp(bytes) =>
        {
            position("cpp").map_or(Detected::Parsed(index), Detected::Parsed)
        }
        Some(detected) => detected,
        None => Detected::Unknown,
    }
}

fn position(name: &str) -> Option<usize> {
    TABLE.iter().position(|language| language.name == name)
}

fn by_file_name(name: &str) -> Option<Detected> {
    let parsed = TABLE
        .iter()
        .position(|language| language.file_names.contains(&name));
    parsed
        .map(Detected::Parsed)
        .or_else(|| named_in(FILE_NAMES, name))
}

fn by_extension(extension: &str) -> Option<Detected> {
    let parsed = TABLE
        .iter()
        .position(|language| language.extensions.contains(&extension));
    parsed
        .map(Detected::Parsed)
        .or_else(|| named_in(NAMES, extension))
}

fn by_shebang(interpreter: &str) -> Option<Detected> {
    let parsed = TABLE
        .iter()
        .position(|language| language.shebangs.contains(&interpreter));
    parsed
        .map(Detected::Parsed)
        .or_else(|| named_in(SHEBANGS, interpreter))
}

fn named_in(table: &[(&'static str, &[&str])], key: &str) -> Option<Detected> {
    table
        .iter()
        .find(|(_, keys)| keys.contains(&key))
        .map(|&(name, _)| Detected::Named(name))
}

/// Returns the interpreter of a `#!` line without folder and version.
fn shebang(bytes: &[u8]) -> Option<&str> {
    let line = bytes.strip_prefix(b"#!")?;
    let line = line.get(..line.len().min(256))?;
    let line = line.split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let program = words.next()?.rsplit('/').next()?;
    let program = if program == "env" {
        words.find(|word| !word.starts_with('-') && !word.contains('='))?
    } else {
        program
    };
    Some(program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

/// Names of languages that have no grammar here, by file name ending.
static NAMES: &[(&str, &[&str])] = &[
    ("asciidoc", &["adoc", "asciidoc"]),
    ("assembly", &["s", "asm"]),
    ("bazel", &["bzl", "bazel"]),
    ("clojure", &["clj", "cljs", "cljc", "edn"]),
    ("cmake", &["cmake"]),
    ("csharp", &["cs"]),
    ("css", &["css"]),
    ("csv", &["csv", "tsv"]),
    ("dart", &["dart"]),
    ("elixir", &["ex", "exs"]),
    ("elm", &["elm"]),
    ("erlang", &["erl", "hrl"]),
    ("fortran", &["f", "f90", "f95", "for"]),
    ("fsharp", &["fs", "fsi", "fsx"]),
    ("graphql", &["graphql", "gql"]),
    ("groovy", &["groovy", "gradle"]),
    ("haskell", &["hs", "lhs"]),
    ("html", &["html", "htm", "xhtml"]),
    ("ini", &["ini", "cfg", "conf", "properties"]),
    ("json", &["json", "jsonc", "json5", "jsonl", "ipynb"]),
    ("julia", &["jl"]),
    ("kotlin", &["kt", "kts"]),
    ("less", &["less"]),
    ("lisp", &["lisp", "el", "scm", "rkt"]),
    ("lua", &["lua"]),
    ("make", &["mk", "mak"]),
    ("nix", &["nix"]),
    ("objc", &["m", "mm"]),
    ("ocaml", &["ml", "mli"]),
    ("perl", &["pl", "pm", "t"]),
    ("php", &["php"]),
    ("powershell", &["ps1", "psm1"]),
    ("protobuf", &["proto"]),
    ("r", &["r"]),
    ("rst", &["rst"]),
    ("ruby", &["rb", "rake", "gemspec"]),
    ("scala", &["scala", "sc", "sbt"]),
    ("scss", &["scss", "sass"]),
    ("shell", &["sh", "bash", "zsh", "fish", "ksh"]),
    ("sql", &["sql"]),
    ("svelte", &["svelte"]),
    ("swift", &["swift"]),
    ("terraform", &["tf", "tfvars", "hcl"]),
    ("tex", &["tex", "sty"]),
    ("text", &["txt", "text"]),
    ("toml", &["toml"]),
    ("vim", &["vim"]),
    ("vue", &["vue"]),
    ("xml", &["xml", "xsd", "xsl", "svg", "plist"]),
    ("yaml", &["yaml", "yml"]),
    ("zig", &["zig"]),
];

/// Names of languages that have no grammar here, by whole file name.
static FILE_NAMES: &[(&str, &[&str])] = &[
    ("bazel", &["BUILD", "WORKSPACE"]),
    ("cmake", &["CMakeLists.txt"]),
    ("dockerfile", &["Dockerfile", "Containerfile"]),
    ("make", &["Makefile", "makefile", "GNUmakefile"]),
    ("ruby", &["Gemfile", "Rakefile"]),
    ("toml", &["Cargo.lock", "Pipfile", "poetry.lock", "uv.lock"]),
];

/// Names of languages that have no grammar here, by interpreter.
static SHEBANGS: &[(&str, &[&str])] = &[
    ("perl", &["perl"]),
    ("php", &["php"]),
    ("ruby", &["ruby"]),
    ("shell", &["sh", "bash", "zsh", "dash", "ksh", "fish"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_from_name_and_first_line() {
        for (path, bytes, expected) in [
            ("a/b.rs", "", Some("rust")),
            ("B.PY", "", Some("python")),
            ("tool", "#!/usr/bin/env python3\n", Some("python")),
            ("tool", "#!/usr/bin/env -S node --x\n", Some("javascript")),
            ("tool", "#!/bin/bash -e\n", Some("shell")),
            ("x.tsx", "", Some("tsx")),
            ("x.h", "struct a { int b; };\n", Some("c")),
            ("x.h", "#pragma once\nnamespace a {\n}\n", Some("cpp")),
            (
                "x.h",
                "#ifdef __cplusplus\nextern \"C\" {\n#endif\n",
                Some("c"),
            ),
            ("CMakeLists.txt", "", Some("cmake")),
            ("notes.txt", "", Some("text")),
            ("LICENSE", "MIT", None),
        ] {
            let detected = detect(Path::new(path), bytes.as_bytes());
            assert_eq!(detected.name(), expected, "{path} {bytes:?}");
        }
    }

    #[test]
    fn no_two_rows_claim_the_same_file() {
        let mut seen = std::collections::HashSet::new();
        for language in TABLE {
            for key in language.extensions {
                assert!(seen.insert(*key), "{key}");
            }
        }
        for (_, keys) in NAMES {
            for key in *keys {
                assert!(seen.insert(*key), "{key}");
            }
        }
    }
}
