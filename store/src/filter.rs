//! What a search is limited to, as an expression that the database evaluates before it searches.
//!
//! Values become literals of the expression, never text of a query language, so that nothing in
//! them has to be quoted. Globs become regular expressions, and a test compares them with those of
//! gitignore.

use ignore::gitignore::GitignoreBuilder;
use lance::deps::datafusion::functions::regex::expr_fn::regexp_like;
use lance::deps::datafusion::logical_expr::{Expr, lit, not};
use lance::deps::datafusion::prelude::ident;

use crate::Error;

/// The chunks among which a search looks: those that fit all of the lists that are not empty.
///
/// Of the values of one list one has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Short names of repositories.
    pub repos: Vec<String>,
    /// Folders of projects, as in the column `project`.
    pub projects: Vec<String>,
    /// Lower-case names of languages.
    pub languages: Vec<String>,
    /// Kinds of chunks.
    pub kinds: Vec<String>,
    /// Globs of paths, as in .gitignore; one with `!` before it leaves out what it fits.
    pub paths: Vec<String>,
    /// The path of one file.
    pub file: Option<String>,
    /// A plain name, or the end of a qualified one: `open`, `Index.open` and `Index::open`. If no
    /// chunk has the name, one whose symbol ends so is taken.
    pub symbol: Option<String>,
}

impl Filter {
    /// Tells whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the globs, which are all that can be wrong.
    ///
    /// # Errors
    /// [`Error::Glob`] for one that cannot be read.
    pub fn check(&self) -> Result<(), Error> {
        for glob in &self.paths {
            let fail = |source| Error::Glob {
                glob: glob.clone(),
                source,
            };
            let mut builder = GitignoreBuilder::new("");
            builder.add_line(None, glob).map_err(fail)?;
            builder.build().map_err(fail)?;
        }
        Ok(())
    }

    /// Returns the filters that are set, each alone, and what names it.
    pub fn parts(&self) -> Vec<(String, Self)> {
        let mut parts = Vec::new();
        let mut add = |name: &str, value: &str, filter: Self| {
            parts.push((format!("--{name} {value}"), filter));
        };
        for repo in &self.repos {
            let repos = vec![repo.clone()];
            add(
                "repo",
                repo,
                Self {
                    repos,
                    ..Self::default()
                },
            );
        }
        for project in &self.projects {
            let projects = vec![project.clone()];
            add(
                "project",
                project,
                Self {
                    projects,
                    ..Self::default()
                },
            );
        }
        for language in &self.languages {
            let languages = vec![language.clone()];
            add(
                "lang",
                language,
                Self {
                    languages,
                    ..Self::default()
                },
            );
        }
        for kind in &self.kinds {
            let kinds = vec![kind.clone()];
            add(
                "kind",
                kind,
                Self {
                    kinds,
                    ..Self::default()
                },
            );
        }
        if !self.paths.is_empty() {
            let paths = self.paths.clone();
            add(
                "path",
                &paths.join(" --path "),
                Self {
                    paths,
                    ..Self::default()
                },
            );
        }
        if let Some(symbol) = &self.symbol {
            add(
                "symbol",
                symbol,
                Self {
                    symbol: Some(symbol.clone()),
                    ..Self::default()
                },
            );
        }
        parts
    }

    /// Returns the condition that rows have to meet; `None` if all do.
    pub(crate) fn condition(&self, names: Names) -> Option<Expr> {
        let lists = [
            ("repo", &self.repos),
            ("project", &self.projects),
            ("language", &self.languages),
            ("kind", &self.kinds),
        ];
        let lists = lists
            .into_iter()
            .filter_map(|(column, values)| one_of(column, values));
        lists
            .chain(self.file.as_deref().map(|path| ident("path").eq(lit(path))))
            .chain(fits(&self.paths))
            .chain(
                self.symbol
                    .as_deref()
                    .and_then(|symbol| named(symbol, names)),
            )
            .reduce(Expr::and)
    }
}

fn one_of(column: &str, values: &[String]) -> Option<Expr> {
    match values {
        [] => None,
        [only] => Some(ident(column).eq(lit(only.as_str()))),
        _ => {
            let values = values.iter().map(|value| lit(value.as_str())).collect();
            Some(ident(column).in_list(values, false))
        }
    }
}

/// Returns the condition that a path fits a glob that takes in, and none that leaves out.
fn fits(globs: &[String]) -> Option<Expr> {
    let is_out = |glob: &&String| glob.starts_with('!');
    let matches = |patterns: Vec<String>| {
        let pattern = format!("^(?:{})$", patterns.join("|"));
        (!patterns.is_empty()).then(|| regexp_like(ident("path"), lit(pattern), None))
    };
    let taken = globs.iter().filter(|glob| !is_out(glob));
    let out = globs.iter().filter(is_out);
    let taken = matches(taken.map(|glob| pattern(glob)).collect());
    let out = matches(out.map(|glob| pattern(&glob[1..])).collect());
    taken.into_iter().chain(out.map(not)).reduce(Expr::and)
}

/// Where a symbol that is looked for is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// With names, which have an index.
    Indexed,
    /// With the ends of all symbols, which takes thirty times as long: a module's name may be all
    /// of `Plug.Adapters.Cowboy`.
    Any,
}

/// Returns the condition that a chunk is named so, or that its symbol ends so.
fn named(symbol: &str, names: Names) -> Option<Expr> {
    let parts: Vec<&str> = symbol
        .split(|c: char| ".:#/\\".contains(c))
        .filter(|part| !part.is_empty() && *part != "()")
        .map(|part| part.trim_end_matches("()"))
        .collect();
    let whole = ident("name").eq(lit(symbol));
    let Some((last, above)) = parts.split_last() else {
        return Some(whole);
    };
    // Languages part the names of a symbol differently; whoever asks may do so in any way.
    let escaped: Vec<String> = parts.iter().map(|part| regex_escaped(part)).collect();
    let pattern = format!(
        r"(?:^|[.:#/\\]){}$",
        escaped.join(r"(?:[.:#/\\]+|\.prototype\.)")
    );
    let ends = regexp_like(ident("symbol"), lit(pattern), None);
    Some(match (names, above) {
        (Names::Any, _) => whole.or(ends),
        (Names::Indexed, []) => whole.or(ident("name").eq(lit(*last))),
        (Names::Indexed, _) => whole.or(ident("name").eq(lit(*last)).and(ends)),
    })
}

/// Returns the regular expression of the paths that a glob as in .gitignore fits, itself or by a
/// folder above, without anchors.
fn pattern(glob: &str) -> String {
    let is_dir = glob.ends_with('/');
    let trimmed = glob.trim_end_matches('/');
    let is_anchored = trimmed.contains('/');
    let trimmed = trimmed.trim_start_matches('/');
    let mut regex = String::new();
    if !is_anchored && !trimmed.starts_with("**") {
        regex.push_str("(?:.*/)?");
    }
    let mut rest = trimmed;
    while let Some(c) = rest.chars().next() {
        let taken = if rest.starts_with("**/") {
            regex.push_str("(?:.*/)?");
            3
        } else if rest.starts_with("**") {
            regex.push_str(".*");
            2
        } else if c == '[' {
            class(rest, &mut regex)
        } else {
            let escaped = rest.strip_prefix('\\').and_then(|rest| rest.chars().next());
            match (c, escaped) {
                (_, Some(next)) => regex.push_str(&regex_escaped(next.encode_utf8(&mut [0; 4]))),
                ('*', _) => regex.push_str("[^/]*"),
                ('?', _) => regex.push_str("[^/]"),
                _ => regex.push_str(&regex_escaped(c.encode_utf8(&mut [0; 4]))),
            }
            c.len_utf8() + escaped.map_or(0, char::len_utf8)
        };
        rest = &rest[taken..];
    }
    // What lies below a folder that fits, fits.
    regex.push_str(if is_dir { "/.*" } else { "(?:/.*)?" });
    regex
}

/// Writes the class of characters with which a glob begins; returns its bytes.
fn class(glob: &str, regex: &mut String) -> usize {
    let is_negated = glob[1..].starts_with(['!', '^']);
    let start = 1 + usize::from(is_negated);
    // A bracket that comes first is one of the class.
    let first = usize::from(glob[start..].starts_with(']'));
    let Some(end) = glob[start + first..].find(']') else {
        regex.push_str(r"\[");
        return 1;
    };
    let end = start + first + end;
    regex.push_str(if is_negated { "[^" } else { "[" });
    for c in glob[start..end].chars() {
        if r"[]\&~^".contains(c) {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex.push(']');
    end + 1
}

/// Returns a text as a regular expression that fits it alone.
fn regex_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~/".contains(c) && c != '/' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The globs of cs-store and git, which the patterns have to agree with.
    fn git_fits(glob: &str, path: &str) -> bool {
        let mut builder = GitignoreBuilder::new("");
        builder.add_line(None, glob).unwrap();
        let globs = builder.build().unwrap();
        globs
            .matched_path_or_any_parents(Path::new(path), false)
            .is_ignore()
    }

    #[test]
    fn patterns_fit_what_globs_do() {
        let globs = [
            "*.rs",
            "/a.rs",
            "src/",
            "src",
            "src/**/*.rs",
            "**/deep/*",
            "a?c",
            "a[b-d]e.rs",
            "a[!b]c",
            "src/*",
            "docs/**",
            "größe*",
            "gr?ße\\*",
            r"a\*b",
            "x.y+z",
            "[ab",
            "**",
            "a b/c",
        ];
        let paths = [
            "a.rs",
            "src/a.rs",
            "src/deep/a.rs",
            "src/deep/er/b.rs",
            "lib/src/a.rs",
            "abc",
            "adc",
            "ace.rs",
            "docs/x/y.md",
            "größe.txt",
            "a*b",
            "aXb",
            "x.y+z",
            "xay+z",
            "a/c",
            "a b/c",
            "a-c",
            "deep/x",
            "src",
        ];
        for glob in globs {
            let valid = Filter {
                paths: vec![glob.to_owned()],
                ..Filter::default()
            };
            if valid.check().is_err() {
                continue;
            }
            let regex = regex::Regex::new(&format!("^(?:{})$", pattern(glob))).unwrap();
            for path in paths {
                assert_eq!(regex.is_match(path), git_fits(glob, path), "{glob} {path}");
            }
        }
    }

    #[test]
    fn a_broken_glob_is_named() {
        let filter = Filter {
            paths: vec!["a[z-b]".to_owned()],
            ..Filter::default()
        };
        let error = filter.check().unwrap_err().to_string();
        assert!(error.contains("a[z-b]"), "{error}");
    }

    #[test]
    fn each_filter_is_a_part() {
        let filter = Filter {
            languages: vec!["rust".to_owned(), "go".to_owned()],
            symbol: Some("it's".to_owned()),
            ..Filter::default()
        };
        let names: Vec<String> = filter.parts().into_iter().map(|part| part.0).collect();
        assert_eq!(names, ["--lang rust", "--lang go", "--symbol it's"]);
        assert!(
            filter.condition(Names::Any).is_some()
                && Filter::default().condition(Names::Any).is_none()
        );
    }
}
