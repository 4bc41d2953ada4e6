//! Lists the files to parse, in the order in which their chunks are written.
//!
//! The list is complete before the first file is parsed, because the stream's metadata
//! says how much there is to come, and because what a store has and the list has not is
//! gone. Only names and sizes are looked at here; what a file's text tells is found when
//! it is read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::UNIX_EPOCH;

use ignore::overrides::Override;
use ignore::{DirEntry, WalkBuilder, WalkState};
use log::warn;

use crate::detect::detect;
use crate::file;
use crate::left_out::{self, Reason};
use crate::repos::{Root, Take};

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
    "build.zig",
    "composer.json",
    "configure.ac",
    "deno.json",
    "dune-project",
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

/// Folders of version control, which no flag takes in.
const VERSION_CONTROL: &[&str] = &[".git", ".hg", ".jj", ".svn"];

/// The file of a project's own rules about what is not to be indexed.
const OWN_IGNORE_FILE: &str = ".csignore";

/// Which files are wanted.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// `--include` and `--exclude`, as globs.
    pub(crate) globs: Vec<String>,
    /// Languages wanted; all if empty.
    pub(crate) languages: Vec<&'static str>,
    pub(crate) hidden: bool,
    /// Whether ignore files are ignored.
    pub(crate) no_ignore: bool,
    pub(crate) vendored: bool,
    pub(crate) generated: bool,
    /// Largest file in bytes.
    pub(crate) max_file_size: u64,
}

impl Filter {
    /// Tells whether a language is wanted, `None` being one that is not known.
    pub(crate) fn wants(&self, language: Option<&str>) -> bool {
        self.languages.is_empty() || language.is_some_and(|name| self.languages.contains(&name))
    }
}

/// One file to parse.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its repository, by its index among the roots.
    pub(crate) root: usize,
    /// Where to open it.
    pub(crate) file: PathBuf,
    /// Its path below the root, `/` between parts.
    pub(crate) path: String,
    /// The nearest folder with a manifest, `.` for the root.
    pub(crate) project: Option<Arc<str>>,
    /// Size in bytes when it was listed.
    pub(crate) size: u64,
    /// Modification time when it was listed, in nanoseconds since 1970.
    pub(crate) mtime_ns: Option<i64>,
}

/// The files of all roots, sorted by root and path, and what was left out.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    /// Paths that were asked for by name and are not there, by root.
    pub(crate) gone: Vec<(usize, String)>,
    /// How many files were warned about and left out.
    pub(crate) skipped: usize,
    /// How many files, or folders of vendored files, were left out without a warning.
    pub(crate) left_out: BTreeMap<Reason, usize>,
    /// Whether some folder could not be listed, so that a file not found may yet be there.
    pub(crate) incomplete: bool,
}

impl Listing {
    fn skip(&mut self, cause: &str) {
        warn!("{cause}");
        self.skipped += 1;
    }

    fn leave_out(&mut self, reason: Reason) {
        *self.left_out.entry(reason).or_default() += 1;
    }
}

/// Lists the files of the roots.
///
/// Ignored and hidden files are left out, except that a file that was named itself is
/// taken in any case. Symbolic links below a root are not followed, so there are no loops.
///
/// # Errors
/// Those of a glob that does not parse.
pub(crate) fn list(
    roots: &[Root],
    filter: &Filter,
    threads: usize,
) -> Result<Listing, ignore::Error> {
    let mut listing = Listing::default();
    for (index, root) in roots.iter().enumerate() {
        let mut globs = ignore::overrides::OverrideBuilder::new(&root.folder);
        for glob in &filter.globs {
            globs.add(glob)?;
        }
        let mut lister = Lister {
            root,
            index,
            filter,
            globs: globs.build()?,
            projects: HashMap::new(),
            looked_in: HashSet::new(),
            first: listing.entries.len(),
            listing: &mut listing,
        };
        match &root.take {
            Take::All => lister.walk(threads),
            Take::Named(files) => lister.only(files),
            Take::Listed(files) => lister.listed(files),
        }
        lister.finish();
    }
    Ok(listing)
}

struct Lister<'a> {
    root: &'a Root,
    index: usize,
    filter: &'a Filter,
    globs: Override,
    /// Folders below the root, each with whether it is a project; those not in it are none.
    projects: HashMap<String, Arc<str>>,
    /// Folders in which a manifest was looked for.
    looked_in: HashSet<PathBuf>,
    /// The first entry of this root.
    first: usize,
    listing: &'a mut Listing,
}

/// What a walking thread found.
enum Found {
    File(PathBuf, std::io::Result<Metadata>),
    Vendored,
    Failed(String),
    /// A rule in an ignore file that cannot be read.
    Flawed(String),
}

impl Lister<'_> {
    fn walk(&mut self, threads: usize) {
        let (sender, receiver) = mpsc::channel();
        let walker = self.walker(threads, sender.clone());
        let collected = std::thread::scope(|scope| {
            scope.spawn(move || {
                walker.run(|| {
                    let sender = sender.clone();
                    Box::new(move |found| send(found, &sender))
                });
            });
            receiver.into_iter().collect::<Vec<Found>>()
        });
        for found in collected {
            match found {
                Found::File(file, Ok(metadata)) => self.add(file, &metadata),
                Found::File(file, Err(error)) => {
                    self.listing.incomplete = true;
                    self.listing.skip(&format!("{}: {error}", file.display()));
                }
                Found::Vendored => self.listing.leave_out(Reason::Vendored),
                Found::Failed(cause) => {
                    self.listing.incomplete = true;
                    self.listing.skip(&cause);
                }
                Found::Flawed(cause) => warn!("{cause}"),
            }
        }
    }

    fn walker(&self, threads: usize, sender: mpsc::Sender<Found>) -> ignore::WalkParallel {
        let filter = self.filter;
        let (skip_vendored, check_stores) = (!filter.vendored, filter.no_ignore);
        let globs = self.globs.clone();
        let sender = Mutex::new(sender);
        let mut builder = WalkBuilder::new(&self.root.folder);
        builder
            .require_git(false)
            .follow_links(false)
            .hidden(!filter.hidden)
            .threads(threads)
            .filter_entry(move |entry| {
                let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
                if entry.depth() == 0 || !is_folder {
                    return true;
                }
                let name = entry.file_name().to_string_lossy();
                if VERSION_CONTROL.contains(&&*name)
                    || globs.matched(entry.path(), true).is_ignore()
                    || (check_stores && is_store(entry))
                {
                    return false;
                }
                let vendored = skip_vendored && left_out::is_vendored_folder(&name);
                if vendored {
                    let sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
                    // Nobody listens only after a panic, which says more than this would.
                    let _ = sender.send(Found::Vendored);
                }
                !vendored
            });
        if filter.no_ignore {
            builder
                .ignore(false)
                .git_ignore(false)
                .git_global(false)
                .git_exclude(false)
                .parents(false);
        } else {
            builder.add_custom_ignore_filename(OWN_IGNORE_FILE);
        }
        builder.build_parallel()
    }

    /// Takes the files of a list, as far as the flags want them.
    fn listed(&mut self, files: &[PathBuf]) {
        let mut wanted = Vec::with_capacity(files.len());
        for file in files {
            let Ok(below) = file.strip_prefix(&self.root.folder) else {
                let (file, root) = (file.display(), self.root.folder.display());
                self.listing
                    .skip(&format!("{file}: not below {root}, left out"));
                continue;
            };
            let folders = || below.iter().map(|part| part.to_string_lossy());
            let hidden = folders().any(|name| name.starts_with('.'));
            let vendored = folders().any(|name| left_out::is_vendored_folder(&name));
            if hidden && !self.filter.hidden {
                self.listing.leave_out(Reason::Hidden);
            } else if vendored && !self.filter.vendored {
                self.listing.leave_out(Reason::Vendored);
            } else {
                wanted.push(file.clone());
            }
        }
        self.only(&wanted);
    }

    /// Takes these files, whatever ignore files say.
    fn only(&mut self, files: &[PathBuf]) {
        for file in files {
            match fs::metadata(file) {
                Ok(metadata) if metadata.is_file() => {
                    self.find_projects(file);
                    self.add(file.clone(), &metadata);
                }
                Ok(_) => self
                    .listing
                    .skip(&format!("{}: not a file, left out", file.display())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    match self.below(file) {
                        Some(path) => self.listing.gone.push((self.index, path)),
                        None => self.listing.skip(&format!("{}: {error}", file.display())),
                    }
                }
                Err(error) => {
                    self.listing.incomplete = true;
                    self.listing.skip(&format!("{}: {error}", file.display()));
                }
            }
        }
    }

    /// Looks for manifests in the folders above a file, since nothing walked through them.
    fn find_projects(&mut self, file: &Path) {
        let above = file.ancestors().skip(1);
        for folder in above.take_while(|folder| folder.starts_with(&self.root.folder)) {
            if !self.looked_in.insert(folder.to_owned()) {
                // And so in those above it.
                break;
            }
            if MANIFESTS.iter().any(|name| folder.join(name).is_file())
                && let Some(path) = self.below(folder)
            {
                self.project(path);
            }
        }
    }

    fn project(&mut self, folder: String) {
        let name = if folder.is_empty() { "." } else { &folder };
        let name = Arc::from(name);
        self.projects.entry(folder).or_insert(name);
    }

    /// Returns a file's path below the root, `None` if it is not UTF-8.
    fn below(&self, file: &Path) -> Option<String> {
        let below = file.strip_prefix(&self.root.folder).unwrap_or(file);
        let parts = below.iter().map(|part| part.to_str());
        Some(parts.collect::<Option<Vec<&str>>>()?.join("/"))
    }

    fn add(&mut self, file: PathBuf, metadata: &Metadata) {
        let Some(path) = self.below(&file) else {
            let shown = file.display();
            self.listing.skip(&format!("{shown}: name is not UTF-8"));
            return;
        };
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if MANIFESTS.contains(&name) {
            self.project(folder.to_owned());
        }
        if self.globs.matched(&file, false).is_ignore() {
            return;
        }
        let name_tells = detect(Path::new(name), &[]).map(|row| row.language.name);
        if name_tells.is_some() && name_tells != Some("c") && !self.filter.wants(name_tells) {
            self.listing.leave_out(Reason::OtherLanguage);
            return;
        }
        if let Some(reason) = left_out::by_name(name)
            && !self.filter.generated
            && !matches!(self.root.take, Take::Named(_))
        {
            self.listing.leave_out(reason);
            return;
        }
        let (size, limit) = (metadata.len(), self.filter.max_file_size);
        if size > limit {
            // What is no text is not missed.
            if file::starts_binary(&file) {
                self.listing.leave_out(Reason::Binary);
                return;
            }
            self.listing.skip(&format!(
                "{path}: {size} bytes, more than --max-file-size {limit}"
            ));
            return;
        }
        self.listing.entries.push(Entry {
            root: self.index,
            file,
            path,
            project: None,
            size,
            mtime_ns: mtime_ns(metadata),
        });
    }

    fn finish(self) {
        let entries = self.listing.entries.get_mut(self.first..);
        let entries = entries.unwrap_or_default();
        for entry in entries.iter_mut() {
            entry.project = project_of(&entry.path, &self.projects);
        }
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }
}

fn send(found: Result<DirEntry, ignore::Error>, sender: &mpsc::Sender<Found>) -> WalkState {
    let found = match found {
        Ok(entry) => {
            if let Some(error) = entry.error() {
                let _ = sender.send(Found::Flawed(error.to_string()));
            }
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                return WalkState::Continue;
            }
            let metadata = entry.metadata().map_err(std::io::Error::other);
            Found::File(entry.into_path(), metadata)
        }
        Err(error) => Found::Failed(error.to_string()),
    };
    match sender.send(found) {
        Ok(()) => WalkState::Continue,
        Err(_) => WalkState::Quit,
    }
}

/// Tells whether a folder is a store of ours, whose files are no code.
fn is_store(entry: &DirEntry) -> bool {
    cs_common::manifest::is_store(entry.path())
}

/// Returns a modification time in nanoseconds since 1970.
pub(crate) fn mtime_ns(metadata: &Metadata) -> Option<i64> {
    let time = metadata.modified().ok()?;
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).ok(),
        Err(before) => {
            let nanoseconds = i64::try_from(before.duration().as_nanos()).ok()?;
            Some(-nanoseconds)
        }
    }
}

/// Finds the nearest of the folders above a path.
fn project_of(path: &str, projects: &HashMap<String, Arc<str>>) -> Option<Arc<str>> {
    let mut folder = path;
    loop {
        folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
        if let Some(project) = projects.get(folder) {
            return Some(Arc::clone(project));
        }
        if folder.is_empty() {
            return None;
        }
    }
}
