//! What loom replaces when it explores the interleavings of those who append.

#[cfg(withal_loom)]
pub(crate) use loom::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, Builder, JoinHandle, ThreadId},
};
#[cfg(not(withal_loom))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, Builder, JoinHandle, ThreadId},
};
