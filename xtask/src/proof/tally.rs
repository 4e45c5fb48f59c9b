//! `N tried, M bad`.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// How much was tried, and how much of it was bad.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    pub(super) tried: u64,
    pub(super) bad: u64,
}

impl Tally {
    /// Runs a program, passes on what it prints, and takes its last line for its tally.
    pub(super) fn of(command: &mut Command) -> Result<Tally> {
        let shown = shell::show(command);
        println!("$ {shown}");
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let output = child.stdout.take().context("it has a pipe")?;
        let mut last = String::new();
        for line in BufReader::new(output).lines() {
            last = line?;
            println!("{last}");
        }
        let status = child.wait()?;
        Tally::parse(&last).with_context(|| format!("`{shown}` came to no end: {status}"))
    }

    pub(super) fn parse(line: &str) -> Option<Tally> {
        let (tried, bad) = line.strip_suffix(" bad")?.split_once(" tried, ")?;
        Some(Tally {
            tried: tried.parse().ok()?,
            bad: bad.parse().ok()?,
        })
    }

    pub(super) fn add(&mut self, other: Tally) {
        self.tried += other.tried;
        self.bad += other.bad;
    }

    pub(super) fn verdict(self) -> Result<()> {
        match self {
            Tally { tried: 0, .. } => bail!("nothing was tried"),
            Tally { bad: 0, .. } => Ok(()),
            Tally { bad, .. } => bail!("{bad} were bad"),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tried, {} bad", self.tried, self.bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_tally() {
        let script = "echo 'BAD: one'; echo '3 tried, 1 bad'; exit 1";
        let tally = Tally::of(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(tally, Tally { tried: 3, bad: 1 });
        assert!(Tally::of(Command::new("sh").args(["-c", "exit 1"])).is_err());
    }

    #[test]
    fn nothing_tried_is_no_proof() {
        let verdict = |tried, bad| Tally { tried, bad }.verdict().is_ok();
        assert!(verdict(3, 0));
        assert!(!verdict(3, 1));
        assert!(!verdict(0, 0));
    }
}
