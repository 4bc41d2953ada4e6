//! The numbers that a model cites by, replaced by places as its answer comes.

/// Characters of brackets with numbers in them, at most.
const LONGEST: usize = 40;

/// Replaces `[2]` and `[1, 3]` by the places of these numbers.
#[derive(Debug)]
pub(super) struct Citing<'a> {
    places: Vec<&'a str>,
    /// A bracket that is not closed yet, and what stands in it.
    held: String,
    cited: Vec<usize>,
    unknown: Vec<String>,
}

impl<'a> Citing<'a> {
    /// Takes the places of the numbers from 1.
    pub(super) fn new(places: Vec<&'a str>) -> Self {
        Self {
            places,
            held: String::new(),
            cited: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Returns a further piece of the text with its numbers replaced, as far as they are whole.
    pub(super) fn replace(&mut self, text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            let is_held = !self.held.is_empty();
            match c {
                '[' => out.push_str(&std::mem::replace(&mut self.held, "[".to_owned())),
                ']' if is_held => {
                    let inside = std::mem::take(&mut self.held);
                    out.push_str(&self.places_of(&inside[1..]));
                }
                c if is_held => {
                    self.held.push(c);
                    if !(c.is_ascii_digit() || ", ".contains(c)) || self.held.len() > LONGEST {
                        out.push_str(&std::mem::take(&mut self.held));
                    }
                }
                c => out.push(c),
            }
        }
        out
    }

    /// Returns what is still held back.
    pub(super) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Returns the numbers that were cited, from 0, each once.
    pub(super) fn cited(&self) -> &[usize] {
        &self.cited
    }

    /// Returns the numbers that were cited and that nothing has.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Returns the places of the numbers in a bracket.
    fn places_of(&mut self, inside: &str) -> String {
        let numbers: Vec<&str> = inside.split(',').map(str::trim).collect();
        if numbers.iter().any(|number| number.is_empty()) {
            return format!("[{inside}]");
        }
        let mut shown = Vec::new();
        for number in numbers {
            let at = number.parse().ok().and_then(|n: usize| n.checked_sub(1));
            match at.filter(|at| *at < self.places.len()) {
                Some(at) => {
                    if !self.cited.contains(&at) {
                        self.cited.push(at);
                    }
                    shown.push(self.places[at]);
                }
                None => {
                    self.unknown.push(number.to_owned());
                    shown.push("?");
                }
            }
        }
        format!("[{}]", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_places_however_they_are_cut() {
        let text = "It retries [1]. See [2, 1] and a[i], [x](y), [ ], [9], [12";
        let expected =
            "It retries [a.rs:1-2]. See [b.rs:3-4, a.rs:1-2] and a[i], [x](y), [ ], [?], [12";
        for size in 1..text.len() {
            let mut citing = Citing::new(vec!["a.rs:1-2", "b.rs:3-4"]);
            let mut out = String::new();
            for piece in text.as_bytes().chunks(size) {
                out.push_str(&citing.replace(std::str::from_utf8(piece).unwrap()));
            }
            out.push_str(&citing.rest());
            assert_eq!(out, expected);
            assert_eq!(citing.cited(), [0, 1]);
            assert_eq!(citing.unknown(), ["9"]);
        }
    }
}
