//! Appends that do not wait for the disk.
//!
//! Each sample has a new file, and none is ended within a sample. What a peer has in memory at the
//! end of a sample is written within its time; of a log that is 64 KiB at most, and is not.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder};
use withal_benches::{Bench, US, timed};
use withal_log::{Durability, Log};

use crate::LINE;

const WORK: &str = "append a line, buffered";
const FILE: usize = 4 << 30;
pub(crate) const APPENDER: &str = "tracing-appender, not lossy";

pub(crate) fn add(bench: &mut Bench<'_>, folder: &Path) {
    let path = folder.join("buffered");
    bench.rate(WORK, US, move |n| {
        with_log(&path, |log| {
            timed(n, |_| log.append(LINE).expect("the log can be written"))
        })
    });
    let line = [LINE, b"\n"].concat();
    let (path, taken) = (folder.join("appender"), line.clone());
    bench.rate(WORK, APPENDER, move |n| {
        with_appender(&path, |mut writer| {
            timed(n, |_| {
                writer.write_all(&taken).expect("the thread takes it")
            })
        })
    });
    let path = folder.join("rotated");
    bench.rate(WORK, "file-rotate", move |n| {
        with_rotated(&path, |file| {
            timed(n, |_| {
                file.write_all(&line).expect("the file can be written")
            })
        })
    });
}

/// Has a log written that is closed and removed after that.
pub(crate) fn with_log(path: &Path, write: impl FnOnce(&Log) -> Duration) -> Duration {
    let options = Log::open(path).durability(Durability::Buffered);
    let log = options.rotate_size(FILE as u64).open();
    let log = log.expect("the folder can be written");
    let took = write(&log);
    log.close().expect("the log can be written");
    fs::remove_dir_all(path).expect("the log can be removed");
    took
}

/// Has a file written by the thread of tracing-appender.
pub(crate) fn with_appender(path: &Path, write: impl FnOnce(NonBlocking) -> Duration) -> Duration {
    let file = File::create(path).expect("the folder can be written");
    let (writer, worker) = NonBlockingBuilder::default().lossy(false).finish(file);
    let took = write(writer);
    let began = Instant::now();
    drop(worker);
    took + began.elapsed()
}

fn with_rotated(
    path: &Path,
    write: impl FnOnce(&mut FileRotate<AppendCount>) -> Duration,
) -> Duration {
    let limit = ContentLimit::BytesSurpassed(FILE);
    let mut file = FileRotate::new(path, AppendCount::new(1), limit, Compression::None, None);
    let took = write(&mut file);
    drop(file);
    fs::remove_file(path).expect("the file can be removed");
    took
}
