//! What the last stage says of all of them: what each did with its time, and which one decided.

use cs_common::progress::number;
use cs_common::report::{Pipeline, Report};

/// Returns a table of the stages and a sentence about them.
///
/// Rates are those of the time in which a stage worked: what it would do alone.
pub(crate) fn lines(stages: &[Report]) -> Vec<String> {
    let all = Pipeline::of(stages);
    let mut rows = vec![
        ["stage", "busy", "in", "out", "CPU", "memory"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows[0].extend(["files/min", "chunks/s", "tokens/s"].map(str::to_owned));
    rows.extend(stages.iter().map(cells));
    let mut lines = table(&rows);
    lines.extend(sentence(&all));
    lines
}

fn cells(stage: &Report) -> Vec<String> {
    let rate = |count: u64, of_s: f64| match stage.busy_s > 0.0 {
        true => number((count as f64 * of_s / stage.busy_s) as u64),
        false => "-".to_owned(),
    };
    vec![
        stage.tool.clone(),
        percent(stage.busy_s, stage.wall_s),
        percent(stage.wait_in_s, stage.wall_s),
        percent(stage.wait_out_s, stage.wall_s),
        format!("{:.1} s", stage.cpu_s),
        format!("{} MB", stage.peak_rss_bytes / 1_000_000),
        rate(stage.files, 60.0),
        rate(stage.chunks, 1.0),
        stage
            .tokens
            .map_or_else(|| "-".to_owned(), |tokens| rate(tokens, 1.0)),
    ]
}

/// Returns lines of columns, the first one's cells to the left, the others' to the right.
fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(at, (cell, width))| match at {
                0 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ")
        })
        .collect()
}

/// Says how well the stages overlapped, and what would help; nothing of a single one.
fn sentence(all: &Pipeline<'_>) -> Option<String> {
    let efficiency = all.overlap_efficiency?;
    let slowest = all
        .stages
        .iter()
        .find(|stage| Some(stage.tool.as_str()) == all.bottleneck)?;
    let sum: f64 = all.stages.iter().map(|stage| stage.busy_s).sum();
    let overlap = format!(
        "overlap efficiency {}: {sum:.1} s of work in {:.1} s",
        percent(efficiency, 1.0),
        all.wall_s,
    );
    let busy = percent(slowest.busy_s, all.wall_s);
    let tool = &slowest.tool;
    Some(match advice(slowest) {
        _ if slowest.busy_s < all.wall_s / 2.0 => format!(
            "{overlap}; no stage was busy for half of the time ({tool} for {busy}): what is between them, or started late, held them up"
        ),
        Some(advice) => format!("{overlap}; {tool} was busy {busy} of it: {advice} would help"),
        None => format!("{overlap}; {tool} was busy {busy} of it"),
    })
}

/// Returns what would make a stage faster.
fn advice(stage: &Report) -> Option<&'static str> {
    match (stage.tool.as_str(), stage.device.as_deref()) {
        ("cs-parse", _) => Some("more cores, or --since to parse only what changed,"),
        ("cs-embed", Some("service")) => Some("a faster service, or more --concurrency,"),
        ("cs-embed", Some(card)) if card.starts_with("cuda") => Some("a faster or a second card"),
        ("cs-embed", _) => Some("a faster model or a GPU"),
        // Indexes are made by the processors, rows are written by the disk.
        ("cs-store", _) if stage.cpu_s >= stage.busy_s / 2.0 => {
            Some("more cores, or fewer new rows at a time (--since),")
        }
        ("cs-store", _) => Some("a faster disk, or fewer and larger commits (--step-rows),"),
        _ => None,
    }
}

/// Returns a share in percent; less than nothing is nothing.
pub(crate) fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 { part / whole } else { 0.0 };
    format!("{:.0}%", share.max(0.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(tool: &str, busy_s: f64) -> Report {
        Report {
            tool: tool.to_owned(),
            started_unix_ns: 1_700_000_000_000_000_000,
            wall_s: 10.0,
            busy_s,
            wait_in_s: 10.0 - busy_s,
            chunks: 1_000,
            files: 100,
            ..Report::default()
        }
    }

    #[test]
    fn the_slowest_stage_and_what_would_help_are_told() {
        let mut stages = [
            stage("cs-parse", 1.0),
            stage("cs-embed", 9.7),
            stage("jq", 0.0),
        ];
        stages[1].tokens = Some(97_000);
        let told = lines(&stages);
        assert_eq!(
            told,
            [
                "stage     busy    in  out    CPU  memory  files/min  chunks/s  tokens/s",
                "cs-parse   10%   90%   0%  0.0 s    0 MB      6,000     1,000         -",
                "cs-embed   97%    3%   0%  0.0 s    0 MB        618       103    10,000",
                "jq          0%  100%   0%  0.0 s    0 MB          -         -         -",
                "overlap efficiency 70%: 10.7 s of work in 10.0 s; cs-embed was busy 97% of it: a faster model or a GPU would help",
            ]
        );
        stages[1].device = Some("service".to_owned());
        assert!(lines(&stages)[4].contains("--concurrency"));

        let mut stages = [stage("cs-embed", 1.0), stage("cs-store", 9.0)];
        assert!(lines(&stages)[3].contains("a faster disk"));
        stages[1].cpu_s = 8.0;
        assert!(lines(&stages)[3].contains("more cores"));
    }

    #[test]
    fn nobody_is_blamed_where_none_was_busy() {
        let told = lines(&[stage("cs-parse", 1.0), stage("cs-store", 2.0)]);
        assert!(told[3].contains("efficiency 0%"), "{told:?}");
        assert!(told[3].contains("no stage was busy"), "{told:?}");
        assert_eq!(lines(&[stage("cs-store", 9.0)]).len(), 2);
    }
}
