//! How a process ends early: standard output has no reader, or a signal arrives.
//!
//! No stage handles an interrupt. On-disk state is always consistent, so the system may end a
//! process at any time. SIGTERM and SIGHUP only add a line to the log before they act as usual.
//!
//! A stage that writes a stream to a pipe has a thread that waits until the pipe has no reader, and
//! then ends the process. Otherwise a stage would notice only at its next write, and an encoder's
//! window or the parse of a large file takes seconds. `tool::give_up` and `tool::end_unread` end a
//! process from another thread, and nothing else does.
//!
//! This module is separate from [`tool`](crate::tool) because of its system calls.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use libc::{SIGHUP, SIGTERM, c_int};

use crate::{pipe, tool};

/// How long a stage goes on by itself after its neighbour is gone: enough for what is nearly done,
/// too short to be waited for.
pub const GRACE: Duration = Duration::from_millis(300);

/// Ends the process some time after the reader of standard output is gone, unless it is dropped
/// before.
#[derive(Debug)]
pub(crate) struct Watch {
    is_over: Arc<AtomicBool>,
}

impl Watch {
    /// Starts to watch a pipe; of all else nothing is to be known.
    pub(crate) fn start(stdout: impl AsFd) -> io::Result<Option<Self>> {
        if !pipe::is_pipe(&stdout) {
            return Ok(None);
        }
        let stdout = stdout.as_fd().try_clone_to_owned()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let watch = move || {
            if pipe::wait_for_no_reader(&stdout).is_ok() {
                thread::sleep(GRACE);
                if !seen.load(Ordering::Acquire) {
                    tool::end_unread();
                }
            }
        };
        thread::Builder::new().spawn(watch)?;
        Ok(Some(Self { is_over }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// Has SIGTERM and SIGHUP leave a line in the log before they end the process as ever: who was
/// ended is what one looks for in the morning. SIGINT comes from who looks on.
pub(crate) fn tell_signals() {
    for signal in [SIGTERM, SIGHUP] {
        // SAFETY: the structures are plain numbers, filled by the system before they are read, and
        // the handler calls only what may be called in one.
        unsafe {
            let mut old = MaybeUninit::<libc::sigaction>::zeroed();
            if libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) != 0 {
                continue;
            }
            let mut action = old.assume_init();
            // What nohup has switched off stays so.
            if action.sa_sigaction == libc::SIG_DFL {
                action.sa_sigaction = told as extern "C" fn(c_int) as libc::sighandler_t;
                action.sa_flags = libc::SA_RESETHAND;
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            }
        }
    }
}

extern "C" fn told(signal: c_int) {
    let what = match signal {
        SIGTERM => ": ended by SIGTERM\n",
        _ => ": ended by SIGHUP\n",
    };
    let part = |text: &str| libc::iovec {
        iov_base: text.as_ptr().cast_mut().cast(),
        iov_len: text.len(),
    };
    let line = [part(tool::name()), part(what)];
    // SAFETY: both are system calls, on texts that live as long as the process. The action is the
    // default again, which ends the process when this function returns.
    unsafe {
        libc::writev(libc::STDERR_FILENO, line.as_ptr(), 2);
        libc::raise(signal);
    }
}
