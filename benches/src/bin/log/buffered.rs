//! Appends that do not wait for the disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_appender::non_blocking::NonBlockingBuilder;
use withal_benches::{Bench, US, timed};
use withal_log::{Durability, Log};

use crate::{LINE, Open};

const WORK: &str = "append a line, buffered";
/// As the log's default, so that all begin a new file as often.
const ROTATE: usize = 64 << 20;

pub(crate) fn add(bench: &mut Bench<'_>, folder: &Path) {
    let options = Log::open(folder.join("buffered"))
        .durability(Durability::Buffered)
        .rotate_size(ROTATE as u64)
        .keep_size(4 * ROTATE as u64);
    let log = Open(options.open().expect("the folder can be written"));
    bench.rate(WORK, US, move |n| {
        timed(n, |_| log.0.append(LINE).expect("the log can be written"))
    });
    let path = folder.join("appender");
    bench.rate(WORK, "tracing-appender, not lossy", move |n| {
        appender(&path, n)
    });
    let mut file = FileRotate::new(
        folder.join("rotated"),
        AppendCount::new(4),
        ContentLimit::BytesSurpassed(ROTATE),
        Compression::None,
        None,
    );
    let line = line();
    bench.rate(WORK, "file-rotate", move |n| {
        timed(n, |_| {
            file.write_all(&line).expect("the file can be written")
        })
    });
}

/// A new file each time, as it removes none; what is still on its way to the thread is not timed.
fn appender(path: &Path, n: u64) -> Duration {
    let file = File::create(path).expect("the folder can be written");
    let (mut writer, _worker) = NonBlockingBuilder::default().lossy(false).finish(file);
    let line = line();
    timed(n, |_| writer.write_all(&line).expect("the thread takes it"))
}

fn line() -> Vec<u8> {
    let mut line = LINE.to_vec();
    line.push(b'\n');
    line
}
