//! The words of questions, names and paths, in a form in which they can be compared.

/// A word of a text, with its place there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Its stem, in lower case.
    pub(crate) stem: String,
    /// Its first byte.
    pub(crate) start: usize,
    /// The byte after its last one.
    pub(crate) end: usize,
}

/// Words of questions that code has no use for, or another one.
const STOP_WORDS: [&str; 86] = [
    "a",
    "about",
    "all",
    "also",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "been",
    "between",
    "both",
    "but",
    "by",
    "can",
    "code",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "done",
    "each",
    "every",
    "for",
    "from",
    "get",
    "gets",
    "give",
    "had",
    "has",
    "have",
    "how",
    "i",
    "if",
    "implement",
    "implementation",
    "implemented",
    "implements",
    "in",
    "into",
    "is",
    "it",
    "its",
    "like",
    "logic",
    "made",
    "make",
    "makes",
    "me",
    "my",
    "of",
    "on",
    "onto",
    "or",
    "other",
    "our",
    "should",
    "show",
    "so",
    "some",
    "such",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "this",
    "to",
    "used",
    "uses",
    "using",
    "via",
    "was",
    "we",
    "what",
    "when",
    "where",
    "which",
    "who",
    "why",
];

/// Tells whether a word of a question says nothing of what is looked for.
pub(crate) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok() || ["will", "with", "would", "you"].contains(&word)
}

/// Returns the words of a text: identifiers are parted where their letters change from small to
/// large and at what is neither letter nor digit.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    let mut before = ' ';
    let mut chars = text.char_indices().peekable();
    let mut push = |start: usize, end: usize| {
        words.push(Word {
            stem: stem(&text[start..end].to_lowercase()),
            start,
            end,
        });
    };
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map_or(' ', |(_, next)| *next);
        // `HTTPServer` is HTTP and Server.
        let is_turn = c.is_uppercase()
            && (before.is_lowercase()
                || before.is_numeric()
                || (before.is_uppercase() && next.is_lowercase()));
        if let Some(from) = start.filter(|_| !c.is_alphanumeric() || is_turn) {
            push(from, at);
            start = None;
        }
        if c.is_alphanumeric() && start.is_none() {
            start = Some(at);
        }
        before = c;
    }
    if let Some(from) = start {
        push(from, text.len());
    }
    words
}

/// Returns the stems of a text's words.
pub(crate) fn stems(text: &str) -> Vec<String> {
    words(text).into_iter().map(|word| word.stem).collect()
}

/// Returns what the forms of an English word have in common, roughly: it only has to be the same
/// for `retry`, `retries` and `retried`.
pub(crate) fn stem(word: &str) -> String {
    if !word.is_ascii() || word.len() < 4 || word.bytes().any(|b| b.is_ascii_digit()) {
        return word.to_owned();
    }
    let cut = |ending: &str, least: usize| {
        let stem = word.strip_suffix(ending)?;
        (stem.len() >= least).then_some(stem)
    };
    for (ending, least, put) in [
        ("ies", 2, "y"),
        ("ied", 2, "y"),
        ("ations", 5, ""),
        ("ation", 5, ""),
        ("ators", 5, ""),
        ("ator", 5, ""),
        ("ating", 5, ""),
        ("ates", 5, ""),
        ("ated", 5, ""),
        ("ate", 5, ""),
        ("ions", 4, ""),
        ("ion", 4, ""),
        ("ings", 3, ""),
        ("ing", 3, ""),
        ("ers", 4, ""),
        ("er", 4, ""),
        ("sses", 2, "ss"),
        ("es", 4, ""),
        ("ed", 3, ""),
        ("e", 3, ""),
    ] {
        if let Some(stem) = cut(ending, least) {
            return format!("{}{put}", undoubled(stem));
        }
    }
    match word.strip_suffix('s') {
        Some(stem) if !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

/// Makes `runn` of running the `run` that it comes from.
fn undoubled(stem: &str) -> &str {
    let bytes = stem.as_bytes();
    match bytes {
        [.., _, a, b] if a == b && !b"aeiouls".contains(b) => &stem[..stem.len() - 1],
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_parted() {
        for (text, expected) in [
            ("parseHTTPRequest", &["pars", "http", "request"][..]),
            ("snake_case2 x", &["snak", "case2", "x"]),
            ("Index::open()", &["index", "open"]),
            ("utf8Größe", &["utf8", "größe"]),
            ("  ", &[]),
        ] {
            assert_eq!(stems(text), expected, "{text}");
        }
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for forms in [
            &["retry", "retries", "retried"][..],
            &["upload", "uploads", "uploaded", "uploading", "uploader"],
            &["parse", "parses", "parser", "parsing", "parsed"],
            &["serialize", "serialization", "serializer", "serializers"],
            &["validate", "validation", "validator", "validating"],
            &["connect", "connection", "connections"],
            &["run", "running"],
            &["class", "classes"],
        ] {
            let stems: Vec<String> = forms.iter().map(|form| stem(form)).collect();
            assert!(
                stems.iter().all(|stem| *stem == stems[0]),
                "{forms:?} {stems:?}"
            );
        }
        assert_ne!(stem("status"), stem("state"));
    }

    #[test]
    fn stop_words_are_in_order() {
        assert!(STOP_WORDS.is_sorted());
        assert!(is_stop_word("where") && is_stop_word("with") && !is_stop_word("upload"));
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = "a größeHTTP";
        let found: Vec<&str> = words(text)
            .iter()
            .map(|word| &text[word.start..word.end])
            .collect();
        assert_eq!(found, ["a", "größe", "HTTP"]);
    }
}
