//! What is said to the notice hook, by the name of the pool it is said of.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use withal_core::{NoticeKind, set_notice_hook};

type Said = HashMap<String, Vec<(NoticeKind, String)>>;

static SAID: LazyLock<Mutex<Said>> = LazyLock::new(|| {
    set_notice_hook(|notice| {
        let name = notice.entry.map(|entry| entry.name().to_owned());
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        let text = notice.to_string();
        said.entry(name.unwrap_or_default())
            .or_default()
            .push((notice.kind, text));
    });
    Mutex::default()
});

/// Listens from now on.
pub(crate) fn listen() {
    drop(SAID.lock());
}

/// What was said of the pool called `name`.
pub(crate) fn said_of(name: &str) -> Vec<(NoticeKind, String)> {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    said.remove(name).unwrap_or_default()
}

pub(crate) fn kinds(name: &str) -> Vec<NoticeKind> {
    said_of(name).into_iter().map(|(kind, _)| kind).collect()
}
