//! `withal log`: what goes in comes out, and what is wrong is said.

#![allow(unused_results, reason = "the helpers check the status")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Output;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use withal_log::{Log, TailRule};

use crate::support::{Sandbox, wait_until};

/// Writes `input` into the log `d`.
#[track_caller]
fn write(sandbox: &Sandbox, options: &[&str], input: &[u8]) -> Output {
    let output = sandbox.feed(&[&["log", "write", "d"], options].concat(), input);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    output
}

#[track_caller]
fn log(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Output {
    let output = sandbox.feed(&[&["log"], arguments].concat(), b"");
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    output
}

#[track_caller]
fn cat(sandbox: &Sandbox) -> Vec<u8> {
    log(sandbox, &["cat", "d"], 0).stdout
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes of all kinds, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The texts of the log `d`, oldest first.
fn segments(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(sandbox.path("d")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut texts: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    texts.sort();
    texts
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("line {number}\n")).collect()
}

#[test]
fn any_bytes_come_back() {
    let long = vec![b'x'; 10 << 20];
    let inputs: [&[u8]; 9] = [
        b"",
        b"\n",
        b"\n\n\n",
        b"no newline",
        b"a\0b\xC0c\n\0\n\xC0\n\xC0\x81\n\xC0\xC0\x80",
        "Gr\u{fc}\u{df}e, \u{4e16}\u{754c}\n".as_bytes(),
        &noise(300_000),
        &long,
        &[&long[..], b"\nnext\n"].concat(),
    ];
    let options: [&[&str]; 5] = [
        &[],
        &["--durability", "always"],
        &["--durability", "batch=1ms,4KiB", "--rotate-size", "64KiB"],
        &["--durability", "buffered", "--max-line", "1000"],
        &["--compress=zstd:1", "--rotate-size=100KiB"],
    ];
    for options in options {
        let sandbox = Sandbox::new();
        let mut expected = Vec::new();
        for input in inputs {
            let written = write(&sandbox, options, input);
            assert_eq!(text(&written.stderr), "");
            expected.extend_from_slice(input);
        }
        assert!(cat(&sandbox) == expected, "{options:?}");
        log(&sandbox, &["verify", "d"], 0);
    }
}

#[test]
fn utf8_is_stored_as_it_is_and_long_lines_in_parts() {
    let sandbox = Sandbox::new();
    let input = "Gr\u{fc}\u{df}e\n".repeat(3);
    write(&sandbox, &[], input.as_bytes());
    assert_eq!(fs::read(&segments(&sandbox)[0]).unwrap(), input.as_bytes());
    let raw = log(&sandbox, &["cat", "d", "--raw"], 0).stdout;
    assert_eq!(text(&raw), input);
    // Parts of a line that is longer than what is kept in memory hold whole characters.
    let long = "\u{4e16}".repeat(500_000) + "\n";
    write(&sandbox, &["--max-line", "1000"], long.as_bytes());
    let raw = log(&sandbox, &["cat", "d", "--raw"], 0).stdout;
    let lines = raw.split(|byte| *byte == b'\n');
    for line in lines {
        let line = line.strip_suffix(b"\xC0\x81").unwrap_or(line);
        assert!(line.len() <= 1000 && std::str::from_utf8(line).is_ok());
    }
    let last = log(&sandbox, &["tail", "d", "-n", "1"], 0).stdout;
    assert!(last == long.as_bytes());
}

#[test]
fn reading_backwards_keeps_records_together() {
    let sandbox = Sandbox::new();
    let long = "y".repeat(100);
    write(
        &sandbox,
        &["--max-line", "30"],
        format!("one\n{long}\nthree").as_bytes(),
    );
    let reversed = log(&sandbox, &["cat", "d", "--reverse"], 0).stdout;
    assert_eq!(text(&reversed), format!("three\n{long}\none\n"));
    let found = log(&sandbox, &["cat", "d", "--grep", "^y{100}$|ee"], 0).stdout;
    assert_eq!(text(&found), format!("{long}\nthree"));
}

#[test]
fn the_last_lines_are_found_over_files() {
    let sandbox = Sandbox::new();
    let input = numbers(0..1000);
    write(&sandbox, &["--rotate-size", "200B"], b"");
    for part in input.as_bytes().chunks(70) {
        write(&sandbox, &["--rotate-size", "200B"], part);
    }
    assert!(segments(&sandbox).len() > 20);
    assert_eq!(text(&cat(&sandbox)), input);
    for count in [0, 1, 10, 999, 1000, 5000] {
        for options in [&[][..], &["--durable"]] {
            let count_text = count.to_string();
            let arguments = [&["tail", "d", "-n", &count_text], options].concat();
            let last = text(&log(&sandbox, &arguments, 0).stdout);
            // Lines that were cut by the end of a run are stored in two parts.
            assert!(input.ends_with(&last), "{count}: {last}");
            let expected: Vec<&str> = input.lines().rev().take(count).collect();
            assert_eq!(last.lines().count(), expected.len());
        }
    }
}

#[test]
fn following_misses_nothing_over_rotations() {
    let sandbox = Sandbox::new();
    write(&sandbox, &[], numbers(0..20).as_bytes());
    let mut tail = sandbox.pipe(&["log", "tail", "d", "-n", "2", "-f"]);
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!((next(), next()), ("line 18".into(), "line 19".into()));
    for number in 20..60 {
        let line = format!("line {number}");
        write(
            &sandbox,
            &["--rotate-size", "50B"],
            format!("{line}\n").as_bytes(),
        );
        assert_eq!(next(), line);
    }
    kill(Pid::from_raw(tail.id().cast_signed()), Signal::SIGTERM).unwrap();
    let _ = tail.wait().unwrap();
}

#[test]
fn followers_end_when_nobody_reads_them() {
    let sandbox = Sandbox::new();
    write(&sandbox, &[], b"one\n");
    let mut tail = sandbox.pipe(&["log", "tail", "d", "-f"]);
    let mut stdout = tail.stdout.take().unwrap();
    let mut line = [0; 4];
    stdout.read_exact(&mut line).unwrap();
    drop(stdout);
    let output = tail.wait_with_output().unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(output.status.signal(), Some(Signal::SIGPIPE as i32));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn ranges_of_time_leave_out_what_is_far_from_them() {
    let sandbox = Sandbox::new();
    write(&sandbox, &[], b"now\n");
    let check = |option: &str, time: &str, expected: &str| {
        for order in ["--reverse", "--grep=."] {
            let found = log(&sandbox, &["cat", "d", option, time, order], 0).stdout;
            assert_eq!(text(&found), expected, "{option} {time} {order}");
        }
    };
    check("--since", "1h", "now\n");
    check("--until", "1h", "");
    check("--since", "2999-01-01", "");
    check("--until", "2999-01-01T00:00:00Z", "now\n");
}

#[test]
fn stamps_stand_before_each_line_once() {
    let sandbox = Sandbox::new();
    let long = "z".repeat(600_000);
    let input = format!("one\n\n{long}\nlast");
    let options = ["--stamp", "--max-line", "100KiB", "--tee"];
    let written = write(&sandbox, &options, input.as_bytes());
    assert!(written.stdout == input.as_bytes());
    let stamped = text(&cat(&sandbox));
    let lines: Vec<&str> = stamped.split('\n').collect();
    let unstamped = lines.iter().map(|line| {
        let (stamp, line) = line.split_at(28);
        assert!(stamp.starts_with("20") && stamp.ends_with("Z "), "{stamp}");
        line
    });
    assert!(unstamped.collect::<Vec<_>>().join("\n") == input);
    assert!(!stamped.ends_with('\n'));
}

#[test]
fn a_line_that_the_next_run_continues_is_one() {
    let sandbox = Sandbox::new();
    write(&sandbox, &["--stamp"], b"one\nab");
    write(&sandbox, &["--stamp"], b"cd\nlast\n");
    let stamped = text(&cat(&sandbox));
    let lines: Vec<&str> = stamped.lines().map(|line| line.split_at(28).1).collect();
    assert_eq!(lines, ["one", "abcd", "last"]);
    let (line, last) = (lines[1], stamped.lines().last().unwrap());
    let check = |arguments: &[&str], expected: &str| {
        let found = text(&log(&sandbox, arguments, 0).stdout);
        let found: Vec<&str> = found.lines().map(|line| line.split_at(28).1).collect();
        assert_eq!(found.join(" "), expected, "{arguments:?}");
    };
    check(&["cat", "d", "--grep", line], line);
    check(&["cat", "d", "--grep", line, "--reverse"], line);
    check(&["cat", "d", "--reverse"], "last abcd one");
    check(&["tail", "d", "-n", "2"], "abcd last");
    assert!(last.ends_with("last"));
}

#[test]
fn no_stamp_comes_into_a_line_that_a_kill_has_left_unfinished() {
    let sandbox = Sandbox::new();
    let mut writer = sandbox.pipe(&["log", "write", "d", "--stamp"]);
    let mut stdin = writer.stdin.take().unwrap();
    stdin.write_all(&vec![b'z'; 3 << 20]).unwrap();
    wait_until("a part of the line in the log", || {
        let texts = segments(&sandbox);
        texts
            .iter()
            .any(|text| fs::metadata(text).unwrap().len() > 0)
    });
    writer.kill().unwrap();
    drop(stdin);
    let _killed = writer.wait().unwrap();
    let begun = cat(&sandbox);
    assert!(begun.ends_with(b"zzz"));
    write(&sandbox, &["--stamp"], b"rest\nnext\n");
    let all = cat(&sandbox);
    let added = text(all.strip_prefix(&begun[..]).unwrap());
    let (rest, next) = added.split_once('\n').unwrap();
    assert_eq!((rest, next.split_at(28).1), ("rest", "next\n"));
}

#[test]
fn what_is_passed_on_is_in_the_log() {
    let sandbox = Sandbox::new();
    let mut writer = sandbox.pipe(&["log", "write", "d", "--tee"]);
    let mut stdin = writer.stdin.take().unwrap();
    stdin.write_all(b"one\nhalf a li").unwrap();
    let mut stdout = writer.stdout.take().unwrap();
    let mut passed = vec![0; 4];
    stdout.read_exact(&mut passed).unwrap();
    writer.kill().unwrap();
    let _killed = writer.wait().unwrap();
    stdout.read_to_end(&mut passed).unwrap();
    assert_eq!(text(&passed), "one\n");
    assert_eq!(text(&cat(&sandbox)), "one\n");
}

/// Makes sure that `printed` is `input` but for one gap, of the size that `told` says.
#[track_caller]
fn check_gap(printed: &str, input: &str, told: &str) {
    let missing = told.strip_prefix("withal: ").unwrap();
    let (missing, why) = missing.split_once(' ').unwrap();
    assert_eq!(
        why,
        "bytes are missing: retention removed them before they could be read\n"
    );
    let missing: usize = missing.parse().unwrap();
    let same = printed.bytes().zip(input.bytes());
    let before = same.take_while(|(printed, read)| printed == read).count();
    let (begin, end) = (&input[..before], &input[before + missing..]);
    assert!(missing > 0 && printed == format!("{begin}{end}"));
}

#[test]
fn readers_go_on_beside_retention_and_say_what_is_missing() {
    let sandbox = Sandbox::new();
    let (old, new) = (numbers(100_000..300_000), numbers(300_000..500_000));
    let rotate = ["--rotate-size", "100KiB"];
    write(&sandbox, &rotate, old.as_bytes());
    // More than a pipe holds: both wait until somebody reads.
    let mut readers = [
        &["log", "cat", "d"][..],
        &["log", "tail", "d", "-n", "200000", "--follow"],
    ]
    .map(|arguments| {
        let mut reader = sandbox.pipe(arguments);
        let mut first = vec![0; 1000];
        reader
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        (reader, first)
    });
    let keep = [&rotate[..], &["--keep-size", "500KiB"]].concat();
    write(&sandbox, &keep, new.as_bytes());
    let input = old + &new;
    let last = input.lines().last().unwrap();
    for (reader, printed) in &mut readers {
        let mut stdout = reader.stdout.take().unwrap();
        let mut piece = vec![0; 1 << 16];
        while !printed.ends_with(format!("{last}\n").as_bytes()) {
            let read = stdout.read(&mut piece).unwrap();
            assert!(read > 0, "it ended before the last line");
            printed.extend_from_slice(&piece[..read]);
        }
    }
    let [(cat, by_cat), (mut tail, by_tail)] = readers;
    let cat = cat.wait_with_output().unwrap();
    assert_eq!(cat.status.code(), Some(0), "{cat:?}");
    check_gap(&text(&by_cat), &input, &text(&cat.stderr));
    let mut told = String::new();
    let mut stderr = BufReader::new(tail.stderr.take().unwrap());
    stderr.read_line(&mut told).unwrap();
    check_gap(&text(&by_tail), &input, &told);
    tail.kill().unwrap();
    let _killed = tail.wait().unwrap();
}

#[test]
fn a_second_writer_is_refused_with_75_and_readers_are_not() {
    let sandbox = Sandbox::new();
    let mut first = sandbox.pipe(&["log", "write", "d", "--ack", "--durability", "always"]);
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    let mut acks = BufReader::new(first.stdout.take().unwrap()).lines();
    assert_eq!(acks.next().unwrap().unwrap(), "1");
    for arguments in [&["write", "d"][..], &["repair", "d"]] {
        let refused = log(&sandbox, arguments, 75);
        let message = text(&refused.stderr);
        assert!(message.contains("`d"), "{message}");
        assert!(
            message.contains("another process writes this log"),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1);
    }
    assert_eq!(cat(&sandbox), b"one\n");
    stdin.write_all(b"two\nthree").unwrap();
    drop(stdin);
    let acks: Vec<String> = acks.map(Result::unwrap).collect();
    assert_eq!(acks.last().unwrap(), "3");
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(cat(&sandbox), b"one\ntwo\nthree");
}

#[test]
fn a_signal_ends_it_with_everything_that_was_read_on_the_disk() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let sandbox = Sandbox::new();
        let mut writer = sandbox.pipe(&["log", "write", "d", "--ack", "--durability", "always"]);
        let mut stdin = writer.stdin.take().unwrap();
        stdin.write_all(b"one\n").unwrap();
        let mut acks = BufReader::new(writer.stdout.take().unwrap()).lines();
        assert_eq!(acks.next().unwrap().unwrap(), "1");
        stdin.write_all(b"two\nhalf").unwrap();
        kill(Pid::from_raw(writer.id().cast_signed()), signal).unwrap();
        let output = writer.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(128 + signal as i32),
            "{output:?}"
        );
        assert_eq!(text(&cat(&sandbox)), "one\ntwo\nhalf");
        assert_eq!(acks.last().unwrap().unwrap(), "3");
        log(&sandbox, &["verify", "d"], 0);
    }
}

/// Kills a writer that has acknowledged two lines, before their text is synced.
fn kill_with_a_ring() -> Sandbox {
    loop {
        let sandbox = Sandbox::new();
        let durable = ["--durability", "always", "--commit-ring", "always"];
        let mut writer = sandbox.pipe(&[&["log", "write", "d", "--ack"], &durable[..]].concat());
        let mut stdin = writer.stdin.take().unwrap();
        let mut acks = BufReader::new(writer.stdout.take().unwrap()).lines();
        for (line, number) in [("one\n", "1"), ("two\n", "2")] {
            stdin.write_all(line.as_bytes()).unwrap();
            assert_eq!(acks.next().unwrap().unwrap(), number);
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        let sidecar = segments(&sandbox).pop().unwrap().with_extension("idx");
        // A checkpoint comes after a second.
        if fs::metadata(sidecar).unwrap().len() == 64 {
            return sandbox;
        }
    }
}

#[test]
fn what_a_power_loss_takes_from_the_text_comes_back_from_the_ring() {
    let sandbox = kill_with_a_ring();
    let ring = sandbox.path("d").join("ring");
    let stats = text(&log(&sandbox, &["stats", "d", "--json"], 0).stdout);
    let is_in_place = ["ext4\"", "xfs\""].iter().any(|name| stats.contains(name));
    assert_eq!(ring.exists(), is_in_place, "{stats}");
    if !is_in_place {
        return;
    }
    assert_eq!(fs::metadata(ring).unwrap().len(), 4 << 20);
    assert_eq!(text(&cat(&sandbox)), "one\ntwo\n");

    let torn = segments(&sandbox).pop().unwrap();
    let torn = fs::File::options().write(true).open(torn).unwrap();
    torn.set_len(5).unwrap();
    let verified = text(&log(&sandbox, &["verify", "d"], 1).stdout);
    assert!(
        verified.contains(": byte 4 to 7: durable text is in the commit ring only\n"),
        "{verified}"
    );
    let read = log(&sandbox, &["cat", "d"], 125);
    assert_eq!(text(&read.stdout), "one\n");
    assert_eq!(
        text(&read.stderr),
        "withal: `d/ring` has 4 bytes that a crash has torn from the end of the log; \
         `withal log repair` puts them back; `withal log verify d` shows what is wrong\n"
    );
    let foreseen = text(&log(&sandbox, &["repair", "d", "--dry-run"], 0).stdout);
    let repaired = text(&log(&sandbox, &["repair", "d"], 0).stdout);
    assert_eq!(foreseen, repaired);
    assert!(
        repaired.contains(": 4 bytes put back from the commit ring\n"),
        "{repaired}"
    );
    assert_eq!(text(&cat(&sandbox)), "one\ntwo\n");
    log(&sandbox, &["verify", "d"], 0);

    torn.set_len(0).unwrap();
    let gone = text(&log(&sandbox, &["verify", "d"], 2).stdout);
    assert!(
        gone.contains(": byte 0 to 7: durable text is gone\n"),
        "{gone}"
    );
}

#[test]
fn a_writer_says_what_it_has_put_back() {
    let sandbox = kill_with_a_ring();
    if !sandbox.path("d").join("ring").exists() {
        return;
    }
    let torn = segments(&sandbox).pop().unwrap();
    fs::File::options()
        .write(true)
        .open(torn)
        .unwrap()
        .set_len(0)
        .unwrap();
    let output = write(&sandbox, &[], b"three\n");
    let stderr = text(&output.stderr);
    let told = ": 8 bytes that a crash has torn are put back from the commit ring\n";
    assert!(stderr.ends_with(told), "{stderr}");
    assert_eq!(text(&cat(&sandbox)), "one\ntwo\nthree\n");
    // Nobody asked for a ring this time.
    assert!(!sandbox.path("d").join("ring").exists());
}

#[test]
fn a_ring_is_for_lines_that_are_durable_at_once() {
    let sandbox = Sandbox::new();
    let refused = log(&sandbox, &["write", "d", "--commit-ring", "always"], 125);
    let message = "--commit-ring: nothing goes into it without `--durability always` or `batch`";
    assert_eq!(text(&refused.stderr), format!("withal: {message}\n"));
    let refused = log(&sandbox, &["write", "d", "--commit-ring", "now"], 125);
    let message = "not a time for a commit ring; write `auto`, `always` or `never`";
    assert!(text(&refused.stderr).contains(message), "{refused:?}");
    assert!(!sandbox.path("d").exists());
}

#[test]
fn logging_goes_on_when_nobody_reads_stdout() {
    for (option, what) in [("--tee", "passed on"), ("--ack", "acknowledged")] {
        let sandbox = Sandbox::new();
        let script = format!(
            "{{ echo one; read go < go; echo two; echo three; }} |
             {{ $W log write d -d always {option}; echo $? > code; }} | {{ read first; exec <&-; echo > go; }}"
        );
        sandbox.shell("mkfifo go").check_code(0);
        let ended = sandbox.shell(&script);
        wait_until("the end of the writer", || !sandbox.read("code").is_empty());
        assert_eq!(sandbox.read("code"), "0\n");
        assert_eq!(cat(&sandbox), b"one\ntwo\nthree\n");
        let stderr = sandbox.stderr();
        assert!(stderr.lines().count() <= 1, "{ended:?}");
        assert!(stderr.is_empty() || stderr.contains(what), "{stderr}");
    }
}

#[test]
fn verify_tells_torn_from_changed_from_missing() {
    let make = || {
        let sandbox = Sandbox::new();
        for number in 10..14 {
            // All of one length: each fills a segment.
            let lines = numbers(number * 100..(number + 1) * 100);
            let size = lines.len().to_string();
            write(&sandbox, &["--rotate-size", &size], lines.as_bytes());
        }
        assert_eq!(segments(&sandbox).len(), 4);
        let clean = log(&sandbox, &["verify", "d"], 0);
        assert!(text(&clean.stdout).starts_with("d: clean, 4 segments, 400 lines,"));
        sandbox
    };
    let check = |sandbox: &Sandbox, code: i32, kind: &str, file: &str| {
        let told = text(&log(sandbox, &["verify", "d", "--quiet"], code).stdout);
        assert!(
            told.lines()
                .any(|line| line.contains(file) && line.contains("byte")),
            "{told}"
        );
        let json = text(&log(sandbox, &["verify", "d", "--json"], code).stdout);
        assert!(json.contains(&format!("\"kind\":\"{kind}\"")), "{json}");
    };
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();

    let sandbox = make();
    let last = segments(&sandbox)[3].clone();
    let mut file = fs::OpenOptions::new().append(true).open(&last).unwrap();
    file.write_all(b"half a li").unwrap();
    check(&sandbox, 1, "torn_tail", &name(&last));
    let planned = log(&sandbox, &["repair", "d", "--dry-run"], 0);
    check(&sandbox, 1, "torn_tail", &name(&last));
    let done = log(&sandbox, &["repair", "d"], 0);
    assert_eq!(text(&planned.stdout), text(&done.stdout));
    assert!(text(&done.stdout).contains("9 torn bytes"), "{done:?}");
    log(&sandbox, &["verify", "d"], 0);
    assert_eq!(text(&cat(&sandbox)), numbers(1000..1400));

    let sandbox = make();
    let second = segments(&sandbox)[1].clone();
    let mut bytes = fs::read(&second).unwrap();
    bytes[300] ^= 1;
    fs::write(&second, bytes).unwrap();
    check(&sandbox, 2, "corrupt_text", &name(&second));
    log(&sandbox, &["repair", "d"], 2);
    check(&sandbox, 2, "corrupt_text", &name(&second));

    let sandbox = make();
    let second = segments(&sandbox)[1].clone();
    fs::remove_file(&second).unwrap();
    fs::remove_file(second.with_extension("idx")).unwrap();
    // It is told at the end of the one before.
    let first = name(&segments(&sandbox)[0]);
    check(&sandbox, 3, "missing_segment", &first);
}

/// Reads `d` with these options, expects the lines `left` of it, and gives what stderr says.
#[track_caller]
fn read_around_holes(sandbox: &Sandbox, command: &[&str], left: &str) -> String {
    let output = log(sandbox, &[command, &["d"]].concat(), 125);
    assert!(text(&output.stdout) == left, "{command:?}");
    text(&output.stderr)
}

#[test]
fn what_is_readable_is_printed_around_a_missing_segment() {
    let sandbox = Sandbox::new();
    let parts = [numbers(100..200), numbers(200..300), numbers(300..400)];
    let size = parts[0].len().to_string();
    for part in &parts {
        write(&sandbox, &["--rotate-size", &size], part.as_bytes());
    }
    let second = segments(&sandbox)[1].clone();
    fs::remove_file(&second).unwrap();
    fs::remove_file(second.with_extension("idx")).unwrap();
    let left = format!("{}{}", parts[0], parts[2]);
    let reversed: String = left.lines().rev().map(|line| format!("{line}\n")).collect();
    let seven: String = left
        .split_inclusive('\n')
        .filter(|line| line.contains('7'))
        .collect();
    for (options, left) in [
        (&["cat"][..], &left),
        (&["cat", "--raw"], &left),
        (&["cat", "--reverse"], &reversed),
        (&["cat", "--since", "1h", "--until", "2999-01-01"], &left),
        (&["cat", "--grep", "7"], &seven),
        (&["tail", "-n", "1000"], &left),
    ] {
        let told = read_around_holes(&sandbox, options, left);
        assert_eq!(told.lines().count(), 1, "{told}");
        let remedy = "; `withal log verify d` shows what is wrong\n";
        let hole = format!("at byte {size}");
        assert!(told.contains(&hole) && told.ends_with(remedy), "{told}");
        assert!(
            told.contains(&format!(" {size} bytes are missing;")),
            "{told}"
        );
        let first = segments(&sandbox)[0].file_name().unwrap().to_owned();
        assert!(told.contains(first.to_str().unwrap()), "{told}");
    }
}

#[test]
fn stamps_go_on_behind_a_hole() {
    let sandbox = Sandbox::new();
    let lines = numbers(10..20);
    let size = lines.len().to_string();
    for _ in 0..2 {
        write(&sandbox, &["--rotate-size", &size], lines.as_bytes());
    }
    fs::remove_file(&segments(&sandbox)[1]).unwrap();
    let written = sandbox.feed(&["log", "write", "d", "--stamp"], b"next\n");
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    let printed = text(&log(&sandbox, &["cat", "d"], 125).stdout);
    let next = printed.strip_prefix(&lines).unwrap();
    assert_eq!(next.split_at(28).1, "next\n");
}

#[test]
fn a_line_does_not_go_on_over_a_hole() {
    let sandbox = Sandbox::new();
    let [first, second, third] = ["a", "b", "c"].map(|byte| byte.repeat(100));
    let line = format!("{first}{second}{third}\n");
    let options = ["--max-line", "100", "--rotate-size", "100"];
    write(&sandbox, &options, line.as_bytes());
    assert_eq!(text(&cat(&sandbox)), line);
    let lost = segments(&sandbox)[1].clone();
    fs::remove_file(&lost).unwrap();
    fs::remove_file(lost.with_extension("idx")).unwrap();
    for options in [&["cat"][..], &["cat", "--grep", "a|c"], &["tail"]] {
        let told = read_around_holes(&sandbox, options, &format!("{first}\n{third}\n"));
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let reversed = format!("{third}\n{first}\n");
    read_around_holes(&sandbox, &["cat", "--reverse"], &reversed);
}

#[test]
fn a_damaged_frame_is_passed_over_by_whole_lines() {
    let sandbox = Sandbox::new();
    let input = numbers(0..500_000);
    let options = ["--compress=zstd:1", "--rotate-size=4MiB"];
    write(&sandbox, &options, input.as_bytes());
    let frames = fs::read_dir(sandbox.path("d")).unwrap();
    let mut files: Vec<_> = frames.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "zst"));
    let mut bytes = fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&files[0], bytes).unwrap();

    let output = log(&sandbox, &["cat", "d"], 125);
    let (printed, told) = (text(&output.stdout), text(&output.stderr));
    let same = printed.bytes().zip(input.bytes());
    let before = same
        .take_while(|(printed, written)| printed == written)
        .count();
    let missing = input.len() - printed.len();
    assert!(missing > 1 << 19 && missing < (1 << 20) + 100, "{missing}");
    let before = input[..before].rfind('\n').unwrap() + 1;
    assert!(printed == input[..before].to_owned() + &input[before + missing..]);
    assert!(
        told.contains(&format!("at byte {before}: {missing} bytes are missing")),
        "{told}"
    );

    let reversed: String = printed
        .lines()
        .rev()
        .map(|line| format!("{line}\n"))
        .collect();
    let told_reversed = read_around_holes(&sandbox, &["cat", "--reverse"], &reversed);
    assert!(told_reversed.contains(&format!("at byte {before}: {missing} bytes are missing")));
}

#[test]
fn stats_know_lines_and_bytes() {
    let sandbox = Sandbox::new();
    write(&sandbox, &[], b"one\ntwo\n");
    let told = text(&log(&sandbox, &["stats", "d"], 0).stdout);
    assert!(told.contains("lines      2\n"), "{told}");
    let json = text(&log(&sandbox, &["stats", "d", "--json"], 0).stdout);
    assert!(
        json.contains("\"lines\":2") && json.contains("\"text_bytes\":8"),
        "{json}"
    );
}

#[test]
fn stats_say_where_the_text_ends_after_a_crash_and_why() {
    let sandbox = Sandbox::new();
    write(&sandbox, &[], b"one\n");
    let stats = || {
        let json = text(&log(&sandbox, &["stats", "d", "--json"], 0).stdout);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        ["tail_rule", "file_system_tail_rule", "file_system"].map(|key| json[key].to_string())
    };
    let [rule, asked_for, file_system] = stats().map(|value| value.replace('"', ""));
    assert_eq!(rule, asked_for);
    let told = text(&log(&sandbox, &["stats", "d"], 0).stdout);
    let expected = format!("tail rule  {rule}: it is on {file_system}\n");
    assert!(told.contains(&expected), "{told}");

    // As it is when it comes from elsewhere.
    let other = match rule.as_str() {
        "text" => TailRule::Strict,
        _ => TailRule::Text,
    };
    let written = Log::open(sandbox.path("d"))
        .tail_rule(other)
        .open()
        .unwrap();
    written.close().unwrap();
    let [rule, asked_for, _] = stats();
    assert_ne!(rule, asked_for);
    let told = text(&log(&sandbox, &["stats", "d"], 0).stdout);
    let expected = format!("tail rule  {other}: it was written so, though it is on {file_system}");
    assert!(told.contains(&expected), "{told}");
}

fn acknowledged(sandbox: &Sandbox) -> usize {
    let acks = sandbox.read("acks");
    acks.lines().last().map_or(0, |last| last.parse().unwrap())
}

/// Whether a small disk can be had, at `m`; says so if not.
fn can_mount(sandbox: &Sandbox) -> bool {
    let mounts = sandbox.shell("mkdir m && unshare -m mount -t tmpfs none m");
    if mounts.code() != 0 {
        eprintln!("skipped: a full disk needs a file system that only root can mount");
    }
    mounts.code() == 0
}

/// Runs a script where `m` is a disk of 2 MiB.
fn on_small_disk(sandbox: &Sandbox, script: &str) {
    let script = format!("mount -t tmpfs -o size=2m none m || exit 1\n{script}");
    let quoted = script.replace('\'', "'\\''");
    sandbox
        .shell(&format!("unshare -m sh -c '{quoted}'"))
        .check_code(0);
}

#[test]
fn a_full_disk_is_met_as_the_policy_says() {
    let sandbox = Sandbox::new();
    if !can_mount(&sandbox) {
        return;
    }
    let lines = 400_000;
    sandbox.write("in", &numbers(0..lines));
    let full = |policy: &str| {
        let script = format!(
            "$W log write m/d --rotate-size 32KiB --ack --on-full {policy} < in > acks
             echo $? > code; $W log cat m/d > out; $W log verify m/d > report"
        );
        on_small_disk(&sandbox, &script);
        (sandbox.read("code"), sandbox.read("out"), sandbox.stderr())
    };
    let input = sandbox.read("in");
    for (policy, said) in [("fail", 1), ("block=20ms", 2)] {
        let (code, out, stderr) = full(policy);
        assert_eq!(code, "125\n");
        assert!(
            stderr.contains("no space to write") && stderr.lines().count() == said,
            "{stderr}"
        );
        assert_eq!(stderr.contains("waiting for space"), said == 2, "{stderr}");
        assert!(!out.is_empty() && input.starts_with(&out) && out.ends_with('\n'));
        assert!(acknowledged(&sandbox) <= out.lines().count());
    }
    let (code, out, stderr) = full("drop");
    assert_eq!(code, "0\n");
    assert!(stderr.contains("lines were dropped"), "{stderr}");
    let dropped: usize = stderr
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    assert_eq!(out.lines().count() + dropped, lines as usize);
    assert!(acknowledged(&sandbox) <= out.lines().count());
    let (code, _, stderr) = full(r#"drop --drop-line "{count} lines were dropped""#);
    assert_eq!(code, "0\n", "{stderr}");
    let (code, out, _) = full("prune");
    assert_eq!(code, "0\n");
    assert!(!out.is_empty() && input.ends_with(&out), "{}", out.len());
}

#[test]
fn who_waits_for_space_says_so_when_it_is_asked_to_stop() {
    let sandbox = Sandbox::new();
    if !can_mount(&sandbox) {
        return;
    }
    sandbox.write("in", &numbers(0..400_000));
    let script = "$W log write m/d < in 2> said & pid=$!
         until grep -q waiting said; do sleep 0.05; done
         kill -TERM $pid
         until grep -q TERM said; do sleep 0.05; done
         kill -0 $pid; echo $? > lives
         kill -TERM $pid; wait $pid; echo $? > code";
    on_small_disk(&sandbox, script);
    let said = sandbox.read("said");
    let expected = "withal: SIGTERM: not done yet with what was read; a second one ends it at once\n\
                    withal: ended at once: the last lines may not be in the log\n";
    assert!(said.ends_with(expected), "{said}");
    assert_eq!(
        (&*sandbox.read("lives"), &*sandbox.read("code")),
        ("0\n", "143\n")
    );
}

#[test]
fn a_line_of_json_stands_where_lines_were_dropped() {
    let sandbox = Sandbox::new();
    if !can_mount(&sandbox) {
        return;
    }
    let line = r#"{"message":"hello"}"#;
    sandbox.write("in", &format!("{line}\n").repeat(200_000));
    sandbox.write(
        "template",
        r#"{"dropped":{count},"since":"{since}","until":"{until}"}"#,
    );
    let script = "dd if=/dev/zero of=m/filler bs=1M count=1 2> dd || exit 1
         mkfifo go
         { cat in; read go < go; cat in | head -n 10; } |
           $W log write m/d --on-full drop --drop-line \"$(cat template)\" 2> said &
         until grep -q dropped m/d/events.jsonl 2> no; do sleep 0.05; done
         rm m/filler; echo > go; wait $!; echo $? > code
         $W log cat m/d > out; $W log verify m/d > report; cat said >&2";
    on_small_disk(&sandbox, script);
    assert_eq!(sandbox.read("code"), "0\n", "{}", sandbox.stderr());
    let out = sandbox.read("out");
    let values: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let dropped: u64 = values
        .iter()
        .filter_map(|value| value["dropped"].as_u64())
        .sum();
    assert!(dropped > 0);
    let stderr = sandbox.stderr();
    assert!(
        stderr.contains(&format!("{dropped} lines were dropped")),
        "{stderr}"
    );
    let tells = values
        .iter()
        .filter(|value| value["since"].is_string() && value["until"].is_string());
    assert_eq!(
        out.lines().count() as u64 + dropped,
        200_010 + tells.count() as u64
    );
    assert!(out.ends_with(&format!("{line}\n").repeat(10)));
}

#[test]
fn what_is_no_log_is_refused() {
    let sandbox = Sandbox::new();
    sandbox
        .shell("mkdir other empty; touch other/file")
        .check_code(0);
    let check = |arguments: &[&str], message: &str| {
        let refused = log(&sandbox, arguments, 125);
        assert_eq!(text(&refused.stderr), format!("withal: {message}\n"));
    };
    let remedy = "not a log: there is no segment in it; `withal log write` makes one";
    for command in ["cat", "tail", "verify", "repair", "stats"] {
        check(&[command, "other"], &format!("`other`: {remedy}"));
        check(&[command, "empty"], &format!("`empty`: {remedy}"));
        check(
            &[command, "nowhere"],
            "cannot open the log `nowhere`: No such file or directory (os error 2)",
        );
    }
    check(
        &["write", "other"],
        "`other`: not a log, and not empty: it holds `file`; name a new directory",
    );
    check(
        &["write", "no/where"],
        "cannot open `no/where`: No such file or directory (os error 2)",
    );
    check(&["write"], "no <DIR>: see `withal log write --help`");
    check(
        &["nonsense"],
        "`nonsense`: no subcommand; `withal log --help` lists them",
    );
    check(
        &["cat", "other", "--since", "1m", "--until", "1h"],
        "--until: it is before --since, so that nothing lies between them",
    );
    check(
        &["write", "d", "--drop-line", "{count} dropped"],
        "--drop-line: nothing is dropped without `--on-full drop`",
    );
    check(
        &["write", "d", "--keep-size", "much"],
        "--keep-size: `much`: not a size; write `64MiB`, `500KiB`, `2GiB` or plain bytes",
    );
    write(&sandbox, &[], b"");
    assert_eq!(cat(&sandbox), b"");
}
