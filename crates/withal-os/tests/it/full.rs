//! A disk that is really full.

use std::fs;
use std::io::{BufWriter, ErrorKind, Write};

use withal_core::with;
use withal_os::{AtomicWriter, WriteErrorKind, write_atomic};

use crate::support::{Mount, Place, chain, read, temporaries};

#[test]
fn a_full_disk_leaves_the_old_file_and_is_named() {
    let place = Place::new();
    let disk = place.join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(_mount) = Mount::tmpfs("256k", &disk) else {
        return;
    };
    let path = disk.join("a");
    write_atomic(&path, "old").unwrap();
    let large = vec![b'x'; 1 << 20];
    let want = format!(
        "`{}` was not written: cannot write its temporary file: No space left on device (os \
         error 28)",
        path.display()
    );

    let error = write_atomic(&path, &large).unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::NotCommitted);
    assert_eq!(chain(&error), want);
    assert_eq!(error.io_error().unwrap().kind(), ErrorKind::StorageFull);

    let error = with(AtomicWriter::create(&path), |file| {
        let error = file.write_all(&large).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(chain(&error), want);
        Ok(()) // not heard: the commit fails all the same
    })
    .unwrap_err();
    let error = error.downcast_ref::<withal_os::WriteError>().unwrap();
    assert_eq!(
        error.operation(),
        "an earlier write to its temporary file failed"
    );

    let promised = AtomicWriter::create(&path).size(1 << 20).open();
    let error = promised.unwrap_err();
    assert_eq!(
        chain(&error),
        format!(
            "`{}` was not written: cannot reserve 1048576 bytes for its temporary file: No space \
             left on device (os error 28)",
            path.display()
        )
    );

    let swallowed = with(AtomicWriter::create(&path), |file| {
        let mut buffered = BufWriter::with_capacity(2 << 20, file);
        buffered.write_all(&large)?;
        Ok(()) // its destructor writes, fails, and tells nobody
    });
    assert!(swallowed.is_err());

    assert_eq!(read(&path), "old");
    assert_eq!(temporaries(&disk), [""; 0]);
    write_atomic(&path, "new").unwrap();
    assert_eq!(read(&path), "new");
}

#[test]
fn a_backup_on_another_filesystem_is_refused() {
    let place = Place::new();
    let path = place.file("a", "old");
    let disk = place.join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(_mount) = Mount::tmpfs("256k", &disk) else {
        return;
    };
    let writer = AtomicWriter::create(&path).backup(disk.join("b"));
    let error = writer.open().unwrap_err();
    assert_eq!(error.io_error().unwrap().kind(), ErrorKind::CrossesDevices);
    assert_eq!(read(&path), "old");
}
