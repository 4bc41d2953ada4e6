//! The progress displays: one bar on standard error, of a stream, a download, or steps.
//!
//! The stage whose standard output is no pipe draws. Other stages clear its line before they write
//! to the same terminal (`tool`).

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::metadata::Totals;
use crate::{pipe, tool};

/// The bar on the screen, which messages have to step around.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How often a display moves that nobody updates.
const TICK: Duration = Duration::from_millis(200);

/// How often the text of a display is made anew.
const RENEWAL: Duration = Duration::from_millis(100);

/// Columns of a terminal from which there is room for a bar.
const ROOMY: u16 = 60;

/// How much of a stream is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Files.
    pub files: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Tokens that the model took, if it is known.
    pub tokens: Option<u64>,
}

/// A display of how much of a stream is done, how fast that is, and how long it will take.
///
/// It draws nothing unless standard error is a terminal and standard output is not a pipe: of
/// the stages of one pipeline only the last one qualifies, so displays never overwrite each other.
/// It is one line of any terminal's width.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    totals: Option<Totals>,
    began: Instant,
    renewed: Cell<Option<Instant>>,
}

impl Progress {
    /// Starts a display for a stream of `totals` files, or of an unknown number.
    pub fn start(totals: Option<Totals>) -> Self {
        let bar = match totals {
            Some(totals) => ProgressBar::new(totals.files),
            None => ProgressBar::no_length(),
        };
        let columns = rustix::termios::tcgetwinsize(std::io::stderr());
        let is_roomy = columns.is_ok_and(|size| size.ws_col >= ROOMY);
        if !std::io::stderr().is_terminal() || pipe::is_pipe(std::io::stdout()) {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match totals {
            _ if !is_roomy => "{wide_msg}",
            Some(_) => "{elapsed_precise} {bar:20} {wide_msg}",
            None => "{elapsed_precise} {spinner} {wide_msg}",
        };
        show(&bar, template);
        if !bar.is_hidden() {
            bar.set_message("waiting for the first rows");
            // What another stage writes over it comes back.
            bar.enable_steady_tick(TICK);
        }
        Self {
            bar,
            totals,
            began: Instant::now(),
            renewed: Cell::new(None),
        }
    }

    /// Shows how much is done.
    pub fn update(&self, done: Done) {
        let is_new = |renewed: Instant| renewed.elapsed() < RENEWAL;
        if self.bar.is_hidden() || self.renewed.get().is_some_and(is_new) {
            return;
        }
        self.renewed.set(Some(Instant::now()));
        self.bar.set_position(done.files);
        let text = text(done, self.totals, self.began.elapsed(), tool::warnings());
        self.bar.set_message(text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        hide(&self.bar);
    }
}

/// Says how much is done after some time, the most telling first, as a narrow terminal cuts the
/// end off.
fn text(done: Done, totals: Option<Totals>, elapsed: Duration, warnings: u64) -> String {
    let rate = |count: u64| number((count as f64 / elapsed.as_secs_f64().max(0.001)) as u64);
    let files = match totals {
        Some(totals) => format!("{}/{} files", number(done.files), number(totals.files)),
        None => format!("{} files", number(done.files)),
    };
    let mut parts = vec![files];
    if let Some(totals) = totals.filter(|_| done.files > 0) {
        let rest = totals.files.saturating_sub(done.files) as f64 / done.files as f64;
        let left = elapsed.mul_f64(rest);
        parts.push(format!("{} left", HumanDuration(left)));
    }
    parts.push(format!("{} chunks/s", rate(done.chunks)));
    if let Some(tokens) = done.tokens {
        parts.push(format!("{} tokens/s", rate(tokens)));
    }
    match warnings {
        0 => {}
        1 => parts.push("1 warning".to_owned()),
        count => parts.push(format!("{count} warnings")),
    }
    parts.join(", ")
}

/// Returns a number with its thousands parted.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_rates_and_what_is_left() {
        let done = Done {
            files: 250,
            chunks: 12_345,
            tokens: Some(1_234_567),
        };
        let totals = Some(Totals {
            files: 1_000,
            bytes: 1,
        });
        let ten = Duration::from_secs(10);
        assert_eq!(
            text(done, totals, ten, 2),
            "250/1,000 files, 30 seconds left, 1,234 chunks/s, 123,456 tokens/s, 2 warnings"
        );
        let none = Done::default();
        assert_eq!(text(none, totals, ten, 0), "0/1,000 files, 0 chunks/s");
        assert_eq!(text(none, None, ten, 1), "0 files, 0 chunks/s, 1 warning");
    }

    #[test]
    fn thousands_are_parted() {
        for (value, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
