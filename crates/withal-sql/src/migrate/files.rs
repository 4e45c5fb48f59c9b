//! The files of a directory, in order.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{MigrateError, Position};

/// What the first line of a file says that is run outside of a transaction.
pub(super) const DIRECTIVE: &str = "-- withal: no-transaction";

/// What other first lines begin with, which must not be misspelt.
const DIRECTIVES: &str = "-- withal:";

const NAME_REMEDY: &str =
    "not the name of a migration; write a number, `_` and a name, as `0001_accounts.sql`";

/// A file that is applied to a database once.
#[derive(Clone, Debug)]
pub struct Migration {
    version: i64,
    name: String,
    path: PathBuf,
    sql: String,
    checksum: String,
}

impl Migration {
    fn new(path: PathBuf, sql: String) -> Result<Migration, MigrateError> {
        let name = path.file_name().and_then(|name| name.to_str());
        let version = name.and_then(version);
        let (Some(name), Some(version)) = (name, version) else {
            return Err(wrong(&path, None, NAME_REMEDY));
        };
        let migration = Migration {
            version,
            name: name.to_owned(),
            checksum: checksum(&sql),
            path,
            sql,
        };
        migration.check_directive()?;
        Ok(migration)
    }

    /// Its number.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The name of its file, as `0001_accounts.sql`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The BLAKE3 hash of its text in hexadecimal, ends of lines taken as `\n`: so a checkout on
    /// another system has the same.
    #[must_use]
    pub fn checksum(&self) -> &str {
        &self.checksum
    }

    /// Whether it is applied in the one transaction of all, as it is unless its first line is
    /// `-- withal: no-transaction`.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.first_line() != DIRECTIVE
    }

    fn first_line(&self) -> &str {
        let first = self.sql.lines().next().unwrap_or_default();
        first.trim_start_matches('\u{feff}').trim()
    }

    fn check_directive(&self) -> Result<(), MigrateError> {
        let first = self.first_line();
        match first.starts_with(DIRECTIVES) && first != DIRECTIVE {
            true => {
                let why = format!("`{first}` says nothing; there is only `{DIRECTIVE}`");
                let start = Position { line: 1, column: 1 };
                Err(wrong(&self.path, Some(start), why))
            }
            false => Ok(()),
        }
    }
}

/// The migrations of a database, in order.
#[derive(Clone, Debug, Default)]
pub struct Migrations(Vec<Migration>);

impl Migrations {
    /// Reads those in a directory: all its `*.sql` files.
    ///
    /// # Errors
    ///
    /// [`Read`](MigrateError::Read) if the directory or a file cannot be read or is not UTF-8;
    /// [`File`](MigrateError::File) if a file's name does not begin with a number from 1 on and
    /// `_`, or two have the same number.
    ///
    /// # Examples
    ///
    /// ```
    /// use withal_sql::migrate::Migrations;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("withal-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// std::fs::write(folder.join("0001_accounts.sql"), "CREATE TABLE accounts (id bigint)")?;
    /// let migrations = Migrations::read(&folder)?;
    /// assert_eq!(migrations.iter().map(|m| m.version()).collect::<Vec<_>>(), [1]);
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn read(directory: impl AsRef<Path>) -> Result<Migrations, MigrateError> {
        let directory = directory.as_ref();
        let cannot = |path: &Path| {
            let path = path.to_owned();
            move |source| MigrateError::Read { path, source }
        };
        let mut migrations = Vec::new();
        for entry in fs::read_dir(directory).map_err(cannot(directory))? {
            let path = entry.map_err(cannot(directory))?.path();
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.ends_with(b".sql") && !name.starts_with(b".") {
                let sql = fs::read_to_string(&path).map_err(cannot(&path))?;
                migrations.push(Migration::new(path, sql)?);
            }
        }
        Migrations::in_order(migrations)
    }

    /// Those that are built into the program, by `include_str!`: names of files, and what they
    /// hold.
    ///
    /// # Errors
    ///
    /// [`File`](MigrateError::File), as [`read`](Migrations::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use withal_sql::migrate::Migrations;
    ///
    /// # fn main() -> Result<(), withal_sql::migrate::MigrateError> {
    /// let migrations = Migrations::of([
    ///     ("0001_accounts.sql", "CREATE TABLE accounts (id bigint, balance bigint)"),
    ///     ("0002_owner.sql", "ALTER TABLE accounts ADD COLUMN owner text"),
    /// ])?;
    /// assert_eq!(migrations.iter().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn of<'m>(
        files: impl IntoIterator<Item = (&'m str, &'m str)>,
    ) -> Result<Migrations, MigrateError> {
        let migrations = files
            .into_iter()
            .map(|(name, sql)| Migration::new(PathBuf::from(name), sql.to_owned()));
        Migrations::in_order(migrations.collect::<Result<_, _>>()?)
    }

    fn in_order(mut migrations: Vec<Migration>) -> Result<Migrations, MigrateError> {
        migrations.sort_by(|a, b| (a.version, &a.path).cmp(&(b.version, &b.path)));
        let twins = migrations.windows(2).find_map(|pair| match pair {
            [first, second] if first.version == second.version => Some((first, second)),
            _ => None,
        });
        match twins {
            Some((first, second)) => {
                let why = format!(
                    "it has the number of `{}`; give one of them another",
                    first.name
                );
                Err(wrong(&second.path, None, why))
            }
            None => Ok(Migrations(migrations)),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Migration> {
        self.0.iter()
    }

    pub(super) fn get(&self, version: i64) -> Option<&Migration> {
        let found = self.0.binary_search_by_key(&version, Migration::version);
        found.ok().and_then(|index| self.0.get(index))
    }
}

/// The number before `_`.
fn version(name: &str) -> Option<i64> {
    let (number, rest) = name.split_once('_')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let has_name = rest
        .strip_suffix(".sql")
        .is_some_and(|rest| !rest.is_empty());
    let version = number.parse().ok()?;
    (is_number && has_name && version > 0).then_some(version)
}

fn checksum(sql: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for line in sql.split("\r\n").enumerate() {
        let (index, text) = line;
        if index > 0 {
            let _ = hasher.update(b"\n");
        }
        let _ = hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn wrong(path: &Path, position: Option<Position>, why: impl Into<String>) -> MigrateError {
    MigrateError::File {
        path: path.to_owned(),
        position,
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_a_number() {
        let check =
            |name: &str, expected: Option<i64>| assert_eq!(version(name), expected, "{name}");
        check("0001_a.sql", Some(1));
        check("20261121103000_a_b.sql", Some(20_261_121_103_000));
        check("7_a.sql", Some(7));
        for wrong in [
            "0000_a.sql",
            "a.sql",
            "1.sql",
            "_a.sql",
            "+1_a.sql",
            "-1_a.sql",
            "1_.sql",
            "1_a.txt",
            "99999999999999999999_a.sql",
            "1 _a.sql",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn they_are_in_the_order_of_their_numbers() {
        let migrations = Migrations::of([("10_c.sql", ""), ("9_b.sql", ""), ("0001_a.sql", "")]);
        let migrations = migrations.unwrap();
        let names: Vec<&str> = migrations.iter().map(Migration::name).collect();
        assert_eq!(names, ["0001_a.sql", "9_b.sql", "10_c.sql"]);
        assert_eq!(migrations.get(9).unwrap().name(), "9_b.sql");
        assert!(migrations.get(2).is_none());
    }

    #[test]
    fn one_number_is_one_file() {
        let error = Migrations::of([("1_a.sql", ""), ("01_b.sql", "")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1_a.sql: it has the number of `01_b.sql`; give one of them another"
        );
    }

    #[test]
    fn ends_of_lines_do_not_change_the_checksum() {
        assert_eq!(checksum("a\r\nb\r\n"), checksum("a\nb\n"));
        assert_eq!(checksum("a\n"), blake3::hash(b"a\n").to_hex().to_string());
        assert_ne!(checksum("a"), checksum("a\n"));
        assert_ne!(checksum("a\rb"), checksum("a\nb"));
    }

    #[test]
    fn the_first_line_takes_a_file_out_of_the_transaction() {
        let check = |sql: &str, expected: bool| {
            let migrations = Migrations::of([("1_a.sql", sql)]).unwrap();
            assert_eq!(
                migrations.get(1).unwrap().in_transaction(),
                expected,
                "{sql}"
            );
        };
        check("VACUUM", true);
        check("-- withal: no-transaction\r\nVACUUM", false);
        check("\u{feff}-- withal: no-transaction", false);
        check("-- a\n-- withal: no-transaction", true);
        let error = Migrations::of([("1_a.sql", "-- withal: no transaction\n")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1_a.sql:1:1: `-- withal: no transaction` says nothing; there is only `-- withal: no-transaction`"
        );
    }
}
