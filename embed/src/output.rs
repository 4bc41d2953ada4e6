//! The writing side of the stage: rows as the model has made them, the report, and the seal.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use arrow_array::RecordBatch;
use cs_common::meter;
use cs_common::progress::{Done, Progress};
use cs_common::report::{Count, Figures, Report, seconds};
use cs_common::rows::Rows;
use cs_common::stream::StreamWriter;

use crate::Error;

/// This program.
pub(crate) const TOOL: &str = env!("CARGO_PKG_NAME");

/// Its version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the model did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made {
    pub(crate) texts: u64,
    /// 0 if the model does not tell.
    pub(crate) tokens: u64,
    /// How long it ran.
    pub(crate) ran: Duration,
}

/// What the writer gets.
pub(crate) enum Next {
    /// Rows, and what the model has done so far.
    Rows(RecordBatch, Made),
    /// That this was all.
    Seal(Made),
}

/// What is written, and what is told of it.
pub(crate) struct Output {
    pub(crate) stream: StreamWriter,
    pub(crate) progress: Option<Progress>,
    pub(crate) count: Count,
    pub(crate) figures: Figures,
    /// What the model runs on.
    pub(crate) device: String,
    /// Whether the stream ends without this stage's report.
    pub(crate) no_report: bool,
}

impl Output {
    /// Writes what was made, and the report and the seal if that was all.
    pub(crate) fn write(mut self, next: &Receiver<Next>) -> Result<(), Error> {
        loop {
            meter::idle();
            match next.recv() {
                Ok(Next::Rows(batch, made)) => {
                    meter::batch("write", batch.num_rows());
                    self.stream.write(&batch)?;
                    self.count.add(&Rows::new(&batch)?);
                    self.show(made);
                }
                Ok(Next::Seal(made)) => {
                    meter::work("seal");
                    return self.seal(made);
                }
                // The model has failed, and says why.
                Err(_) => return Ok(()),
            }
        }
    }

    fn show(&self, made: Made) {
        if let Some(progress) = &self.progress {
            progress.update(Done {
                files: self.count.files,
                chunks: self.count.chunks,
                tokens: (made.tokens > 0).then_some(made.tokens),
            });
        }
    }

    fn seal(mut self, made: Made) -> Result<(), Error> {
        let mut report = Report::new(TOOL, VERSION, &self.figures.meter, &self.count);
        report.tokens = (made.tokens > 0).then_some(made.tokens);
        report.device = Some(self.device);
        let share = seconds(made.ran) / report.wall_s.max(f64::EPSILON);
        report.device_busy = Some((share * 1e4).round() / 1e4);
        if !self.no_report {
            self.stream.report(&report)?;
        }
        self.stream.finish()?;
        self.count.reports.push(report);
        self.figures.tell(&self.count.reports);
        Ok(())
    }
}
