//! Rules for JSON, with or without comments: the pairs of an object are its entries.

use crate::language::{Class, Cut, Grammar, Language, Outline, Role, Rule, Shape, pair};

use Role::{Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "json",
    extensions: &[
        "json",
        "avsc",
        "code-workspace",
        "geojson",
        "gltf",
        "har",
        "json-tmlanguage",
        "jsonc",
        "jsonl",
        "jsonld",
        "ndjson",
        "sarif",
        "sublime-project",
        "sublime-settings",
        "tfstate",
        "topojson",
        "webapp",
        "webmanifest",
    ],
    file_names: &[
        ".all-contributorsrc",
        ".arcconfig",
        ".babelrc",
        ".eslintrc",
        ".jshintrc",
        ".jslintrc",
        ".nycrc",
        ".swcrc",
        ".tern-project",
        ".watchmanconfig",
        "Pipfile.lock",
        "bun.lock",
        "composer.lock",
        "deno.lock",
        "flake.lock",
        "mcmod.info",
    ],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_json::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("pair", Definition(Shape::Section, "entry", pair)),
            Rule::new("object", Gathered(Class::Entry)),
            Rule::new("array", Gathered(Class::Entry)),
            Rule::new("comment", Comment),
        ],
    }),
};
