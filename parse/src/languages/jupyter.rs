//! Jupyter notebooks, which are cut by their cells.

use crate::language::{Cut, Language};

pub(crate) static LANGUAGE: Language = Language {
    name: "jupyter",
    extensions: &["ipynb"],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "cell",
    cut: Cut::Notebook,
};
