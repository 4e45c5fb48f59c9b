//! This binary, run again as another process.
//!
//! [`command`] starts it with one test only, [`entry`], which runs what it is told to and leaves.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const NAME: &str = "WITHAL_LOG_TEST_CHILD";
const PATH: &str = "WITHAL_LOG_TEST_PATH";

/// The child that does `name` with `path`.
pub(crate) fn command(name: &str, path: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["child::entry", "--exact", "--nocapture", "--test-threads=1"])
        .env(NAME, name)
        .env(PATH, path);
    command
}

#[test]
fn entry() {
    let Ok(name) = env::var(NAME) else {
        return;
    };
    let path = PathBuf::from(env::var_os(PATH).unwrap());
    match name.as_str() {
        "write-strictly" => crate::strict::write_until_killed(&path),
        "moves-away" => crate::policies::move_away(&path),
        "batch" => crate::checkpoint::work_off(&path),
        #[cfg(feature = "tokio")]
        "batch-async" => crate::checkpoint::work_off_async(&path),
        #[cfg(feature = "tracing")]
        "global-subscriber" => crate::layer::under_a_global_subscriber(),
        how if how.contains("-writing") || how.contains("-closing") || how.contains("-keeping") => {
            crate::hooks::run(how, &path);
        }
        other => panic!("no child is called `{other}`"),
    }
    exit(0);
}
