//! The file that names the databases.

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rustix::fs::{Access, access};
use serde::Deserialize;
use toml::Spanned;
use withal_sql::Sessions;
use withal_sql::migrate::Migrations;

use crate::message::{MASK, shown};
use crate::source::{Flaw, Source};

/// A database, and what is to be applied to it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) migrations: Migrations,
}

/// Where a database is. There may be a password in it, so it is not shown.
pub(super) struct Url {
    to_write: String,
    to_read: Option<String>,
}

impl Url {
    fn new(text: &str) -> Url {
        Url {
            to_write: text.to_owned(),
            to_read: Some(text.to_owned()),
        }
    }

    fn of_sqlite(text: String, file: &Path) -> Url {
        let separator = if text.contains('?') { '&' } else { '?' };
        let mode = match needs_writing(file) {
            true => "rw",
            false => "ro",
        };
        let to_read = format!("{text}{separator}mode={mode}");
        Url {
            to_write: text,
            to_read: file.exists().then_some(to_read),
        }
    }

    pub(super) fn to_write(&self) -> String {
        self.to_write.clone()
    }

    /// To look at it; nothing if there is no such database, which looking must not make.
    pub(super) fn to_read(&self) -> Option<String> {
        self.to_read.clone()
    }
}

/// Whether reading it makes files beside it that only a connection which may write removes: it has
/// a write-ahead log, as its header says.
///
/// No connection may be open yet: closing the file would give up the locks that SQLite has on it.
pub(crate) fn needs_writing(path: &Path) -> bool {
    const VERSIONS: usize = 20;
    const WRITE_AHEAD: [u8; 2] = [2, 2];
    let mut header = [0; VERSIONS];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let directory = path
        .parent()
        .filter(|directory| *directory != Path::new(""));
    let is_writable = |path| access(path, Access::WRITE_OK).is_ok();
    read.is_ok()
        && header.ends_with(&WRITE_AHEAD)
        && is_writable(path)
        && is_writable(directory.unwrap_or(Path::new(".")))
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    database: Vec<Spanned<Database>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    name: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    url_from: Option<Spanned<String>>,
    migrations: Option<Spanned<String>>,
}

/// Reads all that it names but the databases themselves.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Target>> {
    let source = Source::read(path)?;
    let databases = named(&source).map_err(|flaw| source.report(&flaw))?;
    let targets = databases.into_iter().map(|(name, url, directory)| {
        Ok(Target {
            name,
            url,
            migrations: Migrations::read(directory)?,
        })
    });
    targets.collect()
}

/// Name, URL and directory of each.
fn named(source: &Source) -> Result<Vec<(String, Url, PathBuf)>, Flaw> {
    let file: File = source.parse()?;
    if file.database.is_empty() {
        return Err(Flaw::anywhere(
            "no database; write `[[database]]`, `name`, `url` and `migrations`",
        ));
    }
    let directory = source.directory();
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut databases = Vec::new();
    for (index, database) in file.database.into_iter().enumerate() {
        let span = database.span();
        let Database {
            name,
            url,
            url_from,
            migrations,
        } = database.into_inner();
        let name = required(name, &span, "no `name`; write `name = \"orders\"`")?;
        let migrations = required(
            migrations,
            &span,
            "no `migrations`; write `migrations = \"DIRECTORY\"`",
        )?;
        if name.get_ref().trim().is_empty() {
            return Err(Flaw::at(
                name.span(),
                "an empty name; write what the database is called",
            ));
        }
        if let Some(first) = names.insert(name.get_ref().clone(), index + 1) {
            let why = format!("database {first} has this name, too; give one of them another");
            return Err(Flaw::at(name.span(), why));
        }
        let url = match (url, url_from) {
            (Some(url), None) => url,
            (None, Some(from)) => Spanned::new(from.span(), secret(&from, directory)?),
            (Some(_), Some(from)) => {
                return Err(Flaw::at(
                    from.span(),
                    "both `url` and `url_from`; write one of them",
                ));
            }
            (None, None) => {
                let why = "no `url`; write `url = \"sqlite:orders.db\"` or `url_from = \"env:ORDERS_URL\"`";
                return Err(Flaw::at(span, why));
            }
        };
        let url = locate(&url, directory)?;
        databases.push((name.into_inner(), url, existing(&migrations, directory)?));
    }
    Ok(databases)
}

fn required(
    value: Option<Spanned<String>>,
    table: &Range<usize>,
    why: &str,
) -> Result<Spanned<String>, Flaw> {
    value.ok_or_else(|| Flaw::at(table.clone(), why))
}

/// What `env:NAME` or `file:PATH` refers to.
fn secret(from: &Spanned<String>, directory: &Path) -> Result<String, Flaw> {
    let wrong = |why: String| Flaw::at(from.span(), why);
    let found = match from.get_ref().split_once(':') {
        Some(("env", name)) => env::var(name).map_err(|error| match error {
            env::VarError::NotPresent => wrong(format!(
                "the variable `{name}` is not set; set it to the URL"
            )),
            env::VarError::NotUnicode(_) => wrong(format!("the variable `{name}` is not UTF-8")),
        })?,
        Some(("file", path)) => {
            let path = directory.join(path);
            let read = fs::read_to_string(&path);
            read.map_err(|error| wrong(format!("`{}` cannot be read: {error}", shown(&path))))?
        }
        _ => {
            return Err(wrong(
                "no reference; write `env:NAME` or `file:PATH`, or `url` for the URL itself"
                    .to_owned(),
            ));
        }
    };
    match found.trim() {
        "" => Err(wrong(
            "what it refers to is empty; put the URL there".to_owned(),
        )),
        url => Ok(url.to_owned()),
    }
}

fn existing(migrations: &Spanned<String>, directory: &Path) -> Result<PathBuf, Flaw> {
    let path = directory.join(migrations.get_ref());
    let wrong = |why: &str| {
        let why = format!("`{}`: {why}", shown(&path));
        Err(Flaw::at(migrations.span(), why))
    };
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => wrong("no directory; name the one that holds the `.sql` files"),
        Err(error) => wrong(&format!("no directory of migrations: {error}")),
    }
}

/// What a path has that would mean something in a URL.
const IN_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// Takes a relative file as one beside this file, and checks what can be checked without looking
/// for the database.
fn locate(url: &Spanned<String>, directory: &Path) -> Result<Url, Flaw> {
    let wrong = |why: String| Flaw::at(url.span(), why);
    // Neither shows the URL.
    let _checked = Sessions::of(url.get_ref()).map_err(|error| wrong(error.to_string()))?;
    let as_it_is = || Url::new(url.get_ref());
    let Some(rest) = url.get_ref().strip_prefix("sqlite:") else {
        return Ok(as_it_is());
    };
    let (path, options) = match rest.split_once('?') {
        Some((path, options)) => (path, format!("?{options}")),
        None => (rest, String::new()),
    };
    if path == ":memory:" {
        return Ok(as_it_is());
    }
    let path = percent_decode_str(path.strip_prefix("//").unwrap_or(path)).decode_utf8_lossy();
    let file = directory.join(&*path);
    let path = file
        .to_str()
        .ok_or_else(|| wrong("its path is not UTF-8".to_owned()))?;
    let path = utf8_percent_encode(path, IN_PATH);
    Ok(Url::of_sqlite(format!("sqlite:{path}{options}"), &file))
}
