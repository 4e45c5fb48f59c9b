//! Where PostgreSQL's programs are.

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::error::ServerError;
use super::super::supervised::reap;

const DEBIAN: &str = "/usr/lib/postgresql";

/// The directory of one version's programs.
#[derive(Clone, Debug)]
pub(super) struct Binaries(PathBuf);

impl Binaries {
    /// Those of this major version, or the newest of Debian's, or those on the `PATH`.
    pub(super) fn find(version: Option<u32>) -> Result<Binaries, ServerError> {
        let missing = || ServerError::not_installed("postgres", "postgresql");
        let found = match version {
            Some(version) => Some(of_debian(version)).filter(|it| has_server(it)),
            None => newest_of_debian().or_else(on_path),
        };
        found.map(Binaries).ok_or_else(missing)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The exact version, such as `15.18`.
    pub(super) fn version(&self) -> Result<String, ServerError> {
        let failed = "ask PostgreSQL for its version";
        let mut ask = Command::new(self.program("postgres"));
        let asked = ask.arg("--version").stdout(Stdio::piped()).spawn();
        let mut asked = asked.map_err(ServerError::doing(failed))?;
        let mut answer = String::new();
        if let Some(mut stdout) = asked.stdout.take() {
            let read = stdout.read_to_string(&mut answer);
            let _length = read.map_err(ServerError::doing(failed))?;
        }
        let _status = reap(&mut asked).map_err(ServerError::doing(failed))?;
        let word = answer.split_whitespace().nth(2).map(str::to_owned);
        word.ok_or_else(|| ServerError::ended(failed, answer))
    }
}

fn of_debian(version: u32) -> PathBuf {
    Path::new(DEBIAN).join(version.to_string()).join("bin")
}

fn newest_of_debian() -> Option<PathBuf> {
    let folders = fs::read_dir(DEBIAN).ok()?.flatten();
    let versions = folders.filter_map(|it| it.file_name().to_str()?.parse().ok());
    let servers = versions.filter(|version| has_server(&of_debian(*version)));
    servers.max().map(of_debian)
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).find(|folder| has_server(folder))
}

fn has_server(folder: &Path) -> bool {
    folder.join("postgres").is_file() && folder.join("initdb").is_file()
}
