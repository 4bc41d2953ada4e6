//! The history of a store: a small file for each of its last 200 runs, with its figures and its
//! end.
//!
//! Nothing relies on it but `info --runs`. Each run writes its own file after its last step,
//! without syncing, so that several writers do not conflict. A killed run leaves none, and a file
//! that cannot be written is no error.

use std::io::Write;

use cs_common::metadata::StreamMetadata;
use cs_common::progress::number;
use cs_common::report::{Pipeline, Report};
use cs_common::tool::Outcome;
use serde::{Deserialize, Serialize};

use crate::folder::{Folder, Location};
use crate::summary::{self, percent};
use crate::{Error, runtime};

/// The folder of the history in a store's.
pub(crate) const FOLDER: &str = "runs";

const ENDING: &str = ".json";

/// Runs that are kept.
const KEPT: usize = 200;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// All of the stream is stored.
    Done,
    /// The stream broke off.
    Broken,
    /// The store could not take it.
    Failed,
}

/// How a run ended, and why if it did not end well.
#[derive(Clone, Debug)]
pub(crate) struct Ending(Kind, Option<String>);

impl Ending {
    /// Returns the end of a run that has an error of some kind, or none.
    pub(crate) fn new(kind: Kind, error: Option<&Error>) -> Self {
        match error {
            Some(error) => Self(kind, Some(error.to_string())),
            None => Self(Kind::Done, None),
        }
    }
}

/// What is kept of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When it began: RFC 3339, in UTC.
    date: String,
    /// The stages with their arguments, as far as the stream tells.
    command: String,
    /// The names of the stream's repositories.
    repos: Vec<String>,
    rows: u64,
    chunks: u64,
    files: u64,
    wall_s: f64,
    overlap_efficiency: Option<f64>,
    bottleneck: Option<String>,
    /// Those of all stages.
    warnings: u64,
    result: Kind,
    /// Why it did not end well.
    error: Option<String>,
    stages: Vec<Report>,
}

impl Record {
    /// Returns what is kept of a run of some stages, the store's own last.
    pub(crate) fn new(
        metadata: &StreamMetadata,
        stages: Vec<Report>,
        Ending(result, error): Ending,
    ) -> Self {
        let all = Pipeline::of(&stages);
        let own = stages.last().cloned().unwrap_or_default();
        let before = metadata.chain.iter().map(|stage| {
            let mut words = vec![stage.tool.clone()];
            words.extend(stage.args.iter().cloned());
            words.join(" ")
        });
        let command: Vec<String> = before.chain(["cs-store".to_owned()]).collect();
        Self {
            date: date(own.started_unix_ns / 1_000_000_000),
            command: command.join(" | "),
            repos: metadata
                .repos
                .iter()
                .map(|repo| repo.name.clone())
                .collect(),
            rows: own.rows,
            chunks: own.chunks,
            files: own.files,
            wall_s: all.wall_s,
            overlap_efficiency: all.overlap_efficiency,
            bottleneck: all.bottleneck.map(str::to_owned),
            warnings: stages.iter().map(|stage| stage.warnings).sum(),
            result,
            error,
            stages,
        }
    }

    /// Returns what is told of the stages at the end of a run that brought something.
    pub(crate) fn summary(&self) -> Vec<String> {
        match self.rows {
            0 => Vec::new(),
            _ => summary::lines(&self.stages),
        }
    }

    /// Returns the seconds that the last stage took.
    pub(crate) fn wall_s(&self) -> f64 {
        self.stages.last().map_or(self.wall_s, |own| own.wall_s)
    }

    /// Adds it to a store's history, and removes what is too old.
    pub(crate) async fn save(&self, folder: &Folder) {
        if let Err(error) = self.try_save(folder).await {
            log::debug!("the run is not in the store's history: {error}");
        }
    }

    async fn try_save(&self, folder: &Folder) -> Result<(), Error> {
        // Strings and finite numbers, which always serialise.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let started = self.stages.last().map_or(0, |own| own.started_unix_ns);
        // Sorted by name they are sorted by time.
        let name = format!("{FOLDER}/{started:020}-{}{ENDING}", std::process::id());
        folder.write_note(&name, &text).await?;
        let names = names(folder).await?;
        for old in names.iter().rev().skip(KEPT) {
            folder.remove(&format!("{FOLDER}/{old}")).await?;
        }
        Ok(())
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let result = match self.result {
            Kind::Done => "done",
            Kind::Broken => "broken off",
            Kind::Failed => "failed",
        };
        write!(
            out,
            "{}  {result}: {} files, {} chunks in {:.1} s",
            self.date,
            number(self.files),
            number(self.chunks),
            self.wall_s
        )?;
        let bottleneck = self
            .stages
            .iter()
            .find(|stage| self.stages.len() > 1 && Some(&stage.tool) == self.bottleneck.as_ref());
        if let Some(stage) = bottleneck {
            write!(
                out,
                "; {} {} busy",
                stage.tool,
                percent(stage.busy_s, self.wall_s)
            )?;
        }
        if let Some(efficiency) = self.overlap_efficiency {
            write!(out, ", overlap {}", percent(efficiency, 1.0))?;
        }
        if self.warnings > 0 {
            write!(out, "; {} warnings", self.warnings)?;
        }
        if let Some(error) = &self.error {
            write!(out, "; {error}")?;
        }
        writeln!(out, "; {}", self.command)
    }
}

/// The runs of a store, as JSON.
#[derive(Debug, Serialize)]
struct Runs {
    runs: Vec<Record>,
}

/// Prints a store's history, the last run last.
pub(crate) fn tell(at: &Location, json: bool) -> Result<Outcome, Error> {
    let runs = runtime(&at.path)?.block_on(async {
        let folder = Folder::open(at).await?;
        let mut runs = Vec::new();
        for name in names(&folder).await? {
            let text = folder.read(&format!("{FOLDER}/{name}")).await?;
            // One that another run has removed meanwhile, or that a power loss has cut.
            runs.extend(text.and_then(|text| serde_json::from_slice::<Record>(&text).ok()));
        }
        Ok::<_, Error>(runs)
    })?;
    let mut text = Vec::new();
    let written = if json {
        serde_json::to_writer(&mut text, &Runs { runs })
            .map_err(Into::into)
            .and_then(|()| writeln!(text))
    } else {
        runs.iter().try_for_each(|run| run.print(&mut text))
    };
    written
        .map_err(cs_common::Error::from_output)
        .and_then(|()| cs_common::stream::print(&text))?;
    Ok(Outcome::Done)
}

/// Returns the names of the files, the oldest run's first.
async fn names(folder: &Folder) -> Result<Vec<String>, Error> {
    let mut names = folder.list(FOLDER).await?;
    names.sort_unstable();
    Ok(names)
}

/// Returns seconds since 1970 as a date in UTC.
fn date(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Years that begin in March, so that a leap day is a year's last one.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // From GNU date: date -u -d @SECONDS +%FT%TZ
        for (unix, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(unix), expected);
        }
    }
}
