//! Lists the files to parse, in the order in which their chunks are written.
//!
//! The list is complete before the first file is parsed, because the stream's metadata
//! says how much there is to come.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use log::{debug, warn};

use crate::Error;
use crate::detect::detect;

/// File names whose folder is a project.
const MANIFESTS: &[&str] = &[
    "BUILD.bazel",
    "CMakeLists.txt",
    "Cargo.toml",
    "Gemfile",
    "Makefile.am",
    "Package.swift",
    "Pipfile",
    "build.gradle",
    "build.gradle.kts",
    "build.sbt",
    "composer.json",
    "configure.ac",
    "deno.json",
    "go.mod",
    "meson.build",
    "mix.exs",
    "package.json",
    "pom.xml",
    "pubspec.yaml",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
];

/// How much of a file is looked at to tell text from binary data.
pub(crate) const SNIFF: usize = 8 * 1024;

/// One file to parse.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where to open it.
    pub(crate) file: PathBuf,
    /// Its path below the root, `/` between parts.
    pub(crate) path: String,
    /// The nearest folder with a manifest, `.` for the root.
    pub(crate) project: Option<String>,
    /// Size in bytes when it was listed.
    pub(crate) size: u64,
}

/// The files of a root, sorted by path, and what could not be listed.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The root, with symbolic links resolved.
    pub(crate) root: PathBuf,
    pub(crate) entries: Vec<Entry>,
    /// How many files were warned about and left out.
    pub(crate) skipped: usize,
}

/// Lists the text files at or below `path` of at most `max_bytes` each.
///
/// Ignored, hidden and binary files are left out, except that a file named as `path`
/// itself is taken although it is hidden or ignored. Symbolic links below `path` are
/// not followed.
pub(crate) fn list(path: &Path, max_bytes: u64) -> Result<Listing, Error> {
    let failed = |source| Error::Root {
        path: path.to_owned(),
        source,
    };
    let root = fs::canonicalize(path).map_err(failed)?;
    let metadata = fs::metadata(&root).map_err(failed)?;
    if metadata.is_dir() {
        // Tells an unreadable root from an empty one.
        fs::read_dir(&root).map_err(failed)?;
        let mut lister = Lister::new(&root, max_bytes);
        lister.walk();
        return Ok(lister.listing(root.clone()));
    }
    if !metadata.is_file() {
        return Err(Error::NotAFile {
            path: path.to_owned(),
        });
    }
    File::open(&root).map_err(failed)?;
    let folder = root.parent().unwrap_or(&root).to_owned();
    let mut lister = Lister::new(&folder, max_bytes);
    lister.add(root.clone(), metadata.len());
    if MANIFESTS.iter().any(|name| folder.join(name).is_file()) {
        lister.projects.insert(String::new());
    }
    Ok(lister.listing(folder.clone()))
}

struct Lister<'a> {
    root: &'a Path,
    max_bytes: u64,
    entries: Vec<Entry>,
    /// Folders below the root that hold a manifest.
    projects: HashSet<String>,
    skipped: usize,
}

impl<'a> Lister<'a> {
    fn new(root: &'a Path, max_bytes: u64) -> Self {
        Lister {
            root,
            max_bytes,
            entries: Vec::new(),
            projects: HashSet::new(),
            skipped: 0,
        }
    }

    fn walk(&mut self) {
        let walk = WalkBuilder::new(self.root)
            .require_git(false)
            .follow_links(false)
            .build();
        for found in walk {
            match found {
                Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => {
                    match entry.metadata() {
                        Ok(metadata) => self.add(entry.into_path(), metadata.len()),
                        Err(error) => self.skip(&error.to_string()),
                    }
                }
                Ok(entry) => {
                    if let Some(error) = entry.error() {
                        warn!("{error}");
                    }
                }
                Err(error) => self.skip(&error.to_string()),
            }
        }
    }

    fn skip(&mut self, cause: &str) {
        warn!("{cause}");
        self.skipped += 1;
    }

    fn add(&mut self, file: PathBuf, size: u64) {
        let below = file.strip_prefix(self.root).unwrap_or(&file);
        let Some(parts) = below
            .iter()
            .map(|part| part.to_str())
            .collect::<Option<Vec<&str>>>()
        else {
            self.skip(&format!("{}: name is not UTF-8", below.display()));
            return;
        };
        let path = parts.join("/");
        if let Some((name, folders)) = parts.split_last()
            && MANIFESTS.contains(name)
        {
            self.projects.insert(folders.join("/"));
        }
        if is_binary_file(&file) {
            debug!("{path}: binary, left out");
            return;
        }
        if size > self.max_bytes {
            let limit = self.max_bytes;
            self.skip(&format!(
                "{path}: {size} bytes, more than --max-file-bytes {limit}"
            ));
            return;
        }
        self.entries.push(Entry {
            file,
            path,
            project: None,
            size,
        });
    }

    fn listing(mut self, root: PathBuf) -> Listing {
        for entry in &mut self.entries {
            entry.project = project_of(&entry.path, &self.projects);
        }
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        Listing {
            root,
            entries: self.entries,
            skipped: self.skipped,
        }
    }
}

/// Finds the nearest of the folders above a path.
fn project_of(path: &str, projects: &HashSet<String>) -> Option<String> {
    let mut folder = path;
    loop {
        folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
        if projects.contains(folder) {
            return Some(if folder.is_empty() { "." } else { folder }.to_owned());
        }
        if folder.is_empty() {
            return None;
        }
    }
}

/// Tells whether bytes from the start of a file are binary data.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    bytes
        .get(..bytes.len().min(SNIFF))
        .is_some_and(|head| head.contains(&0))
}

/// Looks into a file whose name does not say that it is text.
///
/// A file that cannot be opened counts as text: reading it will say why it cannot.
fn is_binary_file(file: &Path) -> bool {
    if detect(file, &[]).is_some_and(|row| row.language.grammar().is_some()) {
        return false;
    }
    let mut head = Vec::with_capacity(SNIFF);
    let limit = u64::try_from(SNIFF).unwrap_or(u64::MAX);
    match File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut head)) {
        Ok(_) => is_binary(&head),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_manifest_names_the_project() {
        let projects = ["", "a/b"].map(str::to_owned).into();
        for (path, expected) in [
            ("x.rs", Some(".")),
            ("a/x.rs", Some(".")),
            ("a/b/x.rs", Some("a/b")),
            ("a/b/c/x.rs", Some("a/b")),
            ("a/bc/x.rs", Some(".")),
        ] {
            assert_eq!(project_of(path, &projects).as_deref(), expected, "{path}");
        }
        assert_eq!(project_of("a/x.rs", &HashSet::new()), None);
    }

    #[test]
    fn the_listing_leaves_out_what_is_ignored_hidden_binary_or_large() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (path, bytes) in [
            (".gitignore", &b"out\n*.log\n"[..]),
            (".hidden/a.rs", b"fn a() {}"),
            ("b.log", b"log"),
            ("b.txt", b"text"),
            ("c.png", b"\x89PNG\0\0"),
            ("large.txt", &[b'x'; 200]),
            ("out/d.rs", b"fn d() {}"),
            ("src-x/e.rs", b"fn e() {}"),
            ("src/Cargo.toml", b"[package]"),
            ("src/a/f.rs", b"fn f() {}"),
        ] {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.join("b.txt"), root.join("link.txt")).unwrap();
        let listing = list(root, 100).unwrap();
        let found: Vec<(&str, Option<&str>)> = listing
            .entries
            .iter()
            .map(|entry| (entry.path.as_str(), entry.project.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("b.txt", None),
                ("src-x/e.rs", None),
                ("src/Cargo.toml", Some("src")),
                ("src/a/f.rs", Some("src")),
            ]
        );
        assert_eq!(listing.skipped, 1);

        let one = list(&root.join(".hidden/a.rs"), 100).unwrap();
        assert_eq!(one.entries.len(), 1);
        assert_eq!(one.entries[0].path, "a.rs");
        assert!(matches!(
            list(&root.join("none"), 100),
            Err(Error::Root { .. })
        ));
    }
}
