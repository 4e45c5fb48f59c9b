//! What is to be done: from the command line, from a job file, or from both.

mod file;
mod mask;
mod plan;
mod settings;

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use toml::Spanned;

use super::Safety;
use super::account::{Account, Destination};
use super::gates::{Origin, Planned, Previews, Template};
use super::release::{HURRIED_LIMIT, LIMIT, Released};
use super::status::{BUSY, Exit};
use super::supervise::Limits;
use crate::message::Messages;
use crate::source::Source;
use file::{Flaws, JobFile};
use mask::masked;

pub(crate) use file::BadFile;
pub(crate) use mask::is_secret;
pub(crate) use plan::print as print_plan;
pub(crate) use settings::{Keep, Orphans, Settings, Sink, TeardownErrors};

/// What is to be done.
pub(crate) struct Job {
    pub(crate) gates: Vec<Planned>,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<Template>,
    /// Where the command runs; here, if nothing is said.
    pub(crate) cwd: Option<Cwd>,
    pub(crate) settings: Settings,
    /// The file it comes from.
    pub(crate) file: Option<PathBuf>,
    /// What tells it from other jobs: runs of the same job undo what an earlier one has left.
    pub(crate) identity: String,
    pub(crate) safety: Safety,
    pub(crate) messages: Messages,
}

/// A directory, relative to another.
#[derive(Debug)]
pub(crate) struct Cwd {
    pub(crate) base: PathBuf,
    pub(crate) path: Template,
}

/// What the command line says.
pub(crate) struct Asked {
    pub(crate) gates: Vec<Planned>,
    /// The options that ask for them.
    pub(crate) words_of_gates: Vec<OsString>,
    pub(crate) settings: Settings,
    pub(crate) file: Option<PathBuf>,
    /// What stands after `--`: the command, or further arguments of the file's command.
    pub(crate) words: Vec<OsString>,
    pub(crate) safety: Safety,
    /// Whether it is only to be looked at.
    pub(crate) is_rehearsal: bool,
    pub(crate) messages: Messages,
}

impl Asked {
    /// The job, checked as far as that can be done without acquiring anything.
    pub(crate) fn job(mut self) -> anyhow::Result<Job> {
        match self.file.take() {
            Some(path) => self.with_file(path),
            None => {
                let is_rehearsal = self.is_rehearsal;
                let identity = identity(&self.settings, || {
                    hash(self.words_of_gates.iter().chain(&self.words))
                });
                let mut words = self.words.into_iter();
                let job = Job {
                    identity,
                    safety: self.safety,
                    gates: self.gates,
                    program: words.next().expect("without a file there is a command"),
                    arguments: words.map(Template::from).collect(),
                    cwd: None,
                    settings: self.settings,
                    file: None,
                    messages: self.messages,
                };
                job.checked(&[], None, is_rehearsal)
            }
        }
    }

    /// The file's gates come first, so that these may refer to them, and win.
    fn with_file(self, path: PathBuf) -> anyhow::Result<Job> {
        let file = JobFile::read(&path)?;
        let here = env::current_dir().context("the working directory")?;
        let mut gates = file.gates;
        gates.extend(self.gates.into_iter().map(|gate| gate.within(&here)));
        let mut texts = file.command.clone();
        texts.push(file.cwd.clone());
        let mut words = file.command.into_iter().map(Spanned::into_inner);
        let program = words.next().expect("a file's command is not empty");
        let settings = self.settings.or(file.settings);
        let job = Job {
            identity: identity(&settings, || of_file(&here.join(&path))),
            safety: self.safety,
            gates,
            program: program.resolve_alone().unwrap_or_default(),
            arguments: words
                .chain(self.words.into_iter().map(Template::from))
                .collect(),
            cwd: Some(Cwd {
                base: file.directory,
                path: file.cwd.into_inner(),
            }),
            settings,
            file: Some(path),
            messages: self.messages,
        };
        job.checked(&texts, Some(&file.source), self.is_rehearsal)
    }
}

/// The name that was given, or else what it is made of.
fn identity(settings: &Settings, otherwise: impl FnOnce() -> String) -> String {
    settings.name.clone().unwrap_or_else(otherwise)
}

/// The file, however it is named: `./job.toml` is `job.toml`.
fn of_file(path: &Path) -> String {
    crate::message::shown(&path.components().collect::<PathBuf>())
}

/// The same gates and command in the same directory are the same job, whatever options of the run
/// stand beside them.
fn hash<'a>(words: impl Iterator<Item = &'a OsString>) -> String {
    let directory = env::current_dir().unwrap_or_default();
    let mut hashed = directory.into_os_string().into_vec();
    for word in words {
        hashed.push(0);
        hashed.extend_from_slice(word.as_bytes());
    }
    hashed.push(0);
    format!("{:08x}", crc_fast::crc32_iscsi(&hashed))
}

/// Looks for what is wrong with a job whose command and directory are `texts` of `source`.
fn check(
    job: &Job,
    texts: &[Spanned<Template>],
    source: Option<&Source>,
    is_rehearsal: bool,
) -> anyhow::Result<()> {
    let mut previews = Previews::of(&job.gates)?;
    if is_rehearsal {
        // A run finds these out by itself, and has other statuses for them.
        previews.wrong.append(&mut previews.doubts);
    }
    if job.settings.orphans == Some(Orphans::Detach) {
        previews.check_outlived();
    }
    let mut flaws = Flaws::default();
    if let Some(source) = source {
        for (position, text) in texts.iter().enumerate() {
            let template = text.get_ref();
            let checked = match position {
                0 => template.resolve_alone().map(drop),
                _ => previews.text(template).map(drop),
            };
            if let Err(error) = checked {
                let origin = Origin::of(text.span(), source);
                flaws.0.push(origin.flaw(&error, source));
            }
        }
    }
    if flaws.0.is_empty()
        && let Err((error, position)) = check_command(job, texts, &previews, is_rehearsal)
    {
        match (source, texts.get(position)) {
            (Some(source), Some(text)) => {
                let origin = Origin::of(text.span(), source);
                flaws.0.push(origin.flaw(&error, source));
            }
            _ => return Err(error),
        }
    }
    let mut others = Vec::new();
    for (option, path) in job.settings.files() {
        if let Err(error) = previews.take_file(option, path) {
            others.push((option, error));
        }
    }
    for wrong in previews.wrong {
        let gate = job.gates.get(wrong.gate);
        match (gate.and_then(Planned::origin), source) {
            (Some(origin), Some(source)) => flaws.0.push(origin.flaw(&wrong.error, source)),
            _ => others.push((gate.map_or("", Planned::label), wrong.error)),
        }
    }
    match (source, others.into_iter().next()) {
        (Some(source), _) if !flaws.0.is_empty() => Err(flaws.report(source).into()),
        (_, Some((label, error))) => Err(error.context(label.to_owned())),
        _ => Ok(()),
    }
}

/// Looks for the command and for its directory. A command that is not there has statuses of its own:
/// a run that comes to it ends with them. Else gives what is wrong, and with which of the `texts`.
fn check_command(
    job: &Job,
    texts: &[Spanned<Template>],
    previews: &Previews<'_>,
    is_rehearsal: bool,
) -> Result<(), (anyhow::Error, usize)> {
    let of_directory = texts.len().saturating_sub(1);
    let directory = match &job.cwd {
        None => Some(PathBuf::new()),
        Some(cwd) => {
            let text = previews.text(&cwd.path);
            let text = text.map_err(|error| (error, of_directory))?;
            text.map(|text| cwd.base.join(text))
        }
    };
    if let Some(directory) = &directory {
        let checked = previews.check_directory(directory, &job.program);
        checked.map_err(|error| (error, of_directory))?;
    }
    if !is_rehearsal {
        return Ok(());
    }
    let is_bare = job.settings.clear_env == Some(true);
    let checked = previews.check_program(&job.program, directory.as_deref(), is_bare);
    checked.map_err(|error| (error, 0))
}

/// Whether what tells of the run goes to files that nothing else of it is for.
fn has_own_files(job: &Job) -> anyhow::Result<bool> {
    let mut previews = Previews::of(&job.gates)?;
    let mut files = job.settings.files();
    Ok(files.all(|(option, path)| previews.take_file(option, path).is_ok()))
}

impl Job {
    /// The job, if nothing can be found wrong with it. Else whoever watches its runs hears of it.
    fn checked(
        self,
        texts: &[Spanned<Template>],
        source: Option<&Source>,
        is_rehearsal: bool,
    ) -> anyhow::Result<Job> {
        let Err(error) = check(&self, texts, source, is_rehearsal) else {
            return Ok(self);
        };
        if !is_rehearsal && has_own_files(&self)? {
            let account = Account::refused(&self, &error)?;
            account.write(&self, self.report()?);
        }
        Err(error)
    }

    /// A command with gates and no journal, and nothing else said.
    pub(crate) fn simple(
        gates: Vec<Planned>,
        program: OsString,
        arguments: Vec<OsString>,
        messages: Messages,
    ) -> Job {
        Job {
            gates,
            program,
            arguments: arguments.into_iter().map(Template::from).collect(),
            cwd: None,
            settings: Settings::default(),
            file: None,
            identity: "atomic".to_owned(),
            safety: Safety {
                keeper: true,
                journal: false,
                recover: false,
            },
            messages,
        }
    }

    /// The command as it is written, for its references may stand for secrets, and without those
    /// that can be told by what stands before them.
    pub(super) fn words(&self) -> Vec<String> {
        let arguments = self.arguments.iter().map(ToString::to_string);
        masked(std::iter::once(crate::message::shown(&self.program)).chain(arguments))
    }

    /// What the job is called: as it was named, or after its file or program.
    pub(crate) fn name(&self) -> String {
        let stem = |path: &Path| {
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            crate::message::shown(stem)
        };
        let given = self.settings.name.clone();
        given.unwrap_or_else(|| match &self.file {
            Some(file) => stem(file),
            None => stem(Path::new(&self.program)),
        })
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            timeout: self.settings.timeout,
            grace: self.settings.grace(),
            signal: self.settings.signal(),
            orphans: self.settings.orphans.unwrap_or_default(),
        }
    }

    /// How long undoing may take.
    pub(super) fn teardown_limit(&self, is_hurried: bool) -> Duration {
        let default = if is_hurried { HURRIED_LIMIT } else { LIMIT };
        self.settings.teardown_timeout.unwrap_or(default)
    }

    /// Whether a success is none if the gates ended so.
    pub(super) fn minds(&self, released: &Released) -> bool {
        let is_clean = matches!(released, Released::Clean);
        !is_clean && self.settings.teardown_errors.unwrap_or_default() == TeardownErrors::Fail
    }

    /// Where the report goes, if one is asked for.
    pub(super) fn report(&self) -> anyhow::Result<Option<Destination>> {
        let sink = self.settings.report.as_ref();
        sink.map(Destination::open).transpose()
    }

    /// The exit status when a lock is busy whose gate says `code`.
    pub(super) fn busy(&self, code: Option<u8>) -> Exit {
        Exit::Code(code.or(self.settings.busy_code).unwrap_or(BUSY))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::of_file;

    #[test]
    fn a_file_is_the_same_job_however_it_is_named() {
        for path in ["/a/job.toml", "/a/./job.toml", "/a//job.toml"] {
            assert_eq!(of_file(Path::new(path)), "/a/job.toml");
        }
    }
}
