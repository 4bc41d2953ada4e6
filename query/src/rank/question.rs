//! What kind of question is asked, and what it asks for.

use std::collections::HashSet;

use super::words::{is_stop_word, stems, words};

/// What a question looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A bare or qualified name: `retry_upload`, `Index::open`.
    Symbol,
    /// A path, or the end of one: `src/upload.rs`.
    Path,
    /// A piece of code.
    Code,
    /// Words with names among them: `how does Index.open fail`.
    Mixed,
    /// Words.
    Words,
}

/// A question, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    text: String,
    kind: Kind,
    /// Stems of the words that say what is looked for, each once.
    stems: Vec<String>,
    /// The names that are asked for, as typed, without their qualification.
    names: Vec<String>,
}

impl Question {
    /// Takes a question apart.
    pub(crate) fn new(text: &str) -> Self {
        let text = text.trim();
        let kind = Kind::of(text);
        let mut stems: Vec<String> = Vec::new();
        let all = words(text);
        let says = |stop: bool| {
            let mut seen = HashSet::new();
            all.iter()
                .filter(|word| stop || !is_stop_word(&text[word.start..word.end].to_lowercase()))
                .filter(|word| seen.insert(word.stem.clone()))
                .map(|word| word.stem.clone())
                .collect::<Vec<_>>()
        };
        stems.extend(says(kind == Kind::Symbol));
        if stems.is_empty() {
            stems = says(true);
        }
        let names = match kind {
            Kind::Symbol => text.split_whitespace().filter_map(plain_name).collect(),
            Kind::Mixed => text
                .split_whitespace()
                .filter(|word| is_name(word))
                .filter_map(plain_name)
                .collect(),
            Kind::Path | Kind::Code | Kind::Words => Vec::new(),
        };
        Self {
            text: text.to_owned(),
            kind,
            stems,
            names,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the stems of the words that say what is looked for.
    pub(crate) fn stems(&self) -> &[String] {
        &self.stems
    }

    /// Returns the plain names that are asked for.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Tells whether tests or examples are looked for.
    pub(crate) fn is_about_tests(&self) -> bool {
        let about = ["test", "exampl", "spec", "benchmark", "fixtur"];
        self.kind == Kind::Path || self.stems.iter().any(|stem| about.contains(&stem.as_str()))
    }

    /// Returns what is searched for by words: the question without what says nothing.
    pub(crate) fn search_words(&self) -> String {
        let mut kept: Vec<&str> = Vec::new();
        for word in self.text.split_whitespace() {
            let bare = word
                .trim_matches(|c: char| !c.is_alphanumeric())
                .to_lowercase();
            if !is_stop_word(&bare) {
                kept.push(word);
            }
        }
        match kept.is_empty() {
            true => self.text.clone(),
            false => kept.join(" "),
        }
    }

    /// Returns how many of the question's words are in a line.
    pub(crate) fn words_in(&self, line: &str) -> usize {
        let line: HashSet<String> = stems(line).into_iter().collect();
        self.stems
            .iter()
            .filter(|stem| line.contains(*stem))
            .count()
    }

    /// Returns where words of the question are in a line.
    pub(crate) fn spans_in(&self, line: &str) -> Vec<(usize, usize)> {
        let asked = words(line)
            .into_iter()
            .filter(|word| self.stems.contains(&word.stem));
        asked.map(|word| (word.start, word.end)).collect()
    }
}

impl Kind {
    fn of(text: &str) -> Self {
        if is_code(text) {
            return Self::Code;
        }
        let mut typed = text.split_whitespace();
        if let (Some(only), None) = (typed.next(), typed.next()) {
            return match only {
                only if is_path(only) => Self::Path,
                only if only
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_:.$#<>()!?".contains(c)) =>
                {
                    Self::Symbol
                }
                _ => Self::Words,
            };
        }
        match text.split_whitespace().any(is_name) {
            true => Self::Mixed,
            false => Self::Words,
        }
    }
}

/// Tells whether a word looks like a path: `src/upload`, `upload.rs`.
fn is_path(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    let has_ending = name.rsplit_once('.').is_some_and(|(stem, ending)| {
        !stem.is_empty()
            && (1..=4).contains(&ending.len())
            && ending.chars().all(|c| c.is_ascii_lowercase())
    });
    // A method may look like a file's ending: `map.len` is taken for a symbol without a folder.
    let known = [
        "rs", "py", "js", "ts", "go", "java", "kt", "rb", "php", "cs", "cpp", "cc", "c", "h",
        "hpp", "swift", "scala", "lua", "ex", "exs", "hs", "ml", "jl", "r", "zig", "sh", "sql",
        "md", "toml", "yaml", "yml", "json", "html", "css", "tsx", "jsx", "vue", "txt", "mjs",
        "dart",
    ];
    word.contains('/') && !word.contains("//")
        || has_ending
            && name
                .rsplit('.')
                .next()
                .is_some_and(|ending| known.contains(&ending))
}

/// Tells whether a text is a piece of code: lines, or the marks of statements.
fn is_code(text: &str) -> bool {
    let marks = text.chars().filter(|c| "{};=()[]".contains(*c)).count();
    let words = text.split_whitespace().count();
    (text.contains('\n') && marks >= 2)
        || (words > 1 && marks >= 4 && marks * 12 >= text.chars().count())
}

/// Tells whether a word of a sentence looks like a name in code.
fn is_name(word: &str) -> bool {
    let quoted = word.len() > 2 && word.starts_with('`');
    let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_' && c != ')');
    let inner = word.trim_matches('_');
    let is_call = word.ends_with("()");
    let has_parts = inner.contains('_') || inner.contains("::");
    let qualified = inner
        .split_once('.')
        .is_some_and(|(a, b)| a.len() > 1 && b.chars().next().is_some_and(char::is_alphabetic));
    let mut before = ' ';
    let turns = inner.chars().any(|c| {
        let turn = c.is_uppercase() && before.is_lowercase();
        before = c;
        turn
    });
    quoted || is_call || has_parts || qualified || turns
}

/// Returns the last name of a qualified one, without what is around it.
fn plain_name(word: &str) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || "_$!?".contains(c);
    let word = word.trim_matches(|c: char| !is_part(c) || c == '?' || c == '!');
    let word = word.split(['(', '<']).next().unwrap_or_default();
    let name = word
        .rsplit(|c: char| !is_part(c))
        .next()
        .unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_of_kinds() {
        for (text, kind, names) in [
            ("retry_upload", Kind::Symbol, &["retry_upload"][..]),
            ("Index::open", Kind::Symbol, &["open"]),
            ("foo.bar()", Kind::Symbol, &["bar"]),
            ("Session", Kind::Symbol, &["Session"]),
            ("src/upload.rs", Kind::Path, &[]),
            ("upload.rs", Kind::Path, &[]),
            ("where are uploads retried?", Kind::Words, &[]),
            ("retry upload", Kind::Words, &[]),
            ("how does Index.open fail", Kind::Mixed, &["open"]),
            ("what calls retry_upload?", Kind::Mixed, &["retry_upload"]),
            ("the `Table` of columns", Kind::Mixed, &["Table"]),
            ("for x in list: print(x[0]); y = f(x)", Kind::Code, &[]),
            ("", Kind::Words, &[]),
        ] {
            let question = Question::new(text);
            assert_eq!(question.kind(), kind, "{text}");
            assert_eq!(question.names(), names, "{text}");
        }
    }

    #[test]
    fn what_says_nothing_is_not_searched_for() {
        let question = Question::new("where are failed uploads retried?");
        assert_eq!(question.search_words(), "failed uploads retried?");
        assert_eq!(question.stems(), ["fail", "upload", "retry"]);
        assert_eq!(Question::new("how to").search_words(), "how to");
        assert_eq!(Question::new("this").stems(), ["this"]);
    }
}
