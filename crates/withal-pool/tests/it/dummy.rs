//! A manager whose server is a few numbers, with a script of what goes wrong.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::task::{Context, Poll, Waker};

use tokio::task::yield_now;
use withal_core::ExitCase;
use withal_pool::{Cause, HookFuture, Manager};

/// A step of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Validate,
    Recycle,
    Detach,
}

/// What a step does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Error,
    Panic,
    Hang,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Step);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} refused", self.0)
    }
}

impl std::error::Error for Refused {}

/// What the server knows: nothing of it may be left when all is over.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// Connections that are there.
    pub(crate) alive: usize,
    /// The most there ever were at once.
    pub(crate) most: usize,
    pub(crate) made: u64,
    /// Connections handed out that were not clean.
    pub(crate) dirty: usize,
    pub(crate) events: Vec<String>,
    script: VecDeque<(Step, Fault)>,
}

/// How often each step waits before it is done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) create: usize,
    pub(crate) validate: usize,
    pub(crate) recycle: usize,
    pub(crate) detach: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Dummy {
    server: Arc<Mutex<Server>>,
    waits: Waits,
}

/// A connection; gone from the server when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    /// Somebody uses it, or has used it.
    pub(crate) is_dirty: bool,
    pub(crate) is_broken: bool,
    pub(crate) is_known_clean: bool,
    server: Arc<Mutex<Server>>,
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.server).alive -= 1;
    }
}

impl Connection {
    /// Leaves something behind, and notices what others left.
    pub(crate) fn work(&mut self) {
        if std::mem::replace(&mut self.is_dirty, true) {
            lock(&self.server).dirty += 1;
        }
    }
}

impl Connection {
    /// Goes on with its work.
    pub(crate) fn work_on(&mut self) {
        assert!(self.is_dirty, "somebody cleaned it meanwhile");
    }
}

impl Dummy {
    /// Every step waits once.
    pub(crate) fn waiting() -> Dummy {
        Dummy::default().with_waits(Waits {
            create: 1,
            validate: 1,
            recycle: 1,
            detach: 1,
        })
    }

    pub(crate) fn with_waits(mut self, waits: Waits) -> Dummy {
        self.waits = waits;
        self
    }

    /// The next time this step comes, it goes wrong.
    pub(crate) fn fails(&self, step: Step, fault: Fault) {
        self.server().script.push_back((step, fault));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heals(&self) {
        self.server().script.clear();
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    pub(crate) fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.server().events)
    }

    /// What is wrong once all is closed.
    pub(crate) fn check(&self) -> Result<(), String> {
        let server = self.server();
        match (server.alive, server.dirty) {
            (0, 0) => Ok(()),
            (alive, dirty) => Err(format!(
                "{alive} connections alive, {dirty} handed out dirty"
            )),
        }
    }

    async fn step(&self, step: Step, text: String, waits: usize) -> Result<(), Refused> {
        let fault = {
            let mut server = self.server();
            server.events.push(text);
            let position = server.script.iter().position(|(at, _)| *at == step);
            position.and_then(|position| server.script.remove(position))
        };
        for _ in 0..waits {
            yield_now().await;
        }
        match fault.map(|(_, fault)| fault) {
            None => Ok(()),
            Some(Fault::Error) => Err(Refused(step)),
            Some(Fault::Panic) => std::panic::resume_unwind(Box::new(format!("{step:?} panics"))),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

impl Manager for Dummy {
    type Connection = Connection;
    type Error = Refused;

    async fn create(&self) -> Result<Connection, Refused> {
        self.step(Step::Create, "create".into(), self.waits.create)
            .await?;
        let mut server = self.server();
        server.alive += 1;
        server.most = server.most.max(server.alive);
        server.made += 1;
        Ok(Connection {
            number: server.made,
            is_dirty: false,
            is_broken: false,
            is_known_clean: false,
            server: Arc::clone(&self.server),
        })
    }

    async fn recycle(&self, connection: &mut Connection, case: ExitCase) -> Result<(), Refused> {
        let text = format!("recycle {} {}", connection.number, word(&case));
        self.step(Step::Recycle, text, self.waits.recycle).await?;
        connection.is_dirty = false;
        Ok(())
    }

    async fn validate(&self, connection: &mut Connection) -> Result<(), Refused> {
        // Half a validation is a state nobody knows.
        connection.is_dirty = true;
        let text = format!("validate {}", connection.number);
        self.step(Step::Validate, text, self.waits.validate).await?;
        connection.is_dirty = false;
        Ok(())
    }

    fn is_clean(&self, connection: &mut Connection, _: &ExitCase) -> bool {
        std::mem::take(&mut connection.is_known_clean)
    }

    fn is_usable(&self, connection: &Connection) -> bool {
        !connection.is_broken
    }

    async fn detach(&self, connection: Connection, cause: Cause) -> Result<(), Refused> {
        let text = format!("detach {} {cause}", connection.number);
        self.step(Step::Detach, text, self.waits.detach).await?;
        drop(connection);
        Ok(())
    }
}

fn word(case: &ExitCase) -> &'static str {
    match case {
        ExitCase::Succeeded => "succeeded",
        ExitCase::Errored(_) => "errored",
        ExitCase::Panicked(_) => "panicked",
        ExitCase::Cancelled => "cancelled",
        ExitCase::TimedOut => "timed out",
        _ => "otherwise",
    }
}

/// Polls once.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Numbers that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// One below `limit`; by splitmix64.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % limit
    }

    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        let index = self.below(N as u64) as usize;
        from.get(index).copied().expect("below the length")
    }
}

/// A hook that notes its turn.
pub(crate) fn note(connection: &mut Connection, text: String) -> HookFuture<'_> {
    Box::pin(async move {
        yield_now().await;
        lock(&connection.server).events.push(text);
        Ok(())
    })
}
