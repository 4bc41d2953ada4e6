//! Manual pages and shell completions, made from the same definitions as `--help`, so that they
//! tell of every flag and of no other.
//!
//! It stands apart from [`tool`](crate::tool) because nothing of it runs when a tool does its work.

use std::ffi::OsString;
use std::io;
use std::sync::LazyLock;

use clap::{Arg, ArgMatches, Command, Parser, ValueEnum, value_parser};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::metadata::WIRE;
use crate::tool;

/// The flag that asks for a page.
const FLAG: &str = "generate";

/// What `--version` tells behind a tool's name: two tools can be piped if their wire is the same.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{}\nwire {WIRE}", env!("CARGO_PKG_VERSION")));

/// How a tool ends, for the manual.
const STATUSES: [(&str, &str); 5] = [
    ("0", "Done; what was written is whole."),
    (
        "1",
        "Done, with something to tell: no hit, faults found, or a file that could not be taken. \
         What was written is whole.",
    ),
    (
        "2",
        "Failed or misused; a stream that was begun has no end marker.",
    ),
    (
        "130, 143",
        "Ended by SIGINT or SIGTERM, as a shell tells it.",
    ),
    ("141", "Whoever read standard output closed it."),
];

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Page {
    /// The manual page, in roff
    Man,
    /// Completions for bash
    CompleteBash,
    /// Completions for zsh
    CompleteZsh,
    /// Completions for fish
    CompleteFish,
}

/// What a command line asks for.
pub(crate) enum Typed<A> {
    /// The tool's work.
    Work(A),
    /// A page, to be printed.
    Page(Vec<u8>),
}

/// Reads the process's arguments, as a tool's or for a page.
///
/// # Errors
/// clap's own, for what is wrong with the arguments and for `--help` and `--version`.
pub(crate) fn typed<A: Parser>() -> Result<Typed<A>, clap::Error> {
    let args: Vec<OsString> = std::env::args_os().collect();
    let command = A::command().long_version(VERSION.as_str()).arg(flag());
    let is_page = args.get(1).and_then(|arg| arg.to_str()).is_some_and(|arg| {
        arg.strip_prefix("--")
            .and_then(|arg| arg.strip_prefix(FLAG))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    if is_page {
        // Alone, as neither what a tool requires nor what the environment says counts for it.
        let alone = Command::new(tool::name()).arg(flag().required(true));
        let matches = alone.try_get_matches_from(args)?;
        let page = matches.get_one::<Page>(FLAG).copied().unwrap_or(Page::Man);
        let made = page.make(command);
        return Ok(Typed::Page(made.map_err(clap::Error::from)?));
    }
    let parse = |matches: &mut ArgMatches| A::from_arg_matches_mut(matches);
    let mut again = command.clone();
    let mut matches = command.try_get_matches_from(args)?;
    parse(&mut matches)
        .map(Typed::Work)
        .map_err(|error| error.format(&mut again))
}

fn flag() -> Arg {
    Arg::new(FLAG)
        .long(FLAG)
        .value_name("PAGE")
        .help("Print the manual page or completions for a shell, and end")
        .help_heading(None)
        .exclusive(true)
        .value_parser(value_parser!(Page))
}

impl Page {
    fn make(self, mut command: Command) -> io::Result<Vec<u8>> {
        let shell = match self {
            Self::Man => return manual(command),
            Self::CompleteBash => Shell::Bash,
            Self::CompleteZsh => Shell::Zsh,
            Self::CompleteFish => Shell::Fish,
        };
        let name = command.get_name().to_owned();
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, name.as_str(), &mut text);
        if shell == Shell::Bash {
            // clap_complete 4.6 takes the hyphen in a tool's name for the beginning of a subcommand
            // in one half of its script, so that subcommands complete nothing.
            let script = String::from_utf8_lossy(&text);
            let wrong = name.replace('-', "__subcmd__");
            text = script
                .replace(&wrong, &name.replace('-', "__"))
                .into_bytes();
        }
        Ok(text)
    }
}

/// Returns the manual page of a tool and of its subcommands.
fn manual(mut command: Command) -> io::Result<Vec<u8>> {
    // The generated synopsis lists every flag before the options do.
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let command = command.override_usage(usage);
    let page = Man::new(command.clone()).manual("Code search");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    let mut built = command;
    built.build();
    for subcommand in built.get_subcommands() {
        if subcommand.get_name() != "help" {
            subsection(&mut text, subcommand)?;
        }
    }
    statuses().to_writer(&mut text)?;
    if let Some(examples) = built.get_after_help() {
        examples_of(&examples.to_string()).to_writer(&mut text)?;
    }
    page.render_version_section(&mut text)?;
    Ok(text)
}

/// Adds what a subcommand does, and its options.
fn subsection(text: &mut Vec<u8>, subcommand: &Command) -> io::Result<()> {
    let name = subcommand.get_bin_name().unwrap_or(subcommand.get_name());
    let mut heading = Roff::new();
    heading.control("SH", [name.to_uppercase().as_str()]);
    heading.to_writer(text)?;
    let page = Man::new(subcommand.clone());
    let mut parts = Vec::new();
    page.render_description_section(&mut parts)?;
    page.render_options_section(&mut parts)?;
    // Its parts stand in one section, whose heading is the subcommand's name.
    let parts = String::from_utf8_lossy(&parts).into_owned();
    let lines = parts.lines().filter(|line| *line != ".SH DESCRIPTION");
    for line in lines {
        let line = line.replacen(".SH ", ".SS ", 1);
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    Ok(())
}

fn statuses() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in STATUSES {
        roff.control("TP", []);
        roff.text([bold(status)]);
        roff.text([roman(meaning)]);
    }
    roff
}

/// Sets examples as they stand, without the heading that `--help` has.
fn examples_of(after_help: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in after_help.lines().skip_while(|line| !line.starts_with(' ')) {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}
