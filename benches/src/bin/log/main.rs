//! The log beside other logs, a database and the bare system calls.
//!
//! Files stand below `TMPDIR`, which `cargo xtask bench` sets to a folder on the disk.

mod buffered;
mod durable;
mod large;
mod layer;

use std::io;
use std::path::Path;

use withal_benches::Bench;
use withal_log::Log;

/// What is appended everywhere, without its newline.
const LINE: &[u8] = &[b'x'; 120];

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let (Some("--reopen"), Some(folder)) = (arguments.next().as_deref(), arguments.next()) {
        return large::reopen(Path::new(&folder));
    }
    let folder = tempfile::tempdir()?;
    let large = tempfile::tempdir()?;
    let mut bench = Bench::from_arguments();
    durable::add(&mut bench, folder.path());
    buffered::add(&mut bench, folder.path());
    layer::add(&mut bench, folder.path());
    large::add(&mut bench, large.path())?;
    bench.run()
}

/// A log that is closed with the case that uses it.
struct Open(Log);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.clone().close().expect("the log can be written");
    }
}
