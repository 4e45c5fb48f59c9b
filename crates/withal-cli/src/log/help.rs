//! The help text around the options.

pub(crate) const AFTER: &str = "\
A log is a directory of plain text files: grep, less and tail -F read them as they are. A
checksummed file beside each of them shows what a crash or a bad disk did to it.

Examples:
  Keep what a service prints, 64 MiB a file, the last 10 GiB of it:
    service 2>&1 | withal log write /var/log/service --stamp --keep-size 10GiB

  What happened between nine and ten, and does it still say what was written?
    withal log cat /var/log/service --since '2025-11-20 09:00' --until '2025-11-20 10:00'
    withal log verify /var/log/service

See `withal log COMMAND --help`.";

pub(super) const WRITE: &str = "\
Lines are written as they are read, any bytes: nothing waits for a buffer to fill. A last line
without a newline comes back without one. One process writes a log, any number read it.

--durability says what an acknowledged line is safe from:
  always          power loss: each line is synced, those that come together share a sync
  batch=DUR,SIZE  power loss: synced once DUR has passed or SIZE has come together
  interval=DUR    kill -9 at once; a power loss costs at most DUR, or 8 MiB
  buffered        64 KiB or 100 ms are lost at kill -9; no line waits for the disk until the end
Where many syncs a second are waited for, lines become durable in a commit ring: a file of 4 MiB in
the log's folder, for which the disk writes once. --commit-ring never does without.

On HUP, INT, QUIT and TERM, what has been read and what the pipe holds by then is written and
synced, and the log is closed; a second one ends it at once.

Examples:
  Keep a service's lines, and see them:
    service | withal log write /var/log/service --tee

  Know which orders are safe: the n-th number says how many lines are on the disk by then:
    orders | withal log write orders.log --durability always --ack

  Never stop the service because the disk is full; the oldest lines go:
    service | withal log write /var/log/service --on-full prune

  Or the new ones, and a line of JSON in their place says how many, as soon as there is room:
    service | withal log write /var/log/service --on-full drop \\
      --drop-line '{\"level\":\"warn\",\"dropped\":{count},\"since\":\"{since}\"}'

Exit status:
  0      stdin ended, and all is on the disk
  75     another process writes this log
  125    withal failed: wrong usage, the log cannot be opened or written
  128+n  signal n came, and all that was read is on the disk; withal dies of a Ctrl-C";

pub(super) const CAT: &str = "\
It prints the bytes that were written. --raw prints the lines of the files, in which NUL, the byte
C0 and over-long lines have a form of their own; for UTF-8 text that is the same.

TIME is `2025-11-20T09:30:00Z`, or in local time `2025-11-20 09:30` or `2025-11-20`, or how long
ago, as `10m` or `1h 30m`. When a line was written is known to 64 KiB of lines or one second: what
is printed begins a little before --since and ends a little after --until.

Where a file is missing or damaged, stderr says where and how much, whole lines behind it are
printed still, and the exit status is 125.

Examples:
  withal log cat app.log > app.txt
  withal log cat app.log --since 10m --grep 'error|warn'
  withal log cat app.log --reverse | head

Exit status: 0; 125 if the log, or a part of it, cannot be read. It dies of SIGPIPE if nobody reads it any more.";

pub(super) const TAIL: &str = "\
With --follow it goes on over the ends of files, and misses no line but what retention removes
before it could be read: it says how much that is. With --durable it never shows a line that a power
loss can still take; how far that is is noted once a second. What is missing or damaged is told, and
it goes on behind it.

Examples:
  withal log tail app.log
  withal log tail app.log -n 0 -f | grep --line-buffered panic
  withal log tail app.log -f --durable | ship

Exit status: 0; 125 if the log, or a part of it, cannot be read. It dies of SIGPIPE if nobody reads it any more.";

pub(super) const VERIFY: &str = "\
It reads all text, compares it with the checksums, and prints one line for each thing that is
wrong: file, bytes, lines of the log, what. It changes nothing and takes no lock. The log may be
written meanwhile: an end that is not whole is torn only if nobody goes on with it.

Examples:
  withal log verify app.log || withal log repair app.log
  withal log verify app.log --json | jq '.problems[]'

Exit status:
  0    all is as it was written
  1    the end was torn by a crash; nothing that was acknowledged as durable
  2    something is changed or lost
  3    a segment is missing
  125  the log cannot be read";

pub(super) const REPAIR: &str = "\
It prints one line for each thing it does. The torn end is copied to quarantine/ in the log before
it is cut; what of it is in the commit ring is put back. Text that does not match its checksum stays where it is: nothing is made up, nothing is
thrown away. The next `withal log write` cuts a torn end, too.

Examples:
  withal log repair app.log --dry-run
  withal log repair app.log --reindex

Exit status:
  0    nothing is wrong any more
  2    something stays changed or lost
  3    a segment stays missing
  75   another process writes this log
  125  the log cannot be repaired";

pub(super) const STATS: &str = "\
It reads the sidecars only, so that it is fast, and knows what they know: the last second of a log
that is being written may be missing. The tail rule says where the text ends after a crash: at the
first zero (text), or where the checksums end (strict), as on file systems that may leave anything.

Examples:
  withal log stats app.log
  withal log stats app.log --json | jq .lines

Exit status: 0; 125 if the log cannot be read.";
