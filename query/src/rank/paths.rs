//! What a path has to do with a question.

use std::collections::HashSet;

use super::question::Question;
use super::words::stems;

/// Folders of tests.
const TEST_FOLDERS: [&str; 14] = [
    "test",
    "tests",
    "testing",
    "spec",
    "specs",
    "__tests__",
    "test_suite",
    "testdata",
    "fixture",
    "fixtures",
    "bench",
    "benches",
    "benchmark",
    "benchmarks",
];

/// How a path fits a question.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Match {
    /// The share of the file name's words that are asked for.
    pub(super) name_share: f32,
    /// Whether all of them are.
    pub(super) is_whole_name: bool,
    /// The share of the question's words that are in the folders' names.
    pub(super) folder_share: f32,
    /// Whether the file is named as a name that is asked for.
    pub(super) is_named: bool,
    /// The share of the path that is asked for which the path ends with.
    pub(super) end_share: f32,
    /// Whether it is a test.
    pub(super) is_test: bool,
}

impl Match {
    /// Compares a path with the stems of a question's words, and its names.
    pub(super) fn of(path: &str, question: &Question, asked: &HashSet<&str>) -> Self {
        let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
        let name = name(file);
        let name_stems: HashSet<String> = stems(name).into_iter().collect();
        let shared = name_stems
            .iter()
            .filter(|stem| asked.contains(stem.as_str()))
            .count();
        let folder_stems: HashSet<String> = stems(folders).into_iter().collect();
        let in_folders = asked
            .iter()
            .filter(|stem| folder_stems.contains(**stem))
            .count();
        let bare = bare(name);
        Self {
            name_share: share(shared, name_stems.len()),
            is_whole_name: shared > 0 && shared == name_stems.len(),
            folder_share: share(in_folders, asked.len()),
            is_named: question
                .names()
                .iter()
                .any(|asked| self::bare(asked) == bare),
            end_share: end_share(path, question.text()),
            is_test: is_test(folders, name),
        }
    }
}

fn share(part: usize, all: usize) -> f32 {
    part as f32 / all.max(1) as f32
}

/// Returns a file's name without its ending.
fn name(file: &str) -> &str {
    match file.rfind('.') {
        Some(dot) if dot > 0 => &file[..dot],
        _ => file,
    }
}

/// Returns a name as it is whatever the style in which its words are joined.
fn bare(name: &str) -> String {
    let letters = name.chars().filter(|c| !"_-".contains(*c));
    letters.flat_map(char::to_lowercase).collect()
}

/// Returns the share of the parts of a path that is asked for with which a path ends.
fn end_share(path: &str, asked: &str) -> f32 {
    let asked: Vec<&str> = asked.trim_matches('/').split('/').collect();
    let equal = path
        .rsplit('/')
        .zip(asked.iter().rev())
        .take_while(|(a, b)| a == *b)
        .count();
    share(equal, asked.len())
}

/// Tells whether a file is a test, by the customs of the languages.
fn is_test(folders: &str, name: &str) -> bool {
    let lower = name.to_lowercase();
    folders
        .split('/')
        .any(|folder| TEST_FOLDERS.contains(&folder))
        || lower == "conftest"
        || lower.starts_with("test_")
        || ["_test", "_tests", "_spec", ".test", ".spec"]
            .iter()
            .any(|end| lower.ends_with(end))
        || ["Test", "Tests", "Spec"]
            .iter()
            .any(|end| name.ends_with(end) && name.len() > end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(path: &str, question: &str) -> Match {
        let question = Question::new(question);
        let asked = question.stems().iter().map(String::as_str).collect();
        Match::of(path, &question, &asked)
    }

    #[test]
    fn names_and_folders_are_compared_by_words() {
        let found = matched(
            "net/http/retry_policy.rs",
            "policies for retrying HTTP requests",
        );
        assert!((found.name_share - 1.0).abs() < 1e-6 && found.is_whole_name);
        assert!((found.folder_share - 0.25).abs() < 1e-6);
        assert!(!found.is_named && !found.is_test);
        let found = matched("src/RetryPolicy.java", "retry_policy");
        assert!(found.is_named);
        let found = matched("src/net/upload.rs", "net/upload.rs");
        assert!((found.end_share - 1.0).abs() < 1e-6);
        assert!((matched("src/upload.rs", "net/upload.rs").end_share - 0.5).abs() < 1e-6);
    }

    #[test]
    fn tests_are_known_by_their_places_and_names() {
        for (path, expected) in [
            ("tests/a.rs", true),
            ("src/test_a.py", true),
            ("src/a_test.go", true),
            ("src/ATest.java", true),
            ("src/a.spec.ts", true),
            ("src/Test.java", false),
            ("src/contest.rs", false),
            ("src/latest/a.rs", false),
        ] {
            assert_eq!(matched(path, "x").is_test, expected, "{path}");
        }
    }
}
