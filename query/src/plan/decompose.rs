//! The several questions that one may ask, by rules.
//!
//! A question is parted where its sentences end, where "and" or "or" follows a comma or is followed
//! by a word that begins a question; and a comparison is parted into what is compared. Other things
//! that are named side by side ("parsing and formatting of dates") stay together: code for the one is
//! mostly beside code for the other, and asking for each finds less
//! (scripts/bench/results/ranking.md). A part that only points back ("and where is it stored?")
//! gets the words that it points to.

use crate::rank::is_stop_word;

/// Parts of a question at most.
pub(super) const MOST: usize = 4;

/// Words that begin a question.
const ASKING: [&str; 24] = [
    "are", "can", "could", "did", "do", "does", "find", "has", "have", "how", "is", "list",
    "should", "show", "tell", "was", "were", "what", "when", "where", "which", "who", "whose",
    "why",
];

/// Words that stand for something that was named before.
const POINTING: [&str; 8] = [
    "it", "its", "that", "their", "them", "these", "they", "this",
];

/// Words between things that are compared.
const JOINING: [&str; 8] = ["&", "and", "or", "plus", "to", "versus", "vs", "with"];

/// Returns the questions that a question is made of; nothing if it is one.
pub(super) fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for sentence in sentences(text) {
        for clause in clauses(&sentence) {
            let clause = match parts.first() {
                Some(first) if points_back(&clause) => format!("{clause} {}", says(first)),
                _ => clause,
            };
            parts.extend(compared(&clause).unwrap_or_else(|| vec![clause]));
        }
    }
    parts.retain(|part| !says(part).is_empty());
    parts.dedup();
    parts.truncate(MOST);
    match parts.len() {
        0 | 1 => Vec::new(),
        _ => parts,
    }
}

/// Parts a text where sentences end: at `?`, `;` and new lines, and at a full stop before a space.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_before_space = chars.peek().is_none_or(|next| next.is_whitespace());
        match c {
            '?' | '.' | '!' if is_before_space => sentences.push(String::new()),
            ';' | '\n' => sentences.push(String::new()),
            c => sentences
                .last_mut()
                .into_iter()
                .for_each(|last| last.push(c)),
        }
    }
    let trimmed = sentences.iter().map(|sentence| sentence.trim().to_owned());
    trimmed.filter(|sentence| !sentence.is_empty()).collect()
}

/// Words that begin or are within comparisons.
const COMPARING: [&str; 7] = [
    "between",
    "compare",
    "compared",
    "differ",
    "difference",
    "versus",
    "vs",
];

/// Parts a sentence before each "and how", ", where" and ", and".
fn clauses(sentence: &str) -> Vec<String> {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let mut clauses: Vec<Vec<&str>> = vec![Vec::new()];
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).map(|next| bare(next));
        let asks_next = next.is_some_and(|next| ASKING.contains(&next.as_str()));
        let is_after_comma = at > 0 && words[at - 1].ends_with(',');
        let joins = matches!(bare(word).as_str(), "&" | "and" | "or");
        let is_joint = joins && (asks_next || is_after_comma);
        if is_joint {
            clauses.push(Vec::new());
            continue;
        }
        clauses
            .last_mut()
            .into_iter()
            .for_each(|last| last.push(word));
        if word.ends_with(',') && asks_next {
            clauses.push(Vec::new());
        }
    }
    let joined = clauses.iter().map(|words| words.join(" "));
    let trimmed = joined.map(|clause| clause.trim_end_matches(',').to_owned());
    trimmed.filter(|clause| !clause.is_empty()).collect()
}

/// Makes a question of each of two things that a clause compares; nothing if it does not.
fn compared(clause: &str) -> Option<Vec<String>> {
    let words: Vec<&str> = clause.split_whitespace().collect();
    if !words
        .iter()
        .any(|word| COMPARING.contains(&bare(word).as_str()))
    {
        return None;
    }
    let joint = words
        .iter()
        .position(|word| JOINING.contains(&bare(word).as_str()))?;
    let is_about = |word: &&&str| !COMPARING.contains(&bare(word).as_str());
    let left: Vec<&str> = words[..joint].iter().filter(is_about).copied().collect();
    let right: Vec<&str> = words[joint + 1..]
        .iter()
        .filter(is_about)
        .copied()
        .collect();
    let says_enough = |words: &[&str]| words.iter().any(|word| !is_stop_word(&bare(word)));
    (says_enough(&left) && says_enough(&right)).then(|| vec![left.join(" "), right.join(" ")])
}

/// Tells whether a clause says little but to point at what was named before.
fn points_back(clause: &str) -> bool {
    let points = clause
        .split_whitespace()
        .any(|word| POINTING.contains(&bare(word).as_str()));
    points && says(clause).split_whitespace().count() <= 2
}

/// Returns the words of a clause that say what it is about.
fn says(clause: &str) -> String {
    let words = clause.split_whitespace();
    let words: Vec<&str> = words.filter(|word| !is_stop_word(&bare(word))).collect();
    words.join(" ")
}

/// Returns a word in lower case, without the marks around it.
fn bare(word: &str) -> String {
    match word {
        "&" => word.to_owned(),
        _ => word
            .trim_matches(|c: char| !c.is_alphanumeric())
            .to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_parted_into_those_that_it_asks() {
        for (text, expected) in [
            ("where are failed uploads retried?", &[][..]),
            (
                "how are uploads retried, and where are sessions stored?",
                &["how are uploads retried", "where are sessions stored"],
            ),
            (
                "How is a date parsed? Where is it printed?",
                &["How is a date parsed", "Where is it printed date parsed"],
            ),
            (
                "open the door; close the window",
                &["open the door", "close the window"],
            ),
            (
                "difference between Session and Connection",
                &["Session", "Connection"],
            ),
            (
                "retry of uploads, and session storage",
                &["retry of uploads", "session storage"],
            ),
            ("parsing and formatting of dates", &[]),
            ("what is it and why", &[]),
            ("call index.open and", &[]),
            ("", &[]),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
        let many = "how a? how b? how c? how d? how e? how f?";
        assert_eq!(parts(many).len(), MOST);
    }
}
