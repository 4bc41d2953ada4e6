//! A stage's report: the figures that it writes at the end of its stream, and the sum over a
//! pipeline.
//!
//! The thread that writes the stream writes the report, just before the seal. Later work, such as
//! the upkeep of a cache, is in no report.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;
use crate::meter::Meter;
use crate::rows::{Op, Rows};
use crate::tool;
use crate::trace::Trace;

/// What a stage has to say when it is done. A value that a program does not tell is 0 or left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The program's name.
    pub tool: String,
    /// The program's version.
    pub version: String,
    /// When it began, in nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// Seconds from then to the report.
    pub wall_s: f64,
    /// Those in which at least one of its threads worked.
    pub busy_s: f64,
    /// Those in which none did, and it waited for the stage before.
    pub wait_in_s: f64,
    /// Those in which none did, and it waited for the stage behind.
    pub wait_out_s: f64,
    /// Seconds of processors that it took, in all threads.
    pub cpu_s: f64,
    /// The most memory that it had, in bytes.
    pub peak_rss_bytes: u64,
    /// Rows that it wrote, or stored: `put` and `delete`.
    pub rows: u64,
    /// Those of them that are chunks.
    pub chunks: u64,
    /// Files that the rows are of.
    pub files: u64,
    /// Bytes that it read: of standard input, or of the files that it parsed.
    pub bytes_in: u64,
    /// Bytes that it wrote to standard output.
    pub bytes_out: u64,
    /// Warnings that it had.
    pub warnings: u64,
    /// Tokens that a model took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What the model ran on: `cpu`, `cuda:0`, `service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The share of `wall_s` in which that had something to do, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_busy: Option<f64>,
    /// What the contract does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Report {
    /// Returns the report of the running process.
    pub fn new(tool: &str, version: &str, meter: &Meter, count: &Count) -> Self {
        let times = meter.times();
        let (cpu, peak_rss_bytes) = used();
        Self {
            tool: tool.to_owned(),
            version: version.to_owned(),
            started_unix_ns: u64::try_from(times.started_unix.as_nanos()).unwrap_or_default(),
            wall_s: seconds(times.wall),
            busy_s: seconds(times.busy),
            wait_in_s: seconds(times.wait_in),
            wait_out_s: seconds(times.wait_out),
            cpu_s: cpu,
            peak_rss_bytes,
            rows: count.rows,
            chunks: count.chunks,
            files: count.files,
            bytes_in: times.bytes_in,
            bytes_out: times.bytes_out,
            warnings: tool::warnings(),
            ..Self::default()
        }
    }

    /// Returns it as it stands in a stream.
    pub fn to_json(&self) -> String {
        // Strings and finite numbers, which always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns when the stage was done, in seconds since 1970.
    fn end(&self) -> f64 {
        self.start() + self.wall_s
    }

    fn start(&self) -> f64 {
        Duration::from_nanos(self.started_unix_ns).as_secs_f64()
    }
}

/// Returns seconds to a millionth.
pub fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

/// Ticks of the processor times that Linux tells, in a second; it is 100 for every program.
const TICKS: f64 = 100.0;

/// Returns the processor seconds that this process has taken, and the most bytes it had; zeros
/// where the system does not tell.
fn used() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in parentheses, may hold anything; user and system time are the 12th and
    // 13th field behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    (ticks / TICKS, kib.unwrap_or_default() * 1024)
}

/// Reports that are looked at, of as many stages.
const MAX_REPORTS: usize = 64;

/// The longest report that is looked at, in bytes.
const MAX_REPORT: usize = 64 << 10;

/// How much of a stream has come by, and what it says of the stages before.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Rows that are no reports.
    pub rows: u64,
    /// Rows that are chunks.
    pub chunks: u64,
    /// Files that rows are of.
    pub files: u64,
    /// The reports, the first stage's first.
    pub reports: Vec<Report>,
    /// Repository and path of the last row.
    last: Option<(String, String)>,
}

impl Count {
    /// Adds the rows of a batch. What claims to be a report and is none counts for nothing.
    pub fn add(&mut self, rows: &Rows<'_>) {
        for row in 0..rows.len() {
            if rows.op(row) == Op::Report {
                self.add_report(rows.content(row).unwrap_or_default());
                continue;
            }
            self.rows += 1;
            self.chunks += u64::from(rows.op(row) == Op::Put);
            let file = (rows.repo(row), rows.path(row));
            let last = self
                .last
                .as_ref()
                .map(|(repo, path)| (repo.as_str(), path.as_str()));
            if last != Some(file) {
                self.last = Some((file.0.to_owned(), file.1.to_owned()));
                self.files += 1;
            }
        }
    }

    fn add_report(&mut self, text: &str) {
        if self.reports.len() >= MAX_REPORTS || text.len() > MAX_REPORT {
            log::debug!("a report of {} bytes is not looked at", text.len());
            return;
        }
        match serde_json::from_str(text) {
            Ok(report) => self.reports.push(report),
            Err(error) => log::debug!("a report that is none: {error}"),
        }
    }
}

/// The flags for figures that every stage has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct MeterArgs {
    /// Write the figures of this stage and of those before it to FILE, as a JSON object
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,

    /// Write what each thread did when to FILE, for Perfetto, chrome://tracing,
    /// scripts/bench/timeline.py
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// The clock of a stage, and where its figures go besides the stream.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The clock.
    pub meter: Meter,
    stats: Option<Arc<(PathBuf, File)>>,
}

impl Figures {
    /// Starts the clock of a program, and makes the files, so that one that cannot be written is
    /// told before any work.
    ///
    /// # Errors
    /// [`Error::File`] naming it.
    pub fn start(args: &MeterArgs, tool: &str) -> Result<Self, Error> {
        let trace = args.trace.as_deref();
        let trace = trace.map(|path| Trace::create(path, tool)).transpose()?;
        let meter = Meter::start(trace);
        let stats = args.stats.as_ref().map(|path| match File::create(path) {
            Ok(file) => Ok(Arc::new((path.clone(), file))),
            Err(source) => Err(Error::File {
                path: path.clone(),
                source,
            }),
        });
        Ok(Self {
            meter,
            stats: stats.transpose()?,
        })
    }

    /// Writes the figures of all stages, the last of which is the process's own.
    ///
    /// The stream is sealed by now, so that what fails here is a warning.
    pub fn tell(&self, stages: &[Report]) {
        let Some((path, mut file)) = self.stats.as_deref().map(|(path, file)| (path, file)) else {
            return;
        };
        // Strings and finite numbers, which always serialise.
        let mut text = serde_json::to_vec_pretty(&Pipeline::of(stages)).unwrap_or_default();
        text.push(b'\n');
        if let Err(error) = file.write_all(&text) {
            log::warn!("--stats {}: {error}", path.display());
        }
    }

    /// Ends the trace, once nothing is left to be told.
    pub fn end(&self) {
        if let Err(error) = self.meter.end_trace() {
            log::warn!("--trace {error}");
        }
    }
}

/// What the reports of a pipeline's stages say together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pipeline<'a> {
    /// The stages, the first one first.
    pub stages: &'a [Report],
    /// Seconds in which at least one of them ran.
    pub wall_s: f64,
    /// How much of what could overlap did: 1 if the pipeline took as long as its longest stage, 0 if
    /// as long as all stages one after the other, less if it took longer than that.
    pub overlap_efficiency: Option<f64>,
    /// The stage that was busy for longest.
    pub bottleneck: Option<&'a str>,
}

impl<'a> Pipeline<'a> {
    /// Puts reports together.
    ///
    /// The efficiency is (S - W) / (S - L), of the sum S of the stages' busy times, the longest one
    /// L, and the whole time W; there is none of a single stage, or where the others did nothing.
    pub fn of(stages: &'a [Report]) -> Self {
        let wall_s = together(stages);
        let longest = stages
            .iter()
            .max_by(|one, other| one.busy_s.total_cmp(&other.busy_s));
        let sum: f64 = stages.iter().map(|stage| stage.busy_s).sum();
        let others = sum - longest.map_or(0.0, |stage| stage.busy_s);
        Self {
            stages,
            wall_s: (wall_s * 1e6).round() / 1e6,
            overlap_efficiency: (others > 0.0)
                .then(|| ((sum - wall_s) / others * 1e4).round() / 1e4),
            bottleneck: longest.map(|stage| stage.tool.as_str()),
        }
    }
}

/// Returns the seconds in which at least one of some stages ran: a stream may have been saved, and
/// lain there for long before the next stage took it.
fn together(stages: &[Report]) -> f64 {
    let mut times: Vec<(f64, f64)> = stages
        .iter()
        .map(|stage| (stage.start(), stage.end()))
        .collect();
    times.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut until = f64::NEG_INFINITY;
    let mut sum = 0.0;
    for (start, end) in times {
        sum += (end - start.max(until)).max(0.0);
        until = until.max(end);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(tool: &str, start_s: u64, wall_s: f64, busy_s: f64) -> Report {
        Report {
            tool: tool.to_owned(),
            started_unix_ns: (1_700_000_000 + start_s) * 1_000_000_000,
            wall_s,
            busy_s,
            ..Report::default()
        }
    }

    #[test]
    fn overlap_is_what_was_saved_of_what_could_be() {
        // Start, whole time and busy time of each stage; whole time and efficiency of all.
        for (stages, wall, efficiency) in [
            // Everything beside the longest one.
            (
                vec![(0, 4.0, 2.0), (0, 10.0, 10.0), (0, 10.0, 3.0)],
                10.0,
                Some(1.0),
            ),
            // One after the other.
            (
                vec![(0, 2.0, 2.0), (2, 10.0, 10.0), (12, 3.0, 3.0)],
                15.0,
                Some(0.0),
            ),
            // (15 - 11) / (15 - 10)
            (
                vec![(0, 4.0, 2.0), (0, 10.5, 10.0), (1, 10.0, 3.0)],
                11.0,
                Some(0.8),
            ),
            // The same, but an hour lies between the first two.
            (
                vec![(0, 2.0, 2.0), (3600, 10.0, 10.0), (3610, 3.0, 3.0)],
                15.0,
                Some(0.0),
            ),
            // Longer than all of it: what stands between them was slow.
            (vec![(0, 1.0, 1.0), (0, 5.0, 1.0)], 5.0, Some(-3.0)),
            (vec![(0, 10.0, 10.0)], 10.0, None),
            (vec![(0, 10.0, 10.0), (0, 10.0, 0.0)], 10.0, None),
        ] {
            let reports: Vec<Report> = stages
                .iter()
                .map(|(start, wall, busy)| stage("x", *start, *wall, *busy))
                .collect();
            let all = Pipeline::of(&reports);
            assert_eq!(all.wall_s, wall);
            match (all.overlap_efficiency, efficiency) {
                (Some(found), Some(expected)) => {
                    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
                }
                (found, expected) => assert_eq!(found, expected),
            }
        }
        // A stage of somebody else's that does not tell when it ran.
        let mut reports = [stage("a", 0, 4.0, 4.0), stage("b", 0, 5.0, 5.0)];
        reports[0].started_unix_ns = 0;
        assert!(Pipeline::of(&reports).wall_s <= 9.0);
        let none = Pipeline::of(&[]);
        assert_eq!((none.wall_s, none.bottleneck), (0.0, None));
    }

    #[test]
    fn the_bottleneck_was_busy_for_longest() {
        let reports = [stage("a", 0, 9.0, 1.0), stage("b", 0, 9.0, 8.0)];
        assert_eq!(Pipeline::of(&reports).bottleneck, Some("b"));
    }

    #[test]
    fn reports_of_others_lack_and_add_what_they_like() {
        let text = r#"{"tool":"mine","gpu_watts":70}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!((report.tool.as_str(), report.wall_s), ("mine", 0.0));
        let again: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(again["gpu_watts"], 70);
        assert!(again.get("tokens").is_none());
    }

    #[test]
    fn the_system_tells_what_a_process_uses() {
        let (cpu, peak) = used();
        assert!(cpu >= 0.0 && peak > 1 << 20, "{cpu} {peak}");
    }
}
