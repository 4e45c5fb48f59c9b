//! A job file: gates, a command, and how it is run.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer};

use super::Settings;
use crate::run::gates::{self, Planned, Template, check_dates, described};
use crate::source::{BadSource, Flaw, Source};

/// What a job file says.
pub(crate) struct JobFile {
    pub(super) source: Source,
    /// Where it is: what its relative paths are relative to.
    pub(super) directory: PathBuf,
    pub(super) gates: Vec<Planned>,
    pub(super) settings: Settings,
    /// The program and its arguments; there is at least one.
    pub(super) command: Vec<Spanned<Template>>,
    pub(super) cwd: Spanned<Template>,
}

/// All that is wrong with a file.
#[derive(Debug)]
pub(crate) struct BadFile(pub(crate) Vec<BadSource>);

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, bad) in self.0.iter().enumerate() {
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{bad}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadFile {}

/// The keys that are not those of [`Settings`], `with` and `env`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    version: Option<Spanned<i64>>,
    command: Option<Spanned<Vec<Spanned<Template>>>>,
    shell: Option<Spanned<String>>,
    cwd: Option<Spanned<Template>>,
}

/// The version of job files that is read here.
const VERSION: i64 = 1;

const WITH: &str = "with";
const ENV: &str = "env";

impl JobFile {
    pub(crate) fn read(path: &Path) -> Result<JobFile, BadFile> {
        let source = Source::read(path).map_err(|bad| BadFile(vec![bad]))?;
        let mut flaws = Flaws::default();
        // The command may run elsewhere, and still be told the paths.
        let directory = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let directory = directory.parent().unwrap_or(Path::new("/")).to_owned();
        let parsed = Parsed::of(&source, &directory, &mut flaws);
        let (Some(parsed), true) = (parsed, flaws.0.is_empty()) else {
            return Err(flaws.report(&source));
        };
        Ok(JobFile {
            settings: parsed.settings.within(&directory),
            gates: parsed.gates,
            command: parsed.command,
            cwd: parsed.cwd,
            source,
            directory,
        })
    }
}

/// What is wrong, in no order yet.
#[derive(Debug, Default)]
pub(super) struct Flaws(pub(super) Vec<Flaw>);

impl Flaws {
    fn keep<T>(&mut self, result: Result<T, Flaw>) -> Option<T> {
        result.map_err(|flaw| self.0.push(flaw)).ok()
    }

    /// Shows each where it is, from the top of the file down.
    pub(super) fn report(mut self, source: &Source) -> BadFile {
        self.0
            .sort_by_key(|flaw| flaw.span.as_ref().map(|span| span.start));
        let reports = self.0.iter().map(|flaw| source.report(flaw));
        BadFile(reports.collect())
    }
}

/// A job file without its source.
struct Parsed {
    gates: Vec<Planned>,
    settings: Settings,
    command: Vec<Spanned<Template>>,
    cwd: Spanned<Template>,
}

impl Parsed {
    fn of(source: &Source, directory: &Path, flaws: &mut Flaws) -> Option<Parsed> {
        let file = flaws.keep(source.table())?;
        let (span, mut file) = (file.span(), file.into_inner());
        let mut gates = Vec::new();
        if let Some((_, with)) = file.remove_entry(WITH) {
            for gate in flaws.keep(tables(with)).unwrap_or_default() {
                gates.extend(flaws.keep(gate_of(gate, directory)));
            }
        }
        if let Some((_, env)) = file.remove_entry(ENV) {
            for (name, value) in flaws.keep(variables(env)).unwrap_or_default() {
                gates.extend(flaws.keep(variable_of(name, value, directory)));
            }
        }
        check_keys(&mut file, flaws);
        let settings = split(&mut file, gates::keys_of_table::<Settings>());
        let settings = flaws.keep(read(settings, &span));
        let own: Option<Own> = flaws.keep(read(file, &span));
        let (settings, own) = (settings?, own?);
        let _ = flaws.keep(check_version(own.version.as_ref()));
        let command = flaws.keep(command_of(own.command, own.shell))?;
        let cwd = own
            .cwd
            .unwrap_or_else(|| Spanned::new(0..0, Template::default()));
        Some(Parsed {
            gates,
            settings,
            command,
            cwd,
        })
    }
}

fn read<'de, T: Deserialize<'de>>(
    table: DeTable<'de>,
    span: &std::ops::Range<usize>,
) -> Result<T, Flaw> {
    check_dates(&table)?;
    let table = Deserializer::from(Spanned::new(span.clone(), table));
    T::deserialize(table).map_err(Flaw::from)
}

/// Takes the `keys` out of a table.
fn split<'i>(table: &mut DeTable<'i>, keys: &[&str]) -> DeTable<'i> {
    let entries = keys.iter().filter_map(|key| table.remove_entry(*key));
    entries.collect()
}

/// Takes out the keys that nobody knows.
fn check_keys(file: &mut DeTable<'_>, flaws: &mut Flaws) {
    let own = gates::keys_of_table::<Own>();
    let known = [own, &[WITH, ENV], gates::keys_of_table::<Settings>()].concat();
    let is_unknown = |key: &&Spanned<DeString<'_>>| !known.contains(&key.get_ref().as_ref());
    let unknown = file.keys().filter(is_unknown).cloned();
    for key in unknown.collect::<Vec<_>>() {
        flaws.0.push(gates::unknown_key(&key, "a job", &known));
        let _ = file.remove(key.get_ref().as_ref());
    }
}

fn check_version(version: Option<&Spanned<i64>>) -> Result<(), Flaw> {
    match version {
        Some(version) if *version.get_ref() == VERSION => Ok(()),
        Some(version) => {
            let why = format!("version {}: not known; write {VERSION}", version.get_ref());
            Err(Flaw::at(version.span(), why))
        }
        None => Err(Flaw::anywhere(format!(
            "no `version`; write `version = {VERSION}`"
        ))),
    }
}

/// The tables of `with = […]` or of each `[[with]]`.
fn tables<'i>(with: Spanned<DeValue<'i>>) -> Result<Vec<Spanned<DeTable<'i>>>, Flaw> {
    const WHY: &str = "not a list of gates; write `with = [{ kind = \"lock\", path = \"…\" }]`";
    let span = with.span();
    let DeValue::Array(gates) = with.into_inner() else {
        return Err(Flaw::at(span, WHY));
    };
    let gates = gates.into_iter().map(|gate| {
        let span = gate.span();
        match gate.into_inner() {
            DeValue::Table(gate) => Ok(Spanned::new(span, gate)),
            _ => Err(Flaw::at(span, WHY)),
        }
    });
    gates.collect()
}

fn gate_of(mut gate: Spanned<DeTable<'_>>, directory: &Path) -> Result<Planned, Flaw> {
    const REMEDY: &str = "write `kind = \"lock\"`, or another kind";
    let span = gate.span();
    let Some(kind) = gate.get_mut().remove("kind") else {
        return Err(Flaw::at(span, format!("no `kind`; {REMEDY}")));
    };
    let DeValue::String(name) = kind.get_ref() else {
        return Err(Flaw::at(
            kind.span(),
            format!("`kind` is no text; {REMEDY}"),
        ));
    };
    described(
        &Spanned::new(kind.span(), name.to_string()),
        gate,
        directory,
    )
}

type Entry<'i> = (Spanned<DeString<'i>>, Spanned<DeValue<'i>>);

fn variables<'i>(env: Spanned<DeValue<'i>>) -> Result<Vec<Entry<'i>>, Flaw> {
    let span = env.span();
    match env.into_inner() {
        DeValue::Table(variables) => Ok(variables.into_iter().collect()),
        _ => Err(Flaw::at(
            span,
            "no table; write `[env]` and `NAME = \"value\"` below it",
        )),
    }
}

/// A variable is a gate that has nothing to undo.
fn variable_of(
    name: Spanned<DeString<'_>>,
    value: Spanned<DeValue<'_>>,
    directory: &Path,
) -> Result<Planned, Flaw> {
    let span = name.span();
    if !matches!(value.get_ref(), DeValue::String(_)) {
        return Err(Flaw::at(value.span(), "not a text; write it in quotes"));
    }
    let kind = Spanned::new(span.clone(), ENV.to_owned());
    let key = |key: &'static str| Spanned::new(span.clone(), DeString::from(key));
    let name = Spanned::new(span.clone(), DeValue::String(name.into_inner()));
    let keys = DeTable::from_iter([(key("name"), name), (key("value"), value)]);
    described(&kind, Spanned::new(span.clone(), keys), directory)
}

fn command_of(
    command: Option<Spanned<Vec<Spanned<Template>>>>,
    shell: Option<Spanned<String>>,
) -> Result<Vec<Spanned<Template>>, Flaw> {
    match (command, shell) {
        (Some(command), None) if !command.get_ref().is_empty() => Ok(command.into_inner()),
        (Some(command), None) => Err(Flaw::at(
            command.span(),
            "an empty command; write the program and its arguments",
        )),
        (None, Some(shell)) => {
            let span = shell.span();
            let word = |word: String| {
                let word = Template::from(OsString::from(word));
                Spanned::new(span.clone(), word)
            };
            // What is given after the script is its `$0` and then its `$@`.
            let words = [
                "sh".to_owned(),
                "-c".to_owned(),
                shell.into_inner(),
                "sh".to_owned(),
            ];
            Ok(words.map(word).into())
        }
        (Some(_), Some(shell)) => Err(Flaw::at(
            shell.span(),
            "both `command` and `shell`; write one of them",
        )),
        (None, None) => Err(Flaw::anywhere(
            "no `command`; write `command = [\"make\", \"test\"]` or `shell = \"make | tee log\"`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ENV, Flaws, Own, Parsed, Settings, WITH, gates};
    use crate::source::Source;
    use crate::wording::tests::{VALUES, check_words};

    #[test]
    fn whatever_is_wrong_with_a_key_of_a_job_is_said_in_our_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("job.toml");
        let own = gates::keys_of_table::<Own>();
        let keys = [own, &[WITH, ENV], gates::keys_of_table::<Settings>()].concat();
        let mut count = 0;
        for (key, value) in keys.iter().flat_map(|key| VALUES.map(|value| (key, value))) {
            let text = format!("{key} = {value}");
            let others = ["version = 1", "command = ['true']"].into_iter();
            let others = others.filter(|line| !line.starts_with(key) && *key != "shell");
            let lines: Vec<&str> = others.chain([&*text]).collect();
            std::fs::write(&path, lines.join("\n")).unwrap();
            let source = Source::read(&path).unwrap();
            let mut flaws = Flaws::default();
            let _ = Parsed::of(&source, Path::new(""), &mut flaws);
            for flaw in flaws.0.iter().filter(|flaw| flaw.span.is_some()) {
                check_words(&text, flaw);
                count += 1;
            }
        }
        assert!(count > 150, "{count}");
    }
}
