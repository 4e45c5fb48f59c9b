#!/bin/sh
# The most frequent words of the files given: a small job with real temporary files.
# It writes them below $TMPDIR, which `withal run --tempdir` sets, and removes none of them.
set -eu
cat -- "$@" | tr -cs '[:alpha:]' '\n' | tr '[:upper:]' '[:lower:]' > "$TMPDIR/words"
sort "$TMPDIR/words" > "$TMPDIR/sorted"
uniq -c "$TMPDIR/sorted" > "$TMPDIR/counted"
sort -rn "$TMPDIR/counted" | head -n 20
