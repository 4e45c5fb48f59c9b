//! The help text around the options.

pub(super) const USAGE: &str = "withal run [GATES]... [OPTIONS] -- COMMAND [ARG]...";

pub(super) const AFTER: &str = "\
Gates are acquired in the order given. Then COMMAND runs, with withal's stdin, stdout and stderr.
When it has ended, by itself, by a signal or by --timeout, what it left running is stopped, and
the gates are undone in reverse order. An --output file is replaced only if COMMAND exited with 0.
If withal is killed, even by `kill -9`, its second process does the same; if both are, the next run
of the same job does, or `withal recover`.

DUR is a number with a unit, as 500ms, 5s, 10m or 1h, or plain seconds.

Examples:
  Run a job unless it runs already, and wait at most 10 s to find out:
    withal run --lock /run/lock/backup --lock-wait 10s -- ./backup.sh

  Write a report that is never seen half done, from a private scratch directory:
    withal run --tempdir --output report.csv -- ./report.sh

  Keep what a build prints, with times, in a log of at most five files of 10 MB:
    withal run --log build.log --log-rotate 10MB:5 --log-time -- make

  Test against a copy of a database and a server that answers as a file says:
    withal run --sqlite DB=dev.db --mock API=api.toml -- ./test.sh

  Have a server beside the tests, ready before them and stopped after them:
    withal run -w 'service:command=[\"redis-server\"],ready={tcp=\"127.0.0.1:6379\"}' -- make test

  Give tests five minutes, then 10 s to clean up:
    withal run --timeout 5m --grace 10s -- make test

Exit status:
  0-255  the command's own; if a signal killed the command, withal dies of it, too
  75     a lock is busy (--busy-code)
  123    the command succeeded, but undoing a gate failed; or a gate lost what it held
  124    the command was stopped by --timeout
  125    withal failed: wrong usage, a gate could not be acquired, or it was killed half
  126    the command cannot be executed
  127    the command was not found
  128+n  signal n stopped withal before the command was started";
