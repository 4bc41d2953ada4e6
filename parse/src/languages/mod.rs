//! The table of languages: a row each, and the rules of those with a grammar.
//!
//! A new language needs a file here, a line below, the crate of its grammar, and a fixture in
//! `parse/tests/fixtures`. `CS_BLESS=1 cargo test -p cs-parse` writes the snapshot of the fixture.
//! Compare it with the source. A change to a file of this crate changes the fingerprint in
//! `parse/build.rs`, so `--since` parses everything again.

use crate::language::Language;

mod bash;
pub(crate) mod c;
mod cmake;
mod csharp;
mod css;
mod dart;
mod dockerfile;
mod elixir;
mod go;
mod haskell;
mod html;
mod java;
mod javascript;
mod json;
mod julia;
mod jupyter;
mod kotlin;
mod lua;
mod make;
mod markdown;
mod ocaml;
mod php;
mod protobuf;
mod python;
mod r;
mod rst;
mod ruby;
mod rust;
mod scala;
mod sql;
mod swift;
mod terraform;
mod toml;
mod yaml;
mod zig;

/// The languages that are not cut by lines.
pub(crate) static TABLE: &[&Language] = &[
    &bash::LANGUAGE,
    &c::C,
    &c::CPP,
    &cmake::LANGUAGE,
    &csharp::LANGUAGE,
    &css::LANGUAGE,
    &dart::LANGUAGE,
    &dockerfile::LANGUAGE,
    &elixir::LANGUAGE,
    &go::LANGUAGE,
    &haskell::LANGUAGE,
    &html::LANGUAGE,
    &java::LANGUAGE,
    &javascript::JAVASCRIPT,
    &javascript::TYPESCRIPT,
    &javascript::TSX,
    &json::LANGUAGE,
    &julia::LANGUAGE,
    &jupyter::LANGUAGE,
    &kotlin::LANGUAGE,
    &lua::LANGUAGE,
    &make::LANGUAGE,
    &markdown::LANGUAGE,
    &ocaml::OCAML,
    &ocaml::INTERFACE,
    &php::LANGUAGE,
    &protobuf::LANGUAGE,
    &python::LANGUAGE,
    &r::LANGUAGE,
    &rst::LANGUAGE,
    &ruby::LANGUAGE,
    &rust::LANGUAGE,
    &scala::LANGUAGE,
    &sql::LANGUAGE,
    &swift::LANGUAGE,
    &terraform::LANGUAGE,
    &toml::LANGUAGE,
    &yaml::LANGUAGE,
    &zig::LANGUAGE,
];

/// Files of plain text that go without an ending.
const TEXTS: &[&str] = &[
    "AUTHORS",
    "CHANGELOG",
    "CHANGES",
    "CITATION",
    "CONTRIBUTORS",
    "COPYING",
    "COPYING.LESSER",
    "COPYRIGHT",
    "ChangeLog",
    "HISTORY",
    "INSTALL",
    "LICENCE",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "MAINTAINERS",
    "NEWS",
    "NOTICE",
    "PATENTS",
    "README",
    "THANKS",
    "TODO",
    "UNLICENSE",
];

/// The languages that are known by name only.
pub(crate) static PLAIN: &[&Language] = &[
    &Language::plain("asciidoc", &["adoc", "asciidoc"], &[], &[]),
    &Language::plain("assembly", &["s", "asm"], &[], &[]),
    &Language::plain("bazel", &["bzl", "bazel"], &["BUILD", "WORKSPACE"], &[]),
    &Language::plain("clojure", &["clj", "cljs", "cljc", "edn"], &[], &[]),
    &Language::plain("csv", &["csv", "tsv"], &[], &[]),
    &Language::plain("elm", &["elm"], &[], &[]),
    &Language::plain("erlang", &["erl", "hrl"], &[], &[]),
    &Language::plain("fish", &["fish"], &[], &["fish"]),
    &Language::plain("fortran", &["f", "f90", "f95", "for"], &[], &[]),
    &Language::plain("fsharp", &["fs", "fsi", "fsx"], &[], &[]),
    &Language::plain("graphql", &["graphql", "gql"], &[], &[]),
    &Language::plain("groovy", &["groovy", "gradle"], &[], &[]),
    &Language::plain("ini", &["ini", "cfg", "conf", "properties"], &[], &[]),
    &Language::plain("json5", &["json5"], &[], &[]),
    &Language::plain("less", &["less"], &[], &[]),
    &Language::plain("lisp", &["lisp", "el", "scm", "rkt"], &[], &[]),
    &Language::plain("literate_haskell", &["lhs"], &[], &[]),
    &Language::plain("nix", &["nix"], &[], &[]),
    &Language::plain("objc", &["m", "mm"], &[], &[]),
    &Language::plain("perl", &["pl", "pm"], &[], &["perl"]),
    &Language::plain("powershell", &["ps1", "psm1"], &[], &[]),
    &Language::plain("scss", &["scss", "sass"], &[], &[]),
    &Language::plain("svelte", &["svelte"], &[], &[]),
    &Language::plain("tex", &["tex", "sty"], &[], &[]),
    &Language::plain("text", &["txt", "text"], TEXTS, &[]),
    &Language::plain("vim", &["vim"], &[], &[]),
    &Language::plain("vue", &["vue"], &[], &[]),
    &Language::plain("xml", &["xml", "xsd", "xsl", "svg", "plist"], &[], &[]),
];
