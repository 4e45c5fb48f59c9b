//! What the pages say beside the options.

/// The sections of a page, in order; those that have none are made of the help.
pub(super) fn of(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "withal" => WITHAL,
        "withal-run" => RUN,
        "withal-check" => CHECK,
        _ => &[],
    }
}

const WITHAL: &[(&str, &str)] = &[
    (
        "DESCRIPTION",
        "\
withal is the with statement for any command: every resource it opens is closed, in reverse order,
awaited, exactly once, on every path out.

withal-run(1) acquires what a command needs, runs it, and undoes everything, whether the command
succeeds, fails, is stopped, runs too long, or withal itself is killed. What is needed is said by
options or in a job file, which withal-check(1) checks.",
    ),
    (
        "EXAMPLES",
        "\
Run a job unless it runs already, and replace its report only if it succeeds:

  withal run --lock /run/lock/report --lock-wait 0 --output report.csv -- ./report.sh

Install these pages and what completes words in bash:

  withal man ~/.local/share/man/man1
  withal completions bash > ~/.local/share/bash-completion/completions/withal",
    ),
    (
        "SEE ALSO",
        "withal-run(1), withal-check(1), withal-recover(1), withal-log(1), withal-atomic(1), withal-migrate(1)",
    ),
];

const CHECK: &[(&str, &str)] = &[
    (
        "DESCRIPTION",
        "\
Reads a job file as withal-run(1) does, with the same options, and prints what a run would do: the
gates in their order, the command, its limits, and the exit statuses. Nothing is acquired.
References to what gates have stand as <id.attribute>; values of variables are not shown.

If something is wrong, each flaw is shown with its line, and what to write instead.",
    ),
    (
        "EXIT STATUS",
        "  0    nothing is wrong\n  125  something is wrong with the file or the options",
    ),
    ("SEE ALSO", "withal-run(1)"),
];

const RUN: &[(&str, &str)] = &[
    (
        "DESCRIPTION",
        "\
Gates are acquired in the order given. Then COMMAND runs, with withal's stdin, stdout and stderr.
When it has ended, by itself, by a signal or by --timeout, what it left running is stopped, and the
gates are undone in reverse order.

With JOB.toml, gates, command and options are those of the file. Its gates come first; options on
the command line win over variables, and those over the file. Words after -- are further arguments
of its command.

A signal that asks to stop reaches the command once. What does not end within --grace is killed,
daemons in sessions of their own included. If withal is killed, its other process ends the command
and undoes the gates; if both are, withal-recover(1) or the next run of the same job does.

DUR is a number with a unit, as 500ms, 5s, 10m or 1h, or plain seconds.",
    ),
    (
        "GATES",
        "\
A gate is asked for by its option, by --with KIND:KEY=VALUE,... with any of its keys, or by a table
in a job file. Gates of every kind have the keys id, by which later ones refer to them, timeout and
teardown_timeout, for acquiring and undoing, and when: always, or env:NAME, if that variable is set.

In texts ${id.attribute} is what an earlier gate has, ${env.NAME} a variable, and $$ a dollar.

# lock, --lock: a lock on a file
  path        the file; made if it is not there
  wait        how long to wait; for ever if nothing is said
  shared      others may hold it, too, if theirs is shared
  busy_code   the exit status if it is busy
  attributes: path

# tempdir, --tempdir: a private directory
  env         the variable for its path [TMPDIR]
  parent      where it is made
  keep        never, on-failure, always: whether it stays
  size_limit  with how much in it the command is stopped, as 2GiB
  attributes: path

# output, --output: stdout in a file, replaced whole if the command succeeds
  path        the file
  env         the variable with the path to write to, in place of stdout
  mode        its mode in octal, as 640 or \"640\"
  keep_partial  leave what a command that failed has written, in FILE.partial
  sync        full, file, none: what a power loss leaves
  attributes: path

# log, --log: what the command prints, in a log as well
  path        a directory
  streams     both, stdout, stderr
  rotate      SIZE:N: when a new file is begun, and how many stay
  time        whether each line begins with its time
  tee         whether it is printed, too
  attributes: path

# sqlite, --sqlite: a database file of the command's own
  env         the variable for its path
  seed        what it is a copy of
  keep        never, on-failure, always: whether it stays
  attributes: path, url

# postgres, --pg: a database of the command's own on a server
  url_from    env:NAME or file:PATH: where the server is [env:DATABASE_URL]
  env         the variable for the database's URL [DATABASE_URL]
  template    the database it is a copy of
  extensions  what is installed in it
  attributes: url, name

# postgres-server, --pg-server: a PostgreSQL server of the command's own, from local packages
  env         the variable for its URL [DATABASE_URL]
  version     the major version, where several are installed
  port        whether it listens on a port of loopback, too
  durable     whether it waits for the disk
  attributes: url, socket, port

# pg-lock, --pg-lock and redis-lock, --redis-lock: a lease; lost, it stops the command
  key         what is leased
  url_from    env:NAME or file:PATH: where the server is [env:DATABASE_URL, env:REDIS_URL]
  lease       how long it is held without being renewed
  wait        how long to wait; for ever if nothing is said
  on_lost     stop or warn
  env         the variable for the fencing token [WITHAL_TOKEN]
  attributes: token

# mock, --mock: an HTTP server that answers as a file says
  file        its routes
  env         the variable for its URL
  port        a number, or free
  fail_on_unmatched  stop the command if it asks for anything else
  attributes: url, port

# env, --env: variables
  name, value  a variable
  set         a table of them
  file        a file of them
  secret      names of those whose values stand as *** in logs

# env-file, --env-file: variables from a file
  path        the file

# service: a process that is there while the command runs
  command     the program and its arguments
  ready       tcp, http, log or exec: how it is known that it can be used
  port        a number, or free
  stop, grace  how it is ended
  on_exit     what its early end means
  output      a file for what it prints
  attributes: pid, port

# hook: commands that acquire and give back
  acquire     the program and its arguments
  release     the same; it must be such that it can be run again, and stands in
              the journal: ${env.NAME} in it is read when it runs
  attributes: stdout",
    ),
    (
        "JOB FILES",
        "\
A job file is TOML. Its paths are relative to it, and its command runs beside it.

  version = 1
  name = \"nightly-report\"
  command = [\"./report.sh\", \"${work.path}\"]    # or shell = \"./report.sh | gzip\"
  timeout = \"30m\"
  with = [
    { id = \"once\", kind = \"lock\", path = \"report.lock\", wait = \"0s\", busy_code = 0 },
    { id = \"work\", kind = \"tempdir\", keep = \"on-failure\" },
    { id = \"out\", kind = \"output\", path = \"report.csv\" },
  ]
  [env]
  SCRATCH = \"${work.path}/scratch\"

These options are keys, too: timeout, grace, signal, orphans, teardown_timeout, teardown_errors,
keep, clear_env, busy_code, preserve_status, name, report, metrics and timeline. cwd is the
directory in which the command runs. The command, cwd and variables may hold references.",
    ),
    (
        "EXIT STATUS",
        "  0-255  the command's own; if a signal killed the command, withal dies of it, too
  75     a lock is busy (--busy-code)
  123    the command succeeded, but a gate could not be undone, or was lost
  124    the command was stopped by --timeout
  125    withal failed: wrong usage, or a gate could not be acquired
  126    the command cannot be executed
  127    the command was not found
  128+n  signal n stopped withal before the command was started",
    ),
    (
        "ENVIRONMENT",
        "  WITHAL_TIMEOUT, WITHAL_GRACE, WITHAL_SIGNAL, WITHAL_ORPHANS, WITHAL_TEARDOWN_TIMEOUT,
  WITHAL_TEARDOWN_ERRORS, WITHAL_KEEP, WITHAL_CLEAR_ENV, WITHAL_BUSY_CODE,
  WITHAL_PRESERVE_STATUS, WITHAL_NAME, WITHAL_REPORT, WITHAL_METRICS, WITHAL_TIMELINE,
  WITHAL_NO_KEEPER, WITHAL_NO_JOURNAL, WITHAL_NO_RECOVER, WITHAL_VERBOSE, WITHAL_QUIET
      the options of these names
  WITHAL_RUN
      set for the command: 32 digits that name this run
  TMPDIR
      where temporary directories are made [/tmp]
  XDG_STATE_HOME
      where journals are [~/.local/state]",
    ),
    (
        "FILES",
        "  $XDG_STATE_HOME/withal
      journals of runs that go on, or were killed; /var/lib/withal for root
  FILE.partial
      what a command that failed has written, with --keep-partial",
    ),
    (
        "EXAMPLES",
        "\
Run a job unless it runs already, and wait at most 10 s to find out:

  withal run --lock /run/lock/backup --lock-wait 10s -- ./backup.sh

Write a report that is never seen half done, from a private scratch directory:

  withal run --tempdir --output report.csv -- ./report.sh

Give tests five minutes, then 10 s to clean up, and draw what happened:

  withal run --timeout 5m --grace 10s --timeline run.svg -- make test

Do what a file says, with one more argument for its command:

  withal run nightly.toml -- --verbose",
    ),
    (
        "SEE ALSO",
        "withal-check(1), withal-recover(1), withal-ls(1), flock(1), timeout(1)",
    ),
];

#[cfg(test)]
mod tests {
    use super::RUN;
    use crate::run::kinds;

    #[test]
    fn every_kind_of_gate_is_there_with_its_keys_and_attributes() {
        let (_, gates) = RUN.iter().find(|(title, _)| *title == "GATES").unwrap();
        for (kind, keys, attributes) in kinds() {
            let is_word = |word: &str| {
                let mut words = gates.split(|c: char| c.is_whitespace() || ",:".contains(c));
                words.any(|known| known == word)
            };
            assert!(is_word(kind), "{kind}");
            for word in keys.iter().chain(attributes) {
                assert!(is_word(word), "{kind}: {word}");
            }
        }
    }
}
