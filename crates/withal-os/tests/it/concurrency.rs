//! Several writers of the same file.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use withal_os::{AtomicWriter, Durability, WriteErrorKind};

use crate::support::Place;

const LENGTH: usize = 256 << 10;

#[test]
fn writers_of_the_same_file_each_replace_it_whole() {
    let place = Place::new();
    let path = place.join("a");
    fs::write(&path, vec![0; LENGTH]).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0_u32;
            while !done.load(Ordering::Relaxed) || seen == 0 {
                let content = fs::read(&path).unwrap();
                assert!(content.len() == LENGTH && content.iter().all(|b| *b == content[0]));
                seen += 1;
            }
            seen
        });
        let writers: Vec<_> = (1..=8_u8)
            .map(|number| {
                let writer = AtomicWriter::create(&path).durability(Durability::Atomic);
                scope.spawn(move || {
                    for _ in 0..40 {
                        let mut file = writer.clone().open().unwrap();
                        file.write_all(&vec![number; LENGTH]).unwrap();
                        file.commit().unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn of_many_makers_of_one_file_exactly_one_wins() {
    type Maker = fn(&Path) -> AtomicWriter;
    let makers: [(Maker, WriteErrorKind); 2] = [
        (
            |path| AtomicWriter::create_new(path),
            WriteErrorKind::AlreadyExists,
        ),
        (
            |path| AtomicWriter::create(path).if_unchanged(None),
            WriteErrorKind::Changed,
        ),
    ];
    for (maker, refusal) in makers {
        // The one links it where it belongs, the others rename it.
        for (durability, rounds) in [(Durability::Atomic, 50), (Durability::Content, 10)] {
            for _ in 0..rounds {
                one_wins(|path| maker(path).durability(durability), refusal);
            }
        }
    }
}

fn one_wins(maker: impl Fn(&Path) -> AtomicWriter + Sync, refusal: WriteErrorKind) {
    let place = Place::new();
    let path = place.join("a");
    let start = Barrier::new(8);
    let make = |number: u8| {
        let content = number.to_string();
        let mut file = maker(&path).open().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let _ = start.wait();
        match file.commit() {
            Ok(()) => Some(content),
            Err(error) => {
                assert_eq!(error.kind(), refusal);
                None
            }
        }
    };
    let winners: Vec<String> = thread::scope(|scope| {
        let make = &make;
        let makers: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || make(number)))
            .collect();
        let made = makers.into_iter().filter_map(|maker| maker.join().unwrap());
        made.collect()
    });
    assert_eq!(winners, [fs::read_to_string(&path).unwrap()]);
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn backups_of_concurrent_writers_are_whole_old_files() {
    let place = Place::new();
    let path = place.join("a");
    fs::write(&path, vec![0; 4096]).unwrap();
    thread::scope(|scope| {
        for number in 1..=4_u8 {
            let writer = AtomicWriter::create(&path)
                .backup_suffix("~")
                .durability(Durability::Atomic);
            let _ = scope.spawn(move || {
                for _ in 0..50 {
                    let mut file = writer.clone().open().unwrap();
                    file.write_all(&[number; 4096]).unwrap();
                    file.commit().unwrap();
                }
            });
        }
    });
    for name in ["a", "a~"] {
        let content = fs::read(place.join(name)).unwrap();
        assert!(content.len() == 4096 && content.iter().all(|b| *b == content[0]));
    }
    assert_eq!(place.names(), ["a", "a~"]);
}
