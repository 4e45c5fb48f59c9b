//! Links the command at a fixed address.
//!
//! It is started before and beside every command that it runs, and half of its start would go to
//! relocations: 100 pages of pointers, each copied and corrected, in each start. `python3` of Debian
//! and programs in Go are linked so, too, for the same reason. What this gives up, that its own code
//! lies at an address nobody can guess, would slow down who has found a hole in it; libraries, heap
//! and stacks still lie anywhere.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
