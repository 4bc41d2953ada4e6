//! Which repositories are parsed, under which names: the paths on the command line, or the
//! folders below one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use log::warn;

use crate::Error;

/// One repository to parse.
#[derive(Debug)]
pub(crate) struct Root {
    /// Its name in the stream.
    pub(crate) name: String,
    /// Its folder, with symbolic links resolved.
    pub(crate) folder: PathBuf,
    /// What of it is meant.
    pub(crate) take: Take,
}

/// Which files of a repository are meant.
#[derive(Debug)]
pub(crate) enum Take {
    /// All that no rule leaves out.
    All,
    /// These, whatever the rules say: they were named on the command line.
    Named(Vec<PathBuf>),
    /// Those of a list, as far as the flags want them; ignore files are not asked.
    Listed(Vec<PathBuf>),
}

/// Finds the repositories that paths name: a folder is one, and so are the files of a folder.
pub(crate) fn from_paths(paths: &[PathBuf], name: Option<&str>) -> Result<Vec<Root>, Error> {
    let mut roots: Vec<Root> = Vec::new();
    for path in paths {
        let failed = |source| Error::Root {
            path: path.clone(),
            source,
        };
        let found = fs::canonicalize(path).map_err(failed)?;
        let metadata = fs::metadata(&found).map_err(failed)?;
        if metadata.is_dir() {
            // Tells an unreadable root from an empty one.
            fs::read_dir(&found).map_err(failed)?;
            let same = |root: &Root| root.folder == found && matches!(root.take, Take::All);
            if !roots.iter().any(same) {
                roots.push(Root {
                    name: name_of(&found),
                    folder: found,
                    take: Take::All,
                });
            }
            continue;
        }
        if !metadata.is_file() {
            return Err(Error::NotAFile { path: path.clone() });
        }
        File::open(&found).map_err(failed)?;
        let folder = found.parent().unwrap_or(&found).to_owned();
        let named = roots.iter_mut().find_map(|root| match &mut root.take {
            Take::Named(files) if root.folder == folder => Some(files),
            _ => None,
        });
        match named {
            Some(files) if files.contains(&found) => {}
            Some(files) => files.push(found),
            None => roots.push(Root {
                name: name_of(&folder),
                folder,
                take: Take::Named(vec![found]),
            }),
        }
    }
    if let Some(name) = name {
        match roots.as_mut_slice() {
            [only] => name.clone_into(&mut only.name),
            _ => return Err(Error::OneName { roots: roots.len() }),
        }
    }
    unique(roots)
}

/// Finds the repositories in a folder: its folders, or theirs where those have a `.git` and
/// they have not, named `folder/below` then.
pub(crate) fn each_in(folder: &Path) -> Result<Vec<Root>, Error> {
    let failed = |source| Error::Root {
        path: folder.to_owned(),
        source,
    };
    let folder = fs::canonicalize(folder).map_err(failed)?;
    let mut roots = Vec::new();
    for child in folders_in(&folder).map_err(failed)? {
        let name = name_of(&child);
        let below: Vec<PathBuf> = if child.join(".git").exists() {
            Vec::new()
        } else {
            // A folder that cannot be listed is warned of when it is walked.
            let mut below = folders_in(&child).unwrap_or_default();
            below.retain(|grandchild| grandchild.join(".git").exists());
            below
        };
        if below.is_empty() {
            roots.push(Root {
                name,
                folder: child,
                take: Take::All,
            });
        } else {
            roots.extend(below.into_iter().map(|folder| Root {
                name: format!("{name}/{}", name_of(&folder)),
                folder,
                take: Take::All,
            }));
        }
    }
    let loose = fs::read_dir(&folder).map_err(failed)?.flatten();
    let loose = loose.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    match loose.count() {
        0 => {}
        count => warn!(
            "{}: {count} files beside the repositories are left out",
            folder.display()
        ),
    }
    if roots.is_empty() {
        return Err(Error::NoRepos { folder });
    }
    unique(roots)
}

/// Narrows the one root to the files of a list: paths below the root, one a line or ended by
/// NUL characters, from a file or, for `-`, from standard input.
pub(crate) fn narrow(roots: &mut [Root], list: &Path) -> Result<(), Error> {
    let [root] = roots else {
        return Err(Error::ListNeedsOneRoot);
    };
    if !matches!(root.take, Take::All) {
        return Err(Error::ListNeedsOneRoot);
    }
    let failed = |source| Error::List {
        path: list.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    if list == Path::new("-") {
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    } else {
        bytes = fs::read(list).map_err(failed)?;
    }
    let end = if bytes.contains(&0) { 0 } else { b'\n' };
    let mut files = Vec::new();
    for line in bytes.split(|byte| *byte == end) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if end == 0 { line } else { line.trim_ascii() };
        if !line.is_empty() {
            files.push(plain(&root.folder.join(OsStr::from_bytes(line))));
        }
    }
    files.sort_unstable();
    files.dedup();
    root.take = Take::Listed(files);
    Ok(())
}

/// Takes `.` and `..` out of a path without looking at the disk, as the file may be gone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// Lists the folders in a folder that are not hidden, by name.
fn folders_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = fs::read_dir(folder)?
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    Ok(folders)
}

/// Refuses two repositories of one name: a store could not tell their files apart.
fn unique(mut roots: Vec<Root>) -> Result<Vec<Root>, Error> {
    roots.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in roots.windows(2) {
        if let [a, b] = pair
            && a.name == b.name
        {
            return Err(Error::SameName {
                name: a.name.clone(),
                first: a.folder.clone(),
                second: b.folder.clone(),
            });
        }
    }
    Ok(roots)
}

/// Names a repository after its folder.
fn name_of(folder: &Path) -> String {
    folder.file_name().map_or_else(
        || "root".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
