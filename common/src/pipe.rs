//! Standard input and output as the stages use them: what the kernel knows of them, and reading and
//! writing that the stage's clock sees.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};

use crate::meter::{self, Doing};

/// The pipe size that each stage asks for, in bytes: what an unprivileged process may have.
const PIPE_BYTES: usize = 1 << 20;

/// Tells whether a descriptor is a pipe.
pub(crate) fn is_pipe(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// Enlarges a pipe as far as the kernel lets it; another descriptor, or a refusal, is left as is.
pub(crate) fn enlarge(fd: impl AsFd) {
    if is_pipe(&fd) {
        // The default of 64 KiB works too, with more context switches.
        let _ = rustix::pipe::fcntl_setpipe_size(fd, PIPE_BYTES);
    }
}

/// A stream's bytes; the time that a read takes is waiting for input.
#[derive(Debug)]
pub(crate) struct Input(pub(crate) File);

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        meter::reading(|| self.0.read(buffer))
    }
}

impl Input {
    /// Tells whether a read would return at once, waiting up to `patience` for that.
    pub(crate) fn readable(&self, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let ready = meter::waiting(Doing::WaitIn, || poll(&mut fds, Some(&timeout)));
        Ok(ready? > 0)
    }
}

/// Where a stream's bytes go; the time that a write takes is waiting for output.
#[derive(Debug)]
pub(crate) struct Output(File);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        meter::writing(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns standard input without the standard library's buffer, enlarged if it is a pipe.
pub(crate) fn stdin() -> io::Result<File> {
    let fd = io::stdin().as_fd().try_clone_to_owned()?;
    enlarge(&fd);
    Ok(File::from(fd))
}

/// Returns standard output without the standard library's line buffer, enlarged if it is a pipe.
pub(crate) fn stdout() -> io::Result<Output> {
    let fd = io::stdout().as_fd().try_clone_to_owned()?;
    enlarge(&fd);
    Ok(Output(File::from(fd)))
}

/// Waits until nobody can read from a pipe any more.
pub(crate) fn wait_for_no_reader(pipe: impl AsFd) -> io::Result<()> {
    // A pipe without a reader is an error of its writing end, which is always told.
    let mut fds = [PollFd::new(&pipe, PollFlags::empty())];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells whether nobody can write to a pipe any more; there may be something left to be read.
pub(crate) fn has_no_writer(pipe: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&pipe, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}
