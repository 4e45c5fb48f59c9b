#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use withal_core::{
    AsyncContextManager, BoxError, CallbackResult, Closing, ContextManager, Entry, Error, ExitCase,
    ExitStack, Failure, Flow, Generator, Given, Held, Lent, Matcher, Notice, NoticeKind,
    Nullcontext, Panicked, Reentrant, Report as ErrorReport, StackHandle, Stage, Suppress,
    SuppressIf, TimedOut, Verdict, Within, Yielded, Yielder, clear_notice_hook, closing,
    contextmanager, nullcontext, reentrant, set_notice_hook, suppress, suppress_if,
    suppressed_counts, with, wrap, wrap1,
};
/// Leases on Postgres and Redis: one holder at a time, on any number of machines.
///
/// ```no_run
/// use withal::lock::PgLease;
/// use withal::scope;
///
/// # async fn send_invoices() {}
/// # async fn f() -> Result<(), withal::Error> {
/// scope(async |s| {
///     let lease = s.enter(PgLease::new("postgres://app@db/app", "invoices")).await?;
///     lease.while_held(send_invoices()).await?;
///     Ok(())
/// })
/// .await
/// # }
/// ```
#[cfg(feature = "lock")]
pub use withal_lock as lock;
/// The Resilient Log Engine.
#[cfg(feature = "resilient-log")]
pub use withal_log as log;
pub use withal_macros::{asynccontextmanager, contextmanager, main, with};
/// The async forms of the `os` managers, under the same names.
#[cfg(feature = "os")]
pub use withal_os::tokio as asynch;
#[cfg(feature = "os")]
pub use withal_os::{
    AtomicBatch, AtomicDir, AtomicFile, AtomicWriter, BatchError, Capture, Captured, ChangedDir,
    Chdir, ChdirError, Durability, FileLock, HeldLock, Holder, LockError, OpenTempDir, Preserve,
    Redirect, RedirectError, Redirected, StagedDir, Stamp, Symlinks, TempDir, TempDirError,
    WriteError, WriteErrorKind, capture_stderr, capture_stdout, chdir, redirect_stderr,
    redirect_stdout, write_atomic,
};
/// A connection pool that hands out only what is known to be clean.
///
/// ```
/// use std::time::Duration;
/// use withal::pool::{AcquireError, Manager, Pool};
/// use withal::{ExitCase, scope};
///
/// struct Numbers;
///
/// impl Manager for Numbers {
///     type Connection = u32;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> std::io::Result<u32> {
///         Ok(0)
///     }
///
///     async fn recycle(&self, number: &mut u32, _: ExitCase) -> std::io::Result<()> {
///         *number = 0; // as new
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal::Error> {
/// let limit = Duration::from_millis(20);
/// let builder = Pool::builder(Numbers).max_size(1).wait_timeout(limit);
/// scope(async |s| {
///     let pool = s.enter(Pool::open(builder)).await?;
///     let number = s.enter(pool.acquire()).await?;
///     **number += 1;
///     let Err(AcquireError::TimedOut(holders)) = pool.lease().await else {
///         panic!("there is only one");
///     };
///     println!("{holders}"); // … in use for 20.0ms, taken at src/main.rs:25:37
///     Ok(())
/// })
/// .await
/// # }
/// ```
#[cfg(feature = "pool")]
pub use withal_pool as pool;
pub use withal_scope::{
    Aclosing, AsyncExitStack, AsyncGenerator, AsyncLent, AsyncStackHandle, AsyncYielded,
    AsyncYielder, Family, Giver, Kind, Lease, Lending, Open, OpenState, Options, Proof, Reaper,
    RefContextManager, Report, Root, RootOutcome, Scope, SendFn, SendFn2, Task, WrapStream,
    aclosing, async_with, asynccontextmanager, block_on, cancellable, lending, open, root, scope,
    stop_requested, timeout, with_ref, wrap_async, wrap_stream,
};

/// Postgres and SQLite.
#[cfg(feature = "sql")]
pub use withal_sql as sql;

/// What the attribute macros expand to. Not for applications: it may change in any release.
#[doc(hidden)]
pub mod __private;

#[cfg(all(doctest, feature = "resilient-log", feature = "sql"))]
#[doc = include_str!("../../../README.md")]
struct RepositoryReadme;

/// Must not compile; the compiler's words depend on what else is in the build, so they are not
/// pinned.
#[cfg(doctest)]
#[doc = concat!("```compile_fail,E0277\n", include_str!("../tests/ui/unpinned/z3_forgot_await.rs"), "\n```")]
struct ForgotAwait;
