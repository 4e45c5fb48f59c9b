//! Holes in a log that is printed: each is told, and what is behind it is printed still.

use std::path::Path;

use withal_log::{LogError, LogErrorKind};

use crate::message::{say, shown};
use crate::run::Exit;

/// Whether all was there to be printed.
#[derive(Debug)]
pub(super) struct Holes<'p> {
    path: &'p Path,
    is_any: bool,
}

impl Holes<'_> {
    /// None so far in the log `path`.
    pub(super) fn of(path: &Path) -> Holes<'_> {
        Holes {
            path,
            is_any: false,
        }
    }

    /// Tells of a hole, behind which a reader goes on; gives back any other error.
    pub(super) fn pass(&mut self, error: LogError) -> anyhow::Result<()> {
        if error.kind() != LogErrorKind::Corrupt {
            return Err(error.into());
        }
        say(format_args!(
            "{:#}; `withal log verify {}` shows what is wrong",
            anyhow::Error::new(error),
            shown(self.path)
        ));
        self.is_any = true;
        Ok(())
    }

    pub(super) fn exit(&self) -> Exit {
        match self.is_any {
            true => Exit::FAILED,
            false => Exit::SUCCESS,
        }
    }
}
