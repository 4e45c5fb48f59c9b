//! The same manager for every pool.

use std::convert::Infallible;
use std::hint::black_box;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{Metrics, RecycleResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use withal_core::ExitCase;

pub(crate) const SIZE: usize = 8;

/// How long the pools wait that have such a limit.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, whoever pools it.
#[derive(Debug)]
pub(crate) struct Connection(pub(crate) u64);

/// Makes connections out of nothing.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// Whether there is never anything to reset; only our pool asks.
    is_clean: bool,
}

impl withal_pool::Manager for Numbers {
    type Connection = Connection;
    type Error = io::Error;

    async fn create(&self) -> io::Result<Connection> {
        Ok(Connection(black_box(1)))
    }

    async fn recycle(&self, connection: &mut Connection, _: ExitCase) -> io::Result<()> {
        let _ = black_box(connection.0);
        Ok(())
    }

    fn is_clean(&self, _: &mut Connection, _: &ExitCase) -> bool {
        self.is_clean
    }
}

impl deadpool::managed::Manager for Numbers {
    type Type = Connection;
    type Error = Infallible;

    async fn create(&self) -> Result<Connection, Infallible> {
        Ok(Connection(black_box(1)))
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Infallible> {
        let _ = black_box(connection.0);
        Ok(())
    }
}

impl bb8::ManageConnection for Numbers {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(Connection(black_box(1)))
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), Infallible> {
        let _ = black_box(connection.0);
        Ok(())
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

#[mobc::async_trait]
impl mobc::Manager for Numbers {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(Connection(black_box(1)))
    }

    async fn check(&self, connection: Connection) -> Result<Connection, Infallible> {
        Ok(black_box(connection))
    }
}

/// The least there can be: it knows no deadline, no reset, no holder, and ends nothing.
#[derive(Clone, Debug)]
pub(crate) struct Floor {
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

pub(crate) struct Guard {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Floor {
    pub(crate) fn new() -> Floor {
        Floor {
            permits: Arc::new(Semaphore::new(SIZE)),
            idle: Arc::default(),
        }
    }

    pub(crate) async fn get(&self) -> Guard {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Guard {
            connection: Some(idle.unwrap_or(Connection(1))),
            idle: Arc::clone(&self.idle),
            _permit: permit.expect("nobody closes it"),
        }
    }
}

impl Deref for Guard {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is here until the end")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
    }
}

/// Our pools, to be closed at the end.
#[derive(Debug, Default)]
pub(crate) struct Ours(Vec<withal_pool::Pool<Numbers>>);

impl Ours {
    pub(crate) fn pool(&mut self) -> withal_pool::Pool<Numbers> {
        self.make(Numbers::default())
    }

    /// One whose connections are known to be clean as they are.
    pub(crate) fn clean_pool(&mut self) -> withal_pool::Pool<Numbers> {
        self.make(Numbers { is_clean: true })
    }

    fn make(&mut self, numbers: Numbers) -> withal_pool::Pool<Numbers> {
        let pool = withal_pool::Pool::builder(numbers).max_size(SIZE).build();
        let pool = pool.expect("the settings make a pool");
        self.0.push(pool.clone());
        pool
    }

    pub(crate) async fn close(self) -> Result<(), withal_pool::CloseError> {
        for pool in self.0 {
            pool.close(PATIENCE).await?;
        }
        Ok(())
    }
}

pub(crate) fn deadpool() -> deadpool::managed::Pool<Numbers> {
    let pool = deadpool::managed::Pool::builder(Numbers::default()).max_size(SIZE);
    pool.build().expect("the settings make a pool")
}

pub(crate) fn deadpool_with_limits() -> deadpool::managed::Pool<Numbers> {
    let pool = deadpool::managed::Pool::builder(Numbers::default())
        .max_size(SIZE)
        .runtime(deadpool::Runtime::Tokio1)
        .wait_timeout(Some(PATIENCE))
        .recycle_timeout(Some(PATIENCE));
    pool.build().expect("the settings make a pool")
}

pub(crate) fn bb8() -> bb8::Pool<Numbers> {
    let pool = bb8::Pool::builder().max_size(SIZE as u32);
    pool.test_on_check_out(false)
        .build_unchecked(Numbers::default())
}

pub(crate) fn mobc() -> mobc::Pool<Numbers> {
    let size = SIZE as u64;
    let pool = mobc::Pool::builder().max_open(size).max_idle(size);
    pool.get_timeout(None)
        .test_on_check_out(false)
        .build(Numbers::default())
}
