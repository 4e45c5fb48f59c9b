//! What a destructor could not do is heard of.

use std::fs;
use std::sync::{Arc, Mutex};

use withal_core::{NoticeKind, clear_notice_hook, set_notice_hook};
use withal_os::TempDir;

use crate::support::Place;

#[test]
fn a_drop_that_fails_sends_a_notice_that_names_the_path() {
    let place = Place::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&heard);
    set_notice_hook(move |notice| {
        hook.lock().unwrap().push((notice.kind, notice.to_string()));
    });
    let directory = TempDir::new_in(&*place).open().unwrap();
    let path = directory.path().to_owned();
    fs::rename(&path, place.join("moved")).unwrap();
    fs::create_dir(&path).unwrap();
    drop(directory);
    clear_notice_hook();
    let heard = heard.lock().unwrap();
    let ours = heard
        .iter()
        .find(|(_, text)| text.contains(path.to_str().unwrap()));
    let (kind, text) = ours.expect("no notice");
    assert_eq!(*kind, NoticeKind::TeardownFailed);
    assert!(
        text.contains("`OpenTempDir`") && text.contains("was moved or replaced"),
        "{text}"
    );
}
