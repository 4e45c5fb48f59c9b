//! An initialised cluster, made once and copied.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use withal_core::{BoxError, with};
use withal_os::{AtomicDir, Durability, FileLock, HeldLock};

use super::super::error::{ServerError, worked_around};
use super::super::home::Home;
use super::super::instance::last_lines;
use super::super::random::secret;
use super::super::supervised::reap;
use super::binaries::Binaries;

/// Names the time since the machine was started.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Counts up when a template is made in another way.
const FORMAT: u32 = 2;

/// Puts a new cluster into `home`, as `data`, and gives its superuser's password.
pub(super) fn unpack(binaries: &Binaries, home: &Home) -> Result<String, ServerError> {
    let data = home.join("data");
    let Some(cache) = cache() else {
        return initialise(binaries, home);
    };
    let template = cache.join(format!("{}-{FORMAT}", binaries.version()?));
    if let Some(password) = copy_out(&template, &data)? {
        return Ok(password);
    }
    let _held = match lock(&cache) {
        Ok(held) => held,
        Err(error) => {
            // A home that cannot be written: every cluster is made afresh.
            worked_around("cache of PostgreSQL clusters", error);
            return initialise(binaries, home);
        }
    };
    // Somebody may have made it while we waited.
    if let Some(password) = copy_out(&template, &data)? {
        return Ok(password);
    }
    let password = initialise(binaries, home)?;
    if let Err(error) = keep(&data, &password, template) {
        worked_around("cache of PostgreSQL clusters", error);
    }
    Ok(password)
}

/// Where templates are kept: ours alone, as they hold passwords.
fn cache() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let said = set("XDG_CACHE_HOME").map(PathBuf::from);
    let user = said.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))?;
    Some(user.join("withal").join("postgres"))
}

fn lock(cache: &Path) -> Result<HeldLock, BoxError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(cache)?;
    Ok(FileLock::exclusive(cache.join("lock")).mode(0o600).lock()?)
}

/// Copies the template, if there is one of this boot.
fn copy_out(template: &Path, data: &Path) -> Result<Option<String>, ServerError> {
    let failed = || ServerError::doing("copy a PostgreSQL cluster from the cache");
    let read = |path: &Path| match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(failed()),
    };
    let boot = read(&template.join("boot"))?;
    if boot.is_none() || boot != read(Path::new(BOOT))? {
        return Ok(None);
    }
    let password = read(&template.join("password"))?;
    if password.is_some() {
        copy(&template.join("data"), data).map_err(failed())?;
    }
    Ok(password)
}

/// Makes a template of a new cluster, whole or not at all.
///
/// To sync it takes longer than to make it. So it is not synced, and good for this boot only: who
/// reads it has not lost power since it was written.
fn keep(data: &Path, password: &str, template: PathBuf) -> Result<(), withal_core::Error> {
    let staged = AtomicDir::create(template).mode(0o700);
    with(staged.durability(Durability::Atomic), |staged| {
        copy(data, &staged.path().join("data"))?;
        write_secret(&staged.path().join("password"), password)?;
        fs::write(staged.path().join("boot"), fs::read(BOOT)?)?;
        Ok(())
    })
}

/// Makes a cluster by `initdb`.
fn initialise(binaries: &Binaries, home: &Home) -> Result<String, ServerError> {
    let failed = || ServerError::doing("make a PostgreSQL cluster");
    let password = secret().map_err(failed())?;
    let file = home.join("password");
    write_secret(&file, &password).map_err(failed())?;
    home.hand_over()?;
    let mut initdb = Command::new(binaries.program("initdb"));
    let _ = initdb.args(["--username=postgres", "--auth=trust", "--no-instructions"]);
    let _ = initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync"]);
    let _ = initdb
        .arg("--pwfile")
        .arg(&file)
        .arg("--pgdata")
        .arg(home.join("data"));
    let _ = initdb.current_dir(home.path()).stdin(Stdio::null());
    let _ = initdb.env_clear().env("PATH", "/usr/bin:/bin");
    let _ = initdb.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = home.account().run(&mut initdb).spawn().map_err(failed())?;
    let mut said = Vec::new();
    if let Some(mut stderr) = running.stderr.take() {
        let _length = stderr.read_to_end(&mut said).map_err(failed())?;
    }
    let status = reap(&mut running).map_err(failed())?;
    fs::remove_file(&file).map_err(failed())?;
    // If somebody else has waited for it: where it fails, it removes what it has made.
    let has_made = || home.join("data/PG_VERSION").is_file();
    match status.map_or_else(has_made, |status| status.success()) {
        true => Ok(password),
        false => {
            let said = String::from_utf8_lossy(&said);
            Err(ServerError::ended(
                "make a PostgreSQL cluster",
                last_lines(&said),
            ))
        }
    }
}

fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(secret.as_bytes())
}

/// Copies a directory; its files share their blocks where the file system can.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            let _length = fs::copy(entry.path(), target)?;
        } else {
            let path = entry.path();
            let what = format!("`{}` is neither a file nor a directory", path.display());
            return Err(io::Error::other(what));
        }
    }
    Ok(())
}
