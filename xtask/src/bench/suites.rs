//! The benchmarks by name.

use anyhow::{Result, bail};

use super::machine::Tool;
use super::measure::US;
use super::mode::Mode;
use super::source::{Source, WholeCommand};
use crate::repository::Metadata;
use crate::shell;

/// A benchmark: programs that do the same work.
pub(super) struct Suite {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) sources: &'static [Source],
    /// What its programs start, beside what every machine has: they leave out what is missing.
    pub(super) peers: &'static [Peer],
    /// How often to go through them, if nobody says.
    pub(super) passes: u32,
    /// What else bears on its numbers.
    pub(super) tools: &'static [Tool],
}

/// A program that is installed, or not.
pub(super) struct Peer {
    pub(super) program: &'static str,
    pub(super) install: &'static str,
}

pub(super) const SUITES: &[Suite] = &[
    Suite {
        name: "scope",
        what: "blocks and scopes, enters and exits ready at once",
        sources: &[Source::Rust("scope"), Source::Python("contextlib_peers.py")],
        peers: &[],
        passes: 5,
        tools: &[Tool::Python],
    },
    Suite {
        name: "os",
        what: "files replaced whole and durably",
        sources: &[Source::Rust("os"), Source::Python("atomic_file.py")],
        peers: &[],
        passes: 3,
        tools: &[Tool::Python, Tool::FileSystem],
    },
    Suite {
        name: "log",
        what: "appending to a log, piping into one, opening it after a crash, verifying it",
        // Files replaced durably stand beside the log: they promise the same.
        sources: &[
            Source::Rust("pipe"),
            Source::Rust("log"),
            Source::Rust("os"),
            Source::Python("atomic_file.py"),
        ],
        peers: &[
            Peer {
                program: "s6-log",
                install: "apt-get install s6",
            },
            Peer {
                program: "multilog",
                install: "apt-get install daemontools",
            },
            Peer {
                program: "svlogd",
                install: "apt-get install runit",
            },
        ],
        passes: 2,
        tools: &[Tool::Python, Tool::FileSystem],
    },
    Suite {
        name: "pool",
        what: "connections taken from a pool and given back",
        sources: &[Source::Rust("pool")],
        peers: &[],
        passes: 5,
        tools: &[],
    },
    Suite {
        name: "sql",
        what: "a pool of Postgres connections: checkouts, transfers, rows",
        sources: &[Source::Rust("sql")],
        peers: &[],
        passes: 3,
        tools: &[],
    },
    Suite {
        name: "run",
        what: "a command that does nothing, start to end; what a run costs meanwhile",
        sources: &[
            Source::Rust("run"),
            Source::Commands {
                work: "run `true`",
                commands: &[
                    WholeCommand {
                        who: US,
                        line: "withal run -- true",
                    },
                    WholeCommand {
                        who: "env",
                        line: "env true",
                    },
                    WholeCommand {
                        who: "timeout",
                        line: "timeout 10 true",
                    },
                    WholeCommand {
                        who: "bash, mktemp and trap",
                        line: r#"bash -c 'd=$(mktemp -d); trap "rm -rf $d" EXIT; true'"#,
                    },
                ],
            },
        ],
        peers: &[],
        passes: 5,
        tools: &[Tool::Hyperfine, Tool::Bash],
    },
];

/// The names of all benchmarks.
pub(super) fn names() -> Vec<&'static str> {
    SUITES.iter().map(|suite| suite.name).collect()
}

impl Suite {
    /// Builds what it needs, and sees that it does the work at all.
    pub(super) fn prepare(&self, metadata: &Metadata, mode: Mode) -> Result<()> {
        mode.build(&self.packages())?;
        let is_commands = |source: &Source| matches!(source, Source::Commands { .. });
        match self.sources.iter().any(is_commands) {
            true => check_command(metadata, mode),
            false => Ok(()),
        }
    }

    /// What its programs are made of.
    fn packages(&self) -> Vec<&'static str> {
        let is_program = |source: &Source| matches!(source, Source::Rust(_));
        let starts_command = |source: &Source| {
            matches!(
                source,
                Source::Rust("pipe" | "run") | Source::Commands { .. }
            )
        };
        let has = |is: fn(&Source) -> bool| self.sources.iter().any(is);
        [
            ("withal-cli", has(starts_command)),
            ("withal-benches", has(is_program)),
        ]
        .into_iter()
        .filter_map(|(package, is_needed)| is_needed.then_some(package))
        .collect()
    }
}

fn check_command(metadata: &Metadata, mode: Mode) -> Result<()> {
    let status = shell::at_root(mode.program(metadata, US))
        .args(["run", "--", "sh", "-c", "exit 7"])
        .status()?;
    if status.code() != Some(7) {
        bail!("`withal run` does not run its command: {status} instead of 7");
    }
    Ok(())
}
