//! The bytes of one file: resumed where a download was cut, checked, and only then put in place.
//!
//! A file is written to `ETAG.incomplete` under a lock that huggingface_hub takes too. An existing
//! part is continued from its length. The hash of the bytes must equal the ETag before the file
//! gets its name.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use cs_common::progress::Transfer;

use super::api::{Hasher, Hub, Remote};
use super::cache::{Repository, create_parent};
use crate::Error;
use crate::http::{self, Client, Failure, Patience};

/// Bytes read from a connection or a file at once.
const PIECE: usize = 64 << 10;

/// Why no more bytes came.
enum Broken {
    Net(Failure),
    Disk(Error),
}

/// Brings a file into the cache, unless it is there.
///
/// # Errors
/// [`Error::Hub`] if the hub does not send it, or not the right bytes; [`Error::File`].
pub(super) fn fetch(
    hub: &Hub<'_>,
    repository: &Repository,
    remote: &Remote,
    progress: &Transfer,
) -> Result<(), Error> {
    let blob = repository.blob(&remote.etag);
    // Held until the end; another process may have brought the file meanwhile.
    let _lock = repository.lock(&remote.etag)?;
    let start = progress.position();
    if blob.is_file() {
        progress.set(start + remote.size);
        return Ok(());
    }
    create_parent(&blob).map_err(Error::file(&blob))?;
    let mut name = blob.file_name().unwrap_or_default().to_owned();
    name.push(".incomplete");
    let partial = blob.with_file_name(name);
    let mut patience = Patience::default();
    loop {
        let before = length(&partial);
        let show = |bytes| progress.set(start + bytes);
        match append(&hub.client, remote, &partial, &show) {
            Ok(()) => break,
            Err(Broken::Disk(error)) => return Err(error),
            Err(Broken::Net(failure)) => {
                if length(&partial) > before {
                    patience.restore();
                }
                if !patience.wait(&failure) {
                    return Err(hub.refused(failure));
                }
            }
        }
    }
    let found = hash(&partial, remote).map_err(Error::file(&partial))?;
    if found != remote.etag {
        fs::remove_file(&partial).map_err(Error::file(&partial))?;
        let cause = format!(
            "its bytes have the hash {found}, not {}; they were thrown away",
            remote.etag
        );
        let url = remote.url.clone();
        return Err(hub.refused(Failure::Answer { url, cause }));
    }
    fs::rename(&partial, &blob).map_err(Error::file(&blob))
}

/// Asks for what a partial file lacks, and appends what comes.
fn append(
    client: &Client,
    remote: &Remote,
    partial: &Path,
    show: &dyn Fn(u64),
) -> Result<(), Broken> {
    let disk = |error| Broken::Disk(Error::file(partial)(error));
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(partial)
        .map_err(disk)?;
    let mut have = file.metadata().map_err(disk)?.len();
    if have > remote.size {
        file.set_len(0).map_err(disk)?;
        have = 0;
    }
    show(have);
    if have == remote.size {
        return Ok(());
    }
    let response = match client.get(&remote.url, have) {
        Ok(response) => response,
        Err(failure) => {
            // The server has fewer bytes than are here: these are not the file's.
            if let Failure::Status { status: 416, .. } = failure {
                file.set_len(0).map_err(disk)?;
            }
            return Err(Broken::Net(failure));
        }
    };
    if response.status().as_u16() != 206 {
        // A server that does not know ranges sends everything.
        file.set_len(0).map_err(disk)?;
        have = 0;
    } else if range_start(http::text(response.headers(), "content-range")) != Some(have) {
        let cause = format!("the answer does not begin at the byte {have}");
        let url = remote.url.clone();
        return Err(Broken::Net(Failure::Answer { url, cause }));
    }
    let mut body = response.into_body().into_reader();
    let mut piece = vec![0; PIECE];
    while have < remote.size {
        let read = body.read(&mut piece);
        let read = read.map_err(|error| Broken::Net(http::transport(&remote.url, error.into())))?;
        if read == 0 {
            // The end of a body without a length looks like a proper one.
            let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(Broken::Net(http::transport(&remote.url, cut.into())));
        }
        file.write_all(&piece[..read]).map_err(disk)?;
        have += read as u64;
        show(have.min(remote.size));
    }
    file.sync_data().map_err(disk)
}

/// Returns the first byte of `bytes FIRST-LAST/SIZE`.
fn range_start(value: Option<&str>) -> Option<u64> {
    let range = value?.trim().strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn hash(path: &Path, remote: &Remote) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(remote);
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::range_start;

    #[test]
    fn a_range_is_read() {
        assert_eq!(range_start(Some("bytes 12-99/100")), Some(12));
        assert_eq!(range_start(Some("bytes */100")), None);
        assert_eq!(range_start(None), None);
    }
}
