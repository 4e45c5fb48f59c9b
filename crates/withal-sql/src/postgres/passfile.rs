//! Passwords in a file of their own: `~/.pgpass`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tokio_postgres::config::Host;
use withal_core::{NoticeKind, emit_error};

/// Passwords, and where each is for. It has no `Debug`.
#[derive(Default)]
pub(super) struct Passfile(Vec<Entry>);

struct Entry {
    host: Field,
    port: Field,
    database: Field,
    user: Field,
    password: Vec<u8>,
}

enum Field {
    Any,
    Exactly(Vec<u8>),
}

/// Where sockets are by default: they are called `localhost` here.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

impl Passfile {
    /// Reads it; as with libpq, one that others may read counts for nothing, which is noticed.
    pub(super) fn read(path: &Path) -> Passfile {
        match read(path) {
            Ok(Some(text)) => Passfile::parse(&text),
            Ok(None) => Passfile::default(),
            Err(why) => {
                let why = format!("the password file `{}` is ignored: {why}", path.display());
                emit_error(NoticeKind::WorkedAround, None, why);
                Passfile::default()
            }
        }
    }

    fn parse(text: &[u8]) -> Passfile {
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        Passfile(
            lines
                .filter(|line| !line.starts_with(b"#"))
                .filter_map(Entry::parse)
                .collect(),
        )
    }

    /// The first that fits.
    pub(super) fn password(
        &self,
        host: &Host,
        port: u16,
        database: &str,
        user: &str,
    ) -> Option<&[u8]> {
        let host = match host {
            Host::Tcp(name) => name.as_bytes(),
            Host::Unix(path) if SOCKETS.iter().any(|default| path == Path::new(default)) => {
                b"localhost"
            }
            Host::Unix(path) => path.as_os_str().as_encoded_bytes(),
        };
        let port = port.to_string();
        let mut entries = self.0.iter();
        let entry = entries.find(|entry| {
            entry.host.is(host)
                && entry.port.is(port.as_bytes())
                && entry.database.is(database.as_bytes())
                && entry.user.is(user.as_bytes())
        });
        entry.map(|entry| &*entry.password)
    }
}

/// Its text, if it is there; or why it must not be used.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if !metadata.is_file() {
        return Err("it is no plain file".to_owned());
    }
    if metadata.mode() & 0o077 != 0 {
        return Err("group or others may read or write it; `chmod 0600` it".to_owned());
    }
    fs::read(path).map(Some).map_err(|error| error.to_string())
}

impl Entry {
    fn parse(line: &[u8]) -> Option<Entry> {
        let (host, line) = cut(line)?;
        let (port, line) = cut(line)?;
        let (database, line) = cut(line)?;
        let (user, password) = cut(line)?;
        Some(Entry {
            host,
            port,
            database,
            user,
            password: plain(password),
        })
    }
}

impl Field {
    fn is(&self, value: &[u8]) -> bool {
        match self {
            Field::Any => true,
            Field::Exactly(field) => field == value,
        }
    }
}

/// What is before the first colon that is not escaped, and what is behind.
fn cut(line: &[u8]) -> Option<(Field, &[u8])> {
    let mut is_escaped = false;
    let colon = line.iter().position(|byte| {
        let is_end = *byte == b':' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    })?;
    let field = match line.get(..colon)? {
        b"*" => Field::Any,
        field => Field::Exactly(plain(field)),
    };
    Some((field, line.get(colon + 1..)?))
}

/// Without the backslashes that escape.
fn plain(escaped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => bytes.next().unwrap_or(byte),
            byte => byte,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
# db:1:orders:ada:commented\r
db:1:orders:ada:first\r
db:*:orders:ada:a\\:b\\\\c:d
too:short:bob
d\\:b:*:\\*:*:escaped
localhost:5432:*:ada:socket
/run/other:5432:*:ada:elsewhere
*:*:*:*:any";

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let passwords = Passfile::parse(TEXT);
        let tcp = |name: &str| Host::Tcp(name.to_owned());
        let socket = |path: &str| Host::Unix(path.into());
        for (host, port, database, user, expected) in [
            (tcp("db"), 1, "orders", "ada", "first"),
            (tcp("db"), 2, "orders", "ada", "a:b\\c:d"),
            (tcp("db"), 2, "orders", "bob", "any"),
            (tcp("d:b"), 2, "*", "bob", "escaped"),
            (tcp("d:b"), 2, "orders", "bob", "any"),
            (socket("/var/run/postgresql"), 5432, "x", "ada", "socket"),
            (socket("/run/other"), 5432, "x", "ada", "elsewhere"),
            (socket("/run/third"), 5432, "x", "ada", "any"),
        ] {
            let found = passwords.password(&host, port, database, user);
            assert_eq!(found, Some(expected.as_bytes()), "{host:?} {port}");
        }
        let none = Passfile::parse(b"db:1:*:*:x");
        assert_eq!(none.password(&tcp("db"), 2, "orders", "ada"), None);
    }
}
