//! Writers killed in the middle of everything.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use withal_os::write_atomic;

use crate::child::{self, LONG};
use crate::support::{Place, temporaries};

const ROUNDS: usize = 300;

/// Whole: of full length, and all of one writer.
fn is_whole(content: &[u8]) -> bool {
    content.len() == LONG && content.iter().all(|byte| Some(byte) == content.first())
}

#[test]
fn a_file_is_whole_whenever_its_writer_is_killed() {
    let place = Place::new();
    let path = place.join("target");
    fs::write(&path, vec![b'0'; LONG]).unwrap();
    let mut contents = std::collections::HashSet::new();
    for round in 0..ROUNDS {
        let mut writer = child::command("write-for-ever", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child::wait_ready(&mut writer);
        // 13 steps make one replacement: every step of the first three gets its turn.
        let mut steps = vec![0; round % 40];
        writer
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut steps)
            .unwrap();
        writer.kill().unwrap();
        let _ = writer.wait().unwrap();

        let content = fs::read(&path).unwrap();
        assert!(is_whole(&content), "torn after {} steps", steps.len());
        let _ = contents.insert(content[0]);
        let stale = temporaries(&place).len();
        assert!(
            stale <= 1,
            "a writer did not remove its predecessor's temporary"
        );
    }
    assert!(contents.len() > 2, "hardly anything was ever committed");
    write_atomic(&path, "after").unwrap();
    assert_eq!(place.names(), ["target"]);
}
