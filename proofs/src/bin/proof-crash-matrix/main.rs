//! Rebuilds what a power loss can leave on ext4, XFS and btrfs, and checks it.
fn main() {}
