//! Where lines go.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::Context as _;

use crate::message::shown;
use crate::output::Closed;

/// A stream or a file that takes lines.
#[derive(Debug)]
pub(in super::super) struct Output {
    file: File,
    name: String,
    /// Begins each line, where others write, too.
    prefix: &'static str,
}

impl Output {
    /// The file, or else stdout, which is a command's if there is one: then stderr.
    pub(super) fn open(path: Option<&Path>, is_command: bool) -> anyhow::Result<Output> {
        let (stream, name, prefix) = match (path, is_command) {
            (Some(path), _) => {
                let name = shown(path);
                let file = File::create(path);
                let file = file.with_context(|| format!("--output: cannot write `{name}`"))?;
                (file.into(), name, "")
            }
            (None, false) => (
                io::stdout().as_fd().try_clone_to_owned()?,
                "stdout".to_owned(),
                "",
            ),
            (None, true) => {
                let stderr = io::stderr().as_fd().try_clone_to_owned()?;
                (stderr, "stderr".to_owned(), "withal: ")
            }
        };
        Ok(Output {
            file: File::from(stream),
            name,
            prefix,
        })
    }

    /// Writes lines in one piece, each with what begins lines here.
    pub(super) fn lines(&mut self, lines: impl fmt::Display) -> anyhow::Result<()> {
        let text: String = lines
            .to_string()
            .lines()
            .map(|line| format!("{}{line}\n", self.prefix))
            .collect();
        self.write(&text)
    }

    /// What a message that stands alone begins with.
    pub(super) fn title(&self) -> &'static str {
        match self.prefix {
            "" => "withal watch",
            _ => "watch",
        }
    }

    /// Writes a line as it is.
    pub(super) fn line(&mut self, mut line: String) -> anyhow::Result<()> {
        line.push('\n');
        self.write(&line)
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Closed.into(),
            _ => anyhow::Error::new(error).context(format!("cannot write {}", self.name)),
        })
    }
}
