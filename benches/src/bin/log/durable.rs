//! Appends that return when the record is on the disk.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use okaywal::{LogVoid, WriteAheadLog};
use rusqlite::{Connection, TransactionBehavior};
use withal_benches::{Bench, US};
use withal_log::{CommitRing, Durability, Log};

use crate::{LINE, Open};

pub(crate) fn add(bench: &mut Bench<'_>, folder: &Path) {
    for writers in [1, 16] {
        let work = match writers {
            1 => "durable append, 1 writer".to_owned(),
            _ => format!("durable append, {writers} writers"),
        };
        for (who, ring) in [
            (US, CommitRing::Auto),
            ("the same without a commit ring", CommitRing::Never),
        ] {
            let options = Log::open(folder.join(format!("{ring:?}{writers}")))
                .durability(Durability::Always)
                .commit_ring(ring);
            let log = Open(options.open().expect("the folder can be written"));
            bench.rate(&work, who, move |n| {
                side_by_side(n, writers, || {
                    let log = log.0.clone();
                    move || {
                        let _ = log.append(LINE).expect("the log can be written");
                    }
                })
            });
        }
        let path = folder.join(format!("bare{writers}"));
        bench.rate(&work, "bare `write` and `fdatasync`", move |n| {
            let file = append_to(&path);
            side_by_side(n, writers, || {
                let file = file.try_clone().expect("there are more descriptors");
                move || bare(&file)
            })
        });
        let path = folder.join(format!("sqlite{writers}"));
        drop(sqlite(&path));
        bench.rate(&work, "SQLite, WAL, FULL", move |n| {
            side_by_side(n, writers, || {
                let mut connection = sqlite(&path);
                move || insert(&mut connection).expect("the database can be written")
            })
        });
        if writers > 1 {
            let path = folder.join(format!("sqlite{writers}-shared"));
            bench.rate(&work, "SQLite, WAL, FULL, one connection", move |n| {
                let connection = Arc::new(Mutex::new(sqlite(&path)));
                side_by_side(n, writers, || {
                    let connection = Arc::clone(&connection);
                    move || {
                        let mut connection = connection.lock().expect("nobody panics");
                        insert(&mut connection).expect("the database can be written");
                    }
                })
            });
        }
        let log = WriteAheadLog::recover(folder.join(format!("okaywal{writers}")), LogVoid)
            .expect("the folder can be written");
        bench.rate(&work, "okaywal", move |n| {
            side_by_side(n, writers, || {
                let log = log.clone();
                move || {
                    let mut entry = log.begin_entry().expect("the log can be written");
                    let _ = entry.write_chunk(LINE).expect("the log can be written");
                    let _ = entry.commit().expect("the log can be written");
                }
            })
        });
    }
}

/// Has several threads do the work `n` times in all, each with what `begin` made for it.
fn side_by_side<W: FnMut() + Send>(n: u64, threads: u64, mut begin: impl FnMut() -> W) -> Duration {
    let each = n.div_ceil(threads);
    let works: Vec<W> = (0..threads).map(|_| begin()).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for mut work in works {
            let _ = scope.spawn(move || (0..each).for_each(|_| work()));
        }
    });
    // Rounded up, it was done more often than asked.
    began.elapsed().mul_f64(n as f64 / (each * threads) as f64)
}

fn append_to(path: &PathBuf) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("the folder can be written")
}

fn bare(mut file: &File) {
    let mut line = LINE.to_vec();
    line.push(b'\n');
    file.write_all(&line).expect("the file can be written");
    file.sync_data().expect("the file can be synced");
}

fn sqlite(path: &Path) -> Connection {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(60))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch("CREATE TABLE IF NOT EXISTS log (line TEXT)")?;
        Ok(connection)
    };
    open().expect("the folder can be written")
}

fn insert(connection: &mut Connection) -> rusqlite::Result<()> {
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let _ = begun
        .prepare_cached("INSERT INTO log (line) VALUES (?1)")?
        .execute([LINE])?;
    begun.commit()
}
