//! Another wording of a question, by rules: what code would say.
//!
//! Code names things by base forms and abbreviations ("retry", "cfg"), where people write "retried"
//! and "configuration": the words that are searched for get both. What is embedded stays as it is.

use crate::rank::is_stop_word;

/// What programmers write short, and what it stands for.
const SHORT: [(&str, &str); 58] = [
    ("addr", "address"),
    ("alloc", "allocate"),
    ("arg", "argument"),
    ("args", "arguments"),
    ("async", "asynchronous"),
    ("attr", "attribute"),
    ("auth", "authentication"),
    ("authz", "authorization"),
    ("buf", "buffer"),
    ("calc", "calculate"),
    ("cfg", "configuration"),
    ("char", "character"),
    ("cmd", "command"),
    ("cmp", "compare"),
    ("col", "column"),
    ("concat", "concatenate"),
    ("config", "configuration"),
    ("conn", "connection"),
    ("ctx", "context"),
    ("db", "database"),
    ("decl", "declaration"),
    ("def", "define"),
    ("del", "delete"),
    ("deps", "dependencies"),
    ("dest", "destination"),
    ("dict", "dictionary"),
    ("dir", "directory"),
    ("dirs", "directories"),
    ("doc", "documentation"),
    ("env", "environment"),
    ("err", "error"),
    ("eval", "evaluate"),
    ("exec", "execute"),
    ("expr", "expression"),
    ("ext", "extension"),
    ("fmt", "format"),
    ("impl", "implementation"),
    ("info", "information"),
    ("init", "initialize"),
    ("iter", "iterate"),
    ("len", "length"),
    ("lib", "library"),
    ("max", "maximum"),
    ("mem", "memory"),
    ("min", "minimum"),
    ("msg", "message"),
    ("mut", "mutable"),
    ("num", "number"),
    ("param", "parameter"),
    ("params", "parameters"),
    ("pkg", "package"),
    ("proc", "process"),
    ("ptr", "pointer"),
    ("recv", "receive"),
    ("regex", "expression"),
    ("repo", "repository"),
    ("spec", "specification"),
    ("temp", "temporary"),
];

/// Returns what else than its own words a question is searched for by: base forms, and what is
/// written short in code or stands for it.
pub(super) fn further_words(words: &str) -> Vec<String> {
    let own: Vec<String> = words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut found: Vec<String> = Vec::new();
    for word in &own {
        let forms = bases(word);
        let is_form = |long: &str| word == long || forms.iter().any(|form| form == long);
        let short = SHORT.iter().filter(|(_, long)| is_form(long));
        let long = SHORT.iter().filter(|(short, _)| word == short);
        let other = short
            .map(|(short, _)| short)
            .chain(long.map(|(_, long)| long));
        let other: Vec<String> = other.map(|word| (*word).to_owned()).collect();
        for new in forms.into_iter().chain(other) {
            if !own.contains(&new) && !found.contains(&new) && !is_stop_word(&new) {
                found.push(new);
            }
        }
    }
    found
}

/// Returns the words of which an English word may be a form: for `caching` both `cach` and `cache`,
/// as what is no word is in no code either.
fn bases(word: &str) -> Vec<String> {
    if word.len() < 4 || !word.bytes().all(|b| b.is_ascii_lowercase()) {
        return Vec::new();
    }
    let endings: [(&str, usize, &[&str]); 5] = [
        ("ies", 2, &["y"]),
        ("ied", 2, &["y"]),
        ("ing", 4, &["", "e"]),
        ("ed", 3, &["", "e"]),
        ("s", 3, &[""]),
    ];
    for (ending, least, put) in endings {
        let Some(stem) = word.strip_suffix(ending) else {
            continue;
        };
        if stem.len() < least || (ending == "s" && stem.ends_with(['s', 'u', 'i'])) {
            continue;
        }
        let bytes = stem.as_bytes();
        let mut bases: Vec<String> = put.iter().map(|put| format!("{stem}{put}")).collect();
        if let [.., a, b] = bytes
            && a == b
            && put.contains(&"")
        {
            bases.push(stem[..stem.len() - 1].to_owned());
        }
        return bases;
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_get_the_words_of_code() {
        for (words, further) in [
            (
                "failed uploads retried",
                &["fail", "faile", "upload", "retry"][..],
            ),
            ("stopping", &["stopp", "stoppe", "stop"]),
            ("configuration", &["cfg", "config"]),
            (
                "authentication arguments",
                &["auth", "argument", "arg", "args"],
            ),
            ("db", &["database"]),
            ("status string class", &[]),
            ("retry upload", &[]),
        ] {
            let mut found = further_words(words);
            let mut expected: Vec<&str> = further.to_vec();
            found.sort();
            expected.sort_unstable();
            assert_eq!(found, expected, "{words}");
        }
    }

    #[test]
    fn what_is_short_stands_for_one_thing() {
        assert!(SHORT.is_sorted());
    }
}
