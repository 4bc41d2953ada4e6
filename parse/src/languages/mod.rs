//! The rules of each language with a grammar.

pub(crate) mod bash;
pub(crate) mod c;
pub(crate) mod csharp;
pub(crate) mod dart;
pub(crate) mod elixir;
pub(crate) mod go;
pub(crate) mod haskell;
pub(crate) mod html;
pub(crate) mod java;
pub(crate) mod javascript;
pub(crate) mod julia;
pub(crate) mod jupyter;
pub(crate) mod lua;
pub(crate) mod markdown;
pub(crate) mod ocaml;
pub(crate) mod php;
pub(crate) mod python;
pub(crate) mod r;
pub(crate) mod rst;
pub(crate) mod ruby;
pub(crate) mod rust;
pub(crate) mod swift;
pub(crate) mod sql;
pub(crate) mod zig;
