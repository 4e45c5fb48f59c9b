//! `withal man` and `withal completions`: what a package installs beside the program.

mod pages;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Command;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap_complete::Shell;
use clap_mangen::Man;
use withal_os::write_atomic;

use crate::message::shown;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct ManArguments {
    /// Write all pages there; without it, the page of `withal run` goes to stdout
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArguments {
    /// For which shell
    #[arg(
        value_name = "bash|zsh|fish",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["bash", "zsh", "fish"])
            .try_map(|name| name.parse::<Shell>())
    )]
    shell: Shell,
}

/// Writes the pages.
pub(crate) fn man(mut command: Command, arguments: &ManArguments) -> anyhow::Result<()> {
    command.build();
    match &arguments.directory {
        Some(directory) => all(&command, directory),
        None => {
            let run = command.find_subcommand("run");
            let text = page("withal-run", run.context("there is `withal run`")?)?;
            print(&text)
        }
    }
}

/// Prints the script that completes words.
pub(crate) fn completions(
    mut command: Command,
    arguments: &CompletionsArguments,
) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "withal", &mut script);
    print(&script)
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut output = Output::new()?;
    output.write(text)?;
    output.flush()
}

fn all(command: &Command, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| shown(directory))?;
    let write = |name: &str, command: &Command| {
        let path = directory.join(format!("{name}.1"));
        anyhow::Ok(write_atomic(path, page(name, command)?)?)
    };
    write("withal", command)?;
    for subcommand in command.get_subcommands() {
        let name = format!("withal-{}", subcommand.get_name());
        write(&name, subcommand)?;
        for inner in subcommand.get_subcommands() {
            write(&format!("{name}-{}", inner.get_name()), inner)?;
        }
    }
    Ok(())
}

/// A page: what the command says of itself, in the sections and the order of a manual.
fn page(name: &str, command: &Command) -> anyhow::Result<Vec<u8>> {
    let usage = usage(command);
    let man = Man::new(command.clone().version(env!("CARGO_PKG_VERSION")))
        .title(name.to_uppercase())
        .manual("withal manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    let about = command.get_about().map(ToString::to_string);
    let about = escaped(&about.unwrap_or_default());
    writeln!(page, ".SH NAME\n{} \\- {about}", escaped(name))?;
    writeln!(page, ".SH SYNOPSIS\n.nf")?;
    for line in usage.lines() {
        writeln!(page, "{}", escaped(line.trim()))?;
    }
    writeln!(page, ".fi")?;
    let sections = pages::of(name);
    for (title, text) in sections.iter().filter(|(title, _)| *title == "DESCRIPTION") {
        section(&mut page, title, text)?;
    }
    if command
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
    {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    for (title, text) in sections.iter().filter(|(title, _)| *title != "DESCRIPTION") {
        section(&mut page, title, text)?;
    }
    if let (true, Some(text)) = (sections.is_empty(), command.get_after_help()) {
        section(&mut page, "DESCRIPTION", &text.to_string())?;
    }
    Ok(page)
}

/// The ways to call it.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage
        .strip_prefix("Usage:")
        .unwrap_or(&usage)
        .trim()
        .to_owned()
}

/// Paragraphs stand apart; lines that are indented stand as they are; a line that ends with a colon
/// and is followed by indented ones is what they are about.
fn section(page: &mut Vec<u8>, title: &str, text: &str) -> anyhow::Result<()> {
    writeln!(page, ".SH \"{title}\"")?;
    let mut is_verbatim = false;
    for line in text.lines() {
        let is_indented = line.starts_with("  ");
        if is_indented != is_verbatim && !line.is_empty() {
            writeln!(
                page,
                "{}",
                if is_indented {
                    ".RS 4\n.nf"
                } else {
                    ".fi\n.RE"
                }
            )?;
            is_verbatim = is_indented;
        }
        match (line, line.strip_prefix("# ")) {
            ("", _) if is_verbatim => writeln!(page)?,
            ("", _) => writeln!(page, ".PP")?,
            (_, Some(heading)) => writeln!(page, ".SS \"{}\"", escaped(heading))?,
            _ => writeln!(page, "{}", escaped(line.strip_prefix("  ").unwrap_or(line)))?,
        }
    }
    if is_verbatim {
        writeln!(page, ".fi\n.RE")?;
    }
    Ok(())
}

/// Text that roff takes for text.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}
