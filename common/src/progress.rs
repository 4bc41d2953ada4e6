//! The progress displays: one bar on standard error, of a stream, a download, or steps.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::metadata::Totals;
use crate::pipe;

/// The bar on the screen, which messages have to step around.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How often a display moves that nobody updates.
const TICK: Duration = Duration::from_millis(200);

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
        show(&bar, template);
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
        hide(&self.bar);
    }
}

/// A display of how many bytes of a download are done.
///
/// It draws wherever standard error is a terminal, in a pipe too: a stage downloads before its
/// stream begins, and so before any other stage has something to draw.
#[derive(Debug)]
pub struct Transfer {
    bar: ProgressBar,
}

impl Transfer {
    /// Starts a display for a download of `bytes` bytes.
    pub fn start(bytes: u64) -> Self {
        let bar = ProgressBar::new(bytes);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = "{elapsed_precise} {bar:30} {bytes}/{total_bytes}, {eta} left";
        show(&bar, template);
        Self { bar }
    }

    /// Returns what is never drawn.
    pub fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    /// Returns how many bytes are shown as done.
    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    /// Shows that `bytes` bytes are done.
    pub fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        hide(&self.bar);
    }
}

/// A display of which of some long steps a tool is at, where nobody counts within a step.
///
/// It draws where [`Progress`] would.
#[derive(Debug)]
pub struct Steps {
    bar: ProgressBar,
}

impl Steps {
    /// Starts a display of no step yet.
    pub fn start() -> Self {
        let bar = ProgressBar::no_length();
        if !std::io::stderr().is_terminal() || pipe::is_pipe(std::io::stdout()) {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        show(&bar, "{elapsed_precise} {spinner} {msg}");
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Shows that a step has begun.
    pub fn begin(&self, step: &'static str) {
        log::debug!("{step}");
        self.bar.set_message(step);
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        hide(&self.bar);
    }
}

/// Puts a bar on the screen.
fn show(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if let Ok(mut shown) = SHOWN.lock() {
        *shown = Some(bar.clone());
    }
}

fn hide(bar: &ProgressBar) {
    bar.finish_and_clear();
    if let Ok(mut shown) = SHOWN.lock() {
        *shown = None;
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
