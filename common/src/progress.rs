//! The progress display: one bar on standard error, by the last stage of a pipeline only.

use std::io::IsTerminal as _;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::metadata::Totals;
use crate::pipe;

/// The bar on the screen, which messages have to step around.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A display of how many files of a stream are done.
///
/// It draws nothing unless standard error is a terminal and standard output is not a pipe: of
/// the stages of one pipeline only the last one qualifies, so displays never overwrite each other.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts a display for a stream of `totals` files, or of an unknown number.
    pub fn start(totals: Option<Totals>) -> Self {
        let bar = match totals {
            Some(totals) => ProgressBar::new(totals.files),
            None => ProgressBar::no_length(),
        };
        if !std::io::stderr().is_terminal() || pipe::is_pipe(std::io::stdout()) {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match totals {
            Some(_) => "{elapsed_precise} {bar:30} {pos}/{len} files, {msg}, {eta} left",
            None => "{elapsed_precise} {spinner} {pos} files, {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if let Ok(mut shown) = SHOWN.lock() {
            *shown = Some(bar.clone());
        }
        Self { bar }
    }

    /// Shows that `files` files with `chunks` chunks are done.
    pub fn update(&self, files: u64, chunks: u64) {
        self.bar.set_position(files);
        self.bar.set_message(format!("{chunks} chunks"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Ok(mut shown) = SHOWN.lock() {
            *shown = None;
        }
    }
}

/// Runs `body` while no bar is on the screen.
pub(crate) fn suspend(body: impl FnOnce()) {
    let bar = SHOWN.lock().ok().and_then(|shown| shown.clone());
    match bar {
        Some(bar) => bar.suspend(body),
        None => body(),
    }
}
