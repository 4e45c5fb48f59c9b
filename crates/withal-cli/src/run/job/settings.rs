//! How a job is run: as options, as `WITHAL_…` variables, and as keys of a job file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PathBufValueParser, TypedValueParser as _};
use nix::sys::signal::Signal;
use serde::{Deserialize, Deserializer};

use crate::cli::{duration, signal, status, switch, time_limit};
use crate::run::gates;

/// How long the command has between being asked to stop and being killed.
const GRACE: Duration = Duration::from_secs(5);

/// What is said of how a job is run. What is not said is as [`Settings::grace`] and so on have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[command(next_help_heading = "Options")]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Stop the command if it runs longer; the exit status is then 124
    #[arg(short = 'T', long, value_name = "DUR", value_parser = time_limit, allow_negative_numbers = true,
        env = "WITHAL_TIMEOUT", hide_env = true)]
    #[serde(default, deserialize_with = "time_limit_key")]
    pub(crate) timeout: Option<Duration>,

    /// Time between being asked to stop and being killed [default: 5s]
    #[arg(short = 'k', long, value_name = "DUR", value_parser = duration, allow_negative_numbers = true,
        env = "WITHAL_GRACE", hide_env = true)]
    #[serde(default, deserialize_with = "gates::duration")]
    pub(crate) grace: Option<Duration>,

    /// What to send to stop the command when its time is over [default: TERM]
    #[arg(short, long, value_name = "SIG", value_parser = signal, env = "WITHAL_SIGNAL", hide_env = true)]
    #[serde(default, deserialize_with = "signal_key")]
    pub(crate) signal: Option<Signal>,

    /// What becomes of processes the command leaves running [default: kill]
    #[arg(
        long,
        value_name = "kill|wait|detach",
        hide_possible_values = true,
        env = "WITHAL_ORPHANS",
        hide_env = true
    )]
    pub(crate) orphans: Option<Orphans>,

    /// Time for undoing the gates [default: 60s, 4s when asked to stop]
    #[arg(long, value_name = "DUR", value_parser = time_limit, allow_negative_numbers = true,
        env = "WITHAL_TEARDOWN_TIMEOUT", hide_env = true)]
    #[serde(default, deserialize_with = "time_limit_key")]
    pub(crate) teardown_timeout: Option<Duration>,

    /// Whether a gate that cannot be undone makes a success a failure [default: fail]
    #[arg(
        long,
        value_name = "warn|fail",
        hide_possible_values = true,
        env = "WITHAL_TEARDOWN_ERRORS",
        hide_env = true
    )]
    pub(crate) teardown_errors: Option<TeardownErrors>,

    /// Whether gates leave what they made, where they can [default: never]
    #[arg(
        long,
        value_name = "never|on-failure|always",
        hide_possible_values = true,
        env = "WITHAL_KEEP",
        hide_env = true
    )]
    pub(crate) keep: Option<Keep>,

    /// Give the command no variables but those of gates and --env
    #[arg(
        long,
        num_args = 0,
        default_missing_value = "true",
        value_parser = switch,
        env = "WITHAL_CLEAR_ENV",
        hide_env = true
    )]
    pub(crate) clear_env: Option<bool>,

    /// Exit status when a lock is busy [default: 75]
    #[arg(long, value_name = "N", value_parser = status, allow_negative_numbers = true,
        env = "WITHAL_BUSY_CODE", hide_env = true)]
    pub(crate) busy_code: Option<u8>,

    /// On a timeout exit with the command's own status instead of 124
    #[arg(
        long,
        num_args = 0,
        default_missing_value = "true",
        value_parser = switch,
        env = "WITHAL_PRESERVE_STATUS",
        hide_env = true
    )]
    pub(crate) preserve_status: Option<bool>,

    /// What the job is called in reports, metrics and journals
    #[arg(long, value_name = "NAME", value_parser = name, env = "WITHAL_NAME", hide_env = true)]
    #[serde(default, deserialize_with = "name_key")]
    pub(crate) name: Option<String>,

    /// Write what happened, as JSON
    #[arg(long, value_name = "FILE|fd:N", value_parser = sink, env = "WITHAL_REPORT", hide_env = true)]
    #[serde(default, deserialize_with = "sink_key")]
    pub(crate) report: Option<Sink>,

    /// Write how it went, for Prometheus
    #[arg(
        long,
        value_name = "FILE",
        value_parser = PathBufValueParser::new().try_map(file),
        env = "WITHAL_METRICS",
        hide_env = true
    )]
    #[serde(default, deserialize_with = "file_key")]
    pub(crate) metrics: Option<PathBuf>,

    /// Draw when the gates and the command were there
    #[arg(
        long,
        value_name = "FILE.svg",
        value_parser = PathBufValueParser::new().try_map(file),
        env = "WITHAL_TIMELINE",
        hide_env = true
    )]
    #[serde(default, deserialize_with = "file_key")]
    pub(crate) timeline: Option<PathBuf>,
}

/// What becomes of what the command leaves running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Orphans {
    /// It is asked to stop, and killed after the grace.
    #[default]
    Kill,
    /// It is waited for.
    Wait,
    /// It is left alone.
    Detach,
}

/// What a gate that cannot be undone means for the exit status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TeardownErrors {
    /// It is told.
    Warn,
    /// It is told, and is a failure.
    #[default]
    Fail,
}

/// Whether a gate leaves what it made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Keep {
    #[default]
    Never,
    /// If the command did not succeed.
    OnFailure,
    Always,
}

impl Keep {
    /// Whether it is left, if the command ended so.
    pub(crate) fn applies(self, succeeded: bool) -> bool {
        match self {
            Keep::Never => false,
            Keep::OnFailure => !succeeded,
            Keep::Always => true,
        }
    }
}

/// Where a report is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    File(PathBuf),
    /// A descriptor this process came with.
    Descriptor(i32),
}

impl Settings {
    /// These settings; where they say nothing, the others.
    pub(crate) fn or(self, other: Settings) -> Settings {
        Settings {
            timeout: self.timeout.or(other.timeout),
            grace: self.grace.or(other.grace),
            signal: self.signal.or(other.signal),
            orphans: self.orphans.or(other.orphans),
            teardown_timeout: self.teardown_timeout.or(other.teardown_timeout),
            teardown_errors: self.teardown_errors.or(other.teardown_errors),
            keep: self.keep.or(other.keep),
            clear_env: self.clear_env.or(other.clear_env),
            busy_code: self.busy_code.or(other.busy_code),
            preserve_status: self.preserve_status.or(other.preserve_status),
            name: self.name.or(other.name),
            report: self.report.or(other.report),
            metrics: self.metrics.or(other.metrics),
            timeline: self.timeline.or(other.timeline),
        }
    }

    /// The same, with its files in `directory`.
    pub(super) fn within(mut self, directory: &Path) -> Settings {
        if let Some(Sink::File(path)) = &mut self.report {
            *path = directory.join(&*path);
        }
        for path in [&mut self.metrics, &mut self.timeline]
            .into_iter()
            .flatten()
        {
            *path = directory.join(&*path);
        }
        self
    }

    /// The files that are written at the end, by their options.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let report = self.report.as_ref().and_then(|report| match report {
            Sink::File(path) => Some(path),
            Sink::Descriptor(_) => None,
        });
        let files = [
            ("--report", report),
            ("--metrics", self.metrics.as_ref()),
            ("--timeline", self.timeline.as_ref()),
        ];
        let files = files.into_iter();
        files.filter_map(|(option, path)| Some((option, path?.as_path())))
    }

    pub(crate) fn grace(&self) -> Duration {
        self.grace.unwrap_or(GRACE)
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signal.unwrap_or(Signal::SIGTERM)
    }
}

fn name(text: &str) -> Result<String, String> {
    let is_wrong = text.trim().is_empty() || text.chars().any(char::is_control);
    match is_wrong {
        true => Err("not a name; write what the job is called".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn sink(text: &str) -> Result<Sink, String> {
    match text.strip_prefix("fd:") {
        Some(number) => match number.parse() {
            Ok(number) if number >= 0 => Ok(Sink::Descriptor(number)),
            _ => Err("not a descriptor; write `fd:3`".to_owned()),
        },
        None if text.is_empty() => Err("no file; write its path".to_owned()),
        None => Ok(Sink::File(text.into())),
    }
}

fn file(path: PathBuf) -> Result<PathBuf, String> {
    match path.to_str() {
        Some("") => Err("no file; write its path".to_owned()),
        Some(text) if text.starts_with("fd:") => {
            Err("only a report goes to a descriptor; write the path of a file".to_owned())
        }
        _ => Ok(path),
    }
}

fn file_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    gates::parsed(deserializer, |text| file(text.into())).map(Some)
}

fn time_limit_key<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let limit = gates::duration(deserializer)?;
    match limit {
        Some(Duration::ZERO) => Err(serde::de::Error::custom(
            "no time at all; leave it out for no limit",
        )),
        limit => Ok(limit),
    }
}

fn signal_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Signal>, D::Error> {
    gates::parsed(deserializer, signal).map(Some)
}

fn name_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    gates::parsed(deserializer, name).map(Some)
}

fn sink_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sink>, D::Error> {
    gates::parsed(deserializer, sink).map(Some)
}
