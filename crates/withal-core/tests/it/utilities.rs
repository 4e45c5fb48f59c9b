//! Rows 26–29: closing, nullcontext, files.

use std::cell::Cell;
use std::io::{self, Write};

use withal_core::{closing, nullcontext, with};

use crate::support::{Oops, check, fail, log, oldest_first, oops};

#[test]
fn c026_closing() {
    let program = || {
        let thing = closing(String::from("thing"), |thing| {
            log(format!("close {thing}"));
            Ok::<(), Oops>(())
        });
        with(thing, |thing| {
            log(format!("body {}", **thing));
            thing.push_str(" changed");
            Ok(())
        })
    };
    check(program, &["body thing", "close thing changed"]).unwrap();
}

#[test]
fn c027_closing_error() {
    let program = || {
        let close = |()| {
            log("close");
            Ok::<(), Oops>(())
        };
        with(closing((), close), |_| fail::<()>("body"))
    };
    let error = check(program, &["close"]).unwrap_err();
    assert_eq!(error.downcast::<Oops>().unwrap(), oops("body"));
}

#[test]
fn a_close_that_fails_is_an_error_of_its_own_or_beside_the_body_error() {
    let bad = || closing((), |()| Err(oops("close")));
    assert_eq!(
        oldest_first(&with(bad(), |_| Ok(())).unwrap_err()),
        ["close"]
    );
    assert_eq!(
        oldest_first(&with(bad(), |_| fail::<()>("body")).unwrap_err()),
        ["body", "close"]
    );
}

#[test]
fn c028_nullcontext() {
    let cell = Cell::new(1);
    with(nullcontext(&cell), |lent| {
        Ok(assert!(std::ptr::eq(*lent, &cell)))
    })
    .unwrap();
    let error = with(nullcontext(()), |()| fail::<()>("body")).unwrap_err();
    assert_eq!(oldest_first(&error), ["body"]);
}

/// Python asserts that the file is closed. Here the handle cannot be used after the block
/// (`tests/ui/resource_after_block.rs`), and an error from the last flush is not lost as it would
/// be in a destructor.
#[test]
fn c029_file() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let open = || closing(io::BufWriter::new(Full), |mut file| file.flush());
    let error = with(open(), |file| Ok(file.write_all(b"text")?)).unwrap_err();
    assert_eq!(
        error.downcast_ref::<io::Error>().unwrap().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(error.first().stage(), withal_core::Stage::Exit);

    let error = with(open(), |file| {
        file.write_all(b"text")?;
        fail::<()>("body")
    });
    let error = error.unwrap_err();
    assert_eq!(error.len(), 2);
    assert_eq!(error.body().unwrap().to_string(), "body");
}
