//! The help text around the options.

pub(crate) const USAGE: &str = "\
withal migrate [OPTIONS] FILE.toml
       withal migrate status [OPTIONS] FILE.toml";

pub(crate) const AFTER: &str = "\
FILE.toml names the databases, SQLite and Postgres mixed. Paths are relative to it:

  [[database]]
  name = \"orders\"
  url = \"sqlite:orders.db\"            # or url_from = \"env:ORDERS_URL\", \"file:/run/secrets/orders\"
  migrations = \"migrations/orders\"    # 0001_accounts.sql, 0002_items.sql, ... by number

First all databases are connected to and checked: which files are applied, and whether those are
still what was applied. If anything is wrong, nothing is run. Then the databases are migrated in the
order of the file, each in one transaction and under a lock: all its pending files are applied, or
none. At the first failure the rest is left as it is. With --keep-going, databases that fail are
left out, and the others are migrated.

A file with `-- withal: no-transaction` in its first line, as for CREATE INDEX CONCURRENTLY, is run
outside of the transaction: what is pending before it is committed first, and it must be such that
it can be run again.

Examples:
  withal migrate --dry-run databases.toml && withal migrate databases.toml
  withal migrate status databases.toml

Exit status:
  0      all databases are at their newest version; with --dry-run: nothing is wrong
  1      a database failed; it is at the version the summary says
  75     another run migrates a database, longer than --lock-wait
  123    all are migrated, but a connection or a lock could not be closed in order
  125    withal failed: wrong usage, or something is wrong with FILE.toml or a `.sql` file's name;
         nothing was connected
  128+n  signal n came; what ran then is rolled back";

pub(super) const STATUS: &str = "\
It changes nothing, and waits for no lock.

Exit status:
  0    all databases are at their newest version
  1    something is wrong with one of them
  2    nothing is wrong, and there are migrations to apply
  125  withal failed: wrong usage, or something is wrong with FILE.toml";
