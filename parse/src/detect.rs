//! Tells a file's language from its name and first bytes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use crate::language::{Language, Loaded, all};
use crate::languages;

/// Tells a file's language from its name, then from its `#!` line.
pub(crate) fn detect(path: &Path, bytes: &[u8]) -> Option<&'static Loaded> {
    let name = path.file_name()?.to_str()?;
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    let signs = &*SIGNS;
    if extension.as_deref() == Some("h") && languages::c::looks_like_cpp(bytes) {
        return signs.extensions.get("hpp").copied();
    }
    let by_extension = || signs.extensions.get(extension.as_deref()?).copied();
    let by_shebang = || signs.shebangs.get(shebang(bytes)?).copied();
    let by_name = signs.file_names.get(name).copied();
    // `Dockerfile.dev`, `Makefile.am`, `LICENSE.apache`
    let by_stem = || signs.file_names.get(name.split_once('.')?.0).copied();
    by_name
        .or_else(by_extension)
        .or_else(by_shebang)
        .or_else(by_stem)
}

/// The signs of the table's languages, each with its language.
struct Signs {
    file_names: HashMap<&'static str, &'static Loaded>,
    extensions: HashMap<&'static str, &'static Loaded>,
    shebangs: HashMap<&'static str, &'static Loaded>,
}

static SIGNS: LazyLock<Signs> = LazyLock::new(|| Signs {
    file_names: index(|language| language.file_names),
    extensions: index(|language| language.extensions),
    shebangs: index(|language| language.shebangs),
});

fn index(
    signs: fn(&'static Language) -> &'static [&'static str],
) -> HashMap<&'static str, &'static Loaded> {
    let rows = all().iter();
    rows.flat_map(|row| signs(row.language).iter().map(move |sign| (*sign, row)))
        .collect()
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
            ("tool", "#!/bin/bash -e\n", Some("bash")),
            ("Dockerfile.dev", "", Some("dockerfile")),
            ("Makefile.py", "", Some("python")),
            ("x.tsx", "", Some("tsx")),
            ("x.h", "struct a { int b; };\n", Some("c")),
            ("x.h", "#pragma once\nnamespace a {\n}\n", Some("cpp")),
            (
                "x.h",
                "#ifdef __cplusplus\nextern \"C\" {\n#endif\n",
                Some("c"),
            ),
            ("CMakeLists.txt", "", Some("cmake")),
            ("Dockerfile", "", Some("dockerfile")),
            ("web.Dockerfile", "", Some("dockerfile")),
            ("package.json", "", Some("json")),
            ("Pipfile.lock", "", Some("json")),
            ("notes.txt", "", Some("text")),
            ("LICENSE", "MIT", Some("text")),
            ("LICENSE.orig", "MIT", Some("text")),
        ] {
            let detected = detect(Path::new(path), bytes.as_bytes());
            assert_eq!(
                detected.map(|row| row.language.name),
                expected,
                "{path} {bytes:?}"
            );
        }
    }

    #[test]
    fn no_two_rows_claim_the_same_file() {
        let kinds: [fn(&'static Language) -> &'static [&'static str]; 3] = [
            |language| language.extensions,
            |language| language.file_names,
            |language| language.shebangs,
        ];
        for signs in kinds {
            let mut seen = std::collections::HashSet::new();
            for sign in all().iter().flat_map(|row| signs(row.language)) {
                assert!(seen.insert(*sign), "{sign}");
            }
        }
    }
}
