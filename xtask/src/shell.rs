//! Running other programs, and saying so.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::repository;

/// The cargo that runs us, at the root of the repository.
///
/// In CI there is no next build to keep anything for: that would be half of what it writes, and a
/// full disk kills the linker.
pub(crate) fn cargo() -> Command {
    let mut cargo = at_root(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if env::var_os("CI").is_some() {
        let _ = cargo.env("CARGO_INCREMENTAL", "0");
    }
    cargo
}

/// A program at the root of the repository, with nothing on its standard input.
pub(crate) fn at_root(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let _ = command.current_dir(repository::root()).stdin(Stdio::null());
    command
}

/// Prints the command, runs it with our output, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// What the command wrote to its standard output; its errors go to ours.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{shown}` wrote something other than text"))
}

/// Whether the command can be started and succeeds, in silence.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a program of this name is on the `PATH`.
pub(crate) fn is_installed(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), quote(value)));
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    variables
        .chain([quote(program)])
        .chain(command.get_args().map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The word as a shell needs it.
pub(crate) fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        let _ = command
            .env("RUSTFLAGS", "--cfg withal_loom")
            .args(["test", "--", "it's"]);
        assert_eq!(
            show(&command),
            r"RUSTFLAGS='--cfg withal_loom' cargo test -- 'it'\''s'"
        );
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` failed: exit status: 3");
    }
}
