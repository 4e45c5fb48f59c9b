//! What the numbers were measured on.

use std::fs;
use std::thread;

use anyhow::Result;

use crate::repository::Metadata;
use crate::shell;

/// A program or circumstance that bears on a benchmark's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tool {
    Python,
    Hyperfine,
    Bash,
    /// The file system that holds the build, and the files of the benchmarks.
    FileSystem,
}

/// The machine and the versions, in one line.
pub(super) fn describe(tools: &[Tool], metadata: &Metadata) -> Result<String> {
    let cores = thread::available_parallelism()?;
    let mut parts = vec![
        cpu_model(),
        format!("{cores} cores"),
        format!("Linux {}", read("/proc/sys/kernel/osrelease")),
        first_line("rustc", &["--version"]),
    ];
    for tool in tools {
        parts.push(match tool {
            Tool::Python => first_line("python3", &["--version"]),
            Tool::Hyperfine => first_line("hyperfine", &["--version"]),
            Tool::Bash => first_line("bash", &["--version"]),
            Tool::FileSystem => {
                let folder = metadata.target_directory.to_string_lossy();
                let kind = first_line("stat", &["--file-system", "--format=%T", &folder]);
                format!("file system {kind}")
            }
        });
    }
    parts.retain(|part| !part.is_empty());
    Ok(parts.join(", "))
}

fn cpu_model() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

/// The first line a program prints, or nothing if it is not there.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = shell::output(shell::at_root(program).args(arguments));
    output
        .ok()
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_default()
}
