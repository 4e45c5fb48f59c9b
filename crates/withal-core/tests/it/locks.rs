//! Rows 30–34: locks. The standard library's guards are resources like any other.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, TryLockError};

use withal_core::{ContextManager, Error, closing, contextmanager, reentrant, with};

use crate::support::{Oops, fail};

/// Runs a clean and a failing block around `lock`; `is_locked` is asked inside and after.
fn check_lock<M: ContextManager>(lock: impl Fn() -> M, is_locked: impl Fn() -> bool) {
    assert!(!is_locked());
    with(lock(), |_| Ok(assert!(is_locked()))).unwrap();
    assert!(!is_locked());
    let error: Error = with(lock(), |_| {
        assert!(is_locked());
        fail::<()>("body")
    })
    .unwrap_err();
    assert!(error.is::<Oops>());
    assert!(!is_locked());
}

fn is_locked<T>(mutex: &Mutex<T>) -> bool {
    matches!(mutex.try_lock(), Err(TryLockError::WouldBlock))
}

#[test]
fn c030_lock() {
    let mutex = Mutex::new(0);
    let guard = || {
        closing(mutex.lock().unwrap(), |guard| {
            drop(guard);
            Ok::<(), Oops>(())
        })
    };
    check_lock(guard, || is_locked(&mutex));
}

#[test]
fn c031_rlock() {
    let mutex = Mutex::new(0);
    let lock = reentrant(|| {
        closing(mutex.lock().unwrap(), |guard| {
            drop(guard);
            Ok::<(), Oops>(())
        })
    });
    check_lock(|| &lock, || is_locked(&mutex));
    with(&lock, |_| {
        with(&lock, |_| Ok(assert!(is_locked(&mutex))))?;
        Ok(assert!(is_locked(&mutex)))
    })
    .unwrap();
    assert!(!is_locked(&mutex));
}

#[test]
fn c032_condition() {
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    let condition = || {
        contextmanager(async |y| {
            let (guard, _, done) = y.give(mutex.lock().unwrap()).await;
            drop(guard);
            changed.notify_all();
            Ok::<_, Oops>(done)
        })
    };
    check_lock(condition, || is_locked(&mutex));
}

/// Permits that come back with their block.
fn permits(left: &RefCell<u32>) -> impl ContextManager<Error = Oops> {
    contextmanager(async move |y| {
        *left.borrow_mut() -= 1;
        let (_, _, done) = y.give(()).await;
        *left.borrow_mut() += 1;
        Ok(done)
    })
}

#[test]
fn c033_semaphore() {
    let left = RefCell::new(1);
    check_lock(|| permits(&left), || *left.borrow() == 0);
}

/// Releasing too often is an error in Python; here the permit is the resource, and it is moved
/// into its exit (`tests/ui/single_use.rs`).
#[test]
fn c034_bounded_semaphore() {
    let left = RefCell::new(2);
    with((permits(&left), permits(&left)), |_| {
        Ok(assert_eq!(*left.borrow(), 0))
    })
    .unwrap();
    assert_eq!(*left.borrow(), 2);
}
