//! Installing what a fresh machine lacks, and nothing else.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// A program the checks need, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    // Build scripts and bundled C need the compiler, everything needs the linker.
    Tool {
        program: "cc",
        package: "gcc",
    },
    // The tests that look at system calls.
    Tool {
        program: "strace",
        package: "strace",
    },
    // The whole-command benchmarks and their quick run in CI.
    Tool {
        program: "hyperfine",
        package: "hyperfine",
    },
    // The peers of the benchmarks that are written in Python.
    Tool {
        program: "python3",
        package: "python3",
    },
    // The private servers of tests.
    Tool {
        program: "redis-server",
        package: "redis-server",
    },
];

/// Where Debian's packages put PostgreSQL's programs, which are not on the `PATH`.
const POSTGRES: &str = "/usr/lib/postgresql";

/// What tells Debian's packages whether to make a cluster of their own when they are installed.
const CLUSTERS: &str = "/etc/postgresql-common/createcluster.conf";

/// Installs the missing ones of the tools every check needs.
pub(crate) fn tools() -> Result<()> {
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|tool| !shell::is_installed(tool.program))
        .map(|tool| tool.package)
        .collect();
    apt(&missing)?;
    postgres()?;
    components()
}

/// Installs PostgreSQL for the private servers of tests, without the machine-wide cluster that
/// Debian would make and start: a machine that has not had PostgreSQL does not want one.
fn postgres() -> Result<()> {
    if Path::new(POSTGRES).is_dir() || shell::is_installed("postgres") {
        return Ok(());
    }
    apt(&["postgresql-common"])?;
    let no_cluster = format!("echo 'create_main_cluster = false' >>{CLUSTERS}");
    shell::run(as_root()?.args(["sh", "-c", &no_cluster]))?;
    apt(&["postgresql"])
}

/// Installs Debian packages; does nothing at all for none.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !shell::is_installed("apt-get") {
        bail!(
            "please install {}: there is no apt-get here",
            packages.join(", ")
        );
    }
    shell::run(as_root()?.args(["apt-get", "update"]))?;
    shell::run(
        as_root()?
            .args(["apt-get", "install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
}

/// `env` with root's rights, to be followed by the command.
fn as_root() -> Result<Command> {
    let user = shell::output(shell::at_root("id").arg("-u"))?;
    let mut command = if user.trim() == "0" {
        shell::at_root("env")
    } else if shell::is_installed("sudo") {
        shell::at_root("sudo")
    } else {
        bail!("packages are missing, and there is neither root nor sudo to install them");
    };
    let _ = command.arg("DEBIAN_FRONTEND=noninteractive");
    Ok(command)
}

/// Adds rustfmt and clippy to the toolchain where they are missing.
fn components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !shell::succeeds(shell::cargo().args([subcommand, "--version"])) {
            shell::run(shell::at_root("rustup").args(["component", "add", component]))
                .with_context(|| format!("`cargo {subcommand}` is missing"))?;
        }
    }
    Ok(())
}
