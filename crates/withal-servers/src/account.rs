//! Whom servers run as.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Ourselves, or, if we are root, somebody with fewer rights: PostgreSQL refuses to be root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// `None` is ourselves.
    other: Option<(u32, u32)>,
    /// What is done to each of its commands first.
    prepare: Option<fn(&mut Command)>,
}

impl Account {
    /// The first of `names` this machine knows, if we are root.
    pub(super) fn unprivileged(names: &[&str]) -> io::Result<Account> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account::new(None));
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let other = names.iter().find_map(|name| ids(&users, name));
        let missing = || {
            let names = names.join("` or `");
            io::Error::other(format!("we are root, and there is no user `{names}`"))
        };
        Ok(Account::new(Some(other.ok_or_else(missing)?)))
    }

    fn new(other: Option<(u32, u32)>) -> Account {
        let prepare = None;
        Account { other, prepare }
    }

    pub(super) fn preparing(self, prepare: Option<fn(&mut Command)>) -> Account {
        Account { prepare, ..self }
    }

    pub(super) fn uid(self) -> u32 {
        let own = rustix::process::geteuid().as_raw();
        self.other.map_or(own, |(uid, _)| uid)
    }

    /// Has `command` run as this user.
    pub(super) fn run(self, command: &mut Command) -> &mut Command {
        if let Some(prepare) = self.prepare {
            prepare(command);
        }
        match self.other {
            None => command,
            Some((uid, gid)) => command.uid(uid).gid(gid),
        }
    }

    /// Gives `path`, and all in it, to this user; the directory itself last, while nobody else can
    /// meddle.
    pub(super) fn own(self, path: &Path) -> io::Result<()> {
        let Some((uid, gid)) = self.other else {
            return Ok(());
        };
        if fs::symlink_metadata(path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own(&entry?.path())?;
            }
        }
        lchown(path, Some(uid), Some(gid))
    }
}

/// The user and group ids of `name` in the lines of `/etc/passwd`.
fn ids(users: &str, name: &str) -> Option<(u32, u32)> {
    let mut lines = users.lines().map(|line| line.split(':'));
    let mut fields =
        lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some((uid, fields.next()?.parse().ok()?))
}
