//! A private database of each kind.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, Once};
use std::task::Poll;

use withal_core::{BoxError, Error, set_notice_hook};
#[cfg(feature = "postgres")]
use withal_scope::async_with;
use withal_scope::scope;
use withal_sql::{Connection, Database, ErrorKind, OpenDatabase, Session};

/// Where a test runs: once in each database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

pub(crate) const KINDS: &[Kind] = &[
    #[cfg(feature = "postgres")]
    Kind::Postgres,
    #[cfg(feature = "sqlite")]
    Kind::Sqlite,
];

impl Kind {
    /// Its word for an identity column.
    pub(crate) fn key(self) -> &'static str {
        match self {
            #[cfg(feature = "postgres")]
            Kind::Postgres => "bigint PRIMARY KEY",
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => "INTEGER PRIMARY KEY",
        }
    }
}

/// Runs the test with a new database of each kind, which has two accounts of 1000 each.
pub(crate) fn each(test: impl AsyncFn(Kind, String) -> Result<(), BoxError>) {
    for kind in KINDS {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let tested: Result<(), Error> = runtime.block_on(async {
            match kind {
                #[cfg(feature = "postgres")]
                Kind::Postgres => {
                    let server = withal_testkit::servers::postgres();
                    async_with(server, async |server| {
                        set_up(*kind, &server.url()).await?;
                        test(*kind, server.url()).await
                    })
                    .await
                }
                #[cfg(feature = "sqlite")]
                Kind::Sqlite => {
                    let folder = tempfile::tempdir().unwrap();
                    let url = sqlite_url(&folder.path().join("test.db"));
                    set_up(*kind, &url).await.unwrap();
                    test(*kind, url).await.unwrap();
                    Ok(())
                }
            }
        });
        if let Err(error) = tested {
            panic!("{kind:?}: {error:?}");
        }
    }
}

/// The same with a connection.
pub(crate) fn each_connection(test: impl AsyncFn(Kind, &mut Connection) -> Result<(), BoxError>) {
    each(async |kind, url| {
        let database = open(&url);
        scope(async |s| {
            let db = s.enter(database).await?;
            let conn = s.enter(db.acquire()).await?;
            test(kind, conn).await
        })
        .await?;
        Ok(())
    });
}

/// Runs the test with a new server, and a pool of at most so many connections.
#[cfg(feature = "postgres")]
pub(crate) async fn with_postgres(
    max_connections: usize,
    test: impl AsyncFnOnce(Database) -> Result<(), BoxError>,
) {
    let tested = async_with(withal_testkit::servers::postgres(), async |server| {
        let database = open(&server.url()).max_connections(max_connections);
        scope(async |s| {
            let db = s.enter(database).await?;
            test(db.clone()).await
        })
        .await?;
        Ok(())
    });
    tested.await.unwrap();
}

/// The same with a connection.
#[cfg(feature = "postgres")]
pub(crate) async fn with_connection(
    test: impl AsyncFnOnce(&mut Connection) -> Result<(), BoxError>,
) {
    with_postgres(2, async |db| {
        scope(async |s| {
            let conn = s.enter(db.acquire()).await?;
            test(conn).await
        })
        .await?;
        Ok(())
    })
    .await;
}

#[cfg(feature = "sqlite")]
pub(crate) fn sqlite_url(path: &std::path::Path) -> String {
    format!("sqlite:{}", path.display())
}

async fn set_up(kind: Kind, url: &str) -> Result<(), BoxError> {
    let schema = format!(
        "CREATE TABLE accounts (id {}, balance bigint NOT NULL CHECK (balance >= 0));
         INSERT INTO accounts VALUES (1, 1000), (2, 1000);",
        kind.key()
    );
    let database = open(url);
    scope(async |s| {
        let db = s.enter(database).await?;
        let conn = s.enter(db.acquire()).await?;
        Ok(conn.batch(&schema).await?)
    })
    .await?;
    Ok(())
}

pub(crate) fn open(url: &str) -> OpenDatabase {
    Database::open(url).max_connections(2)
}

pub(crate) async fn balances(session: &Session) -> Result<(i64, i64), BoxError> {
    let balances: Vec<i64> = session
        .query_as("SELECT balance FROM accounts ORDER BY id", &[])
        .await?;
    Ok((balances[0], balances[1]))
}

/// What was noticed since this was first called, and has this word in it.
pub(crate) fn noticed(word: &str) -> Vec<String> {
    static NOTICES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static HOOK: Once = Once::new();
    HOOK.call_once(|| set_notice_hook(|notice| NOTICES.lock().unwrap().push(notice.to_string())));
    let notices = NOTICES.lock().unwrap();
    let found = notices.iter().filter(|said| said.contains(word));
    found.cloned().collect()
}

/// Polls it once and drops it; whether it was not answered until then.
pub(crate) async fn give_up<T>(statement: impl Future<Output = T>) -> bool {
    give_up_at(0, statement).await
}

/// Drops it where it waits after so many other times; whether it got there.
pub(crate) async fn give_up_at<T>(mut others: u32, statement: impl Future<Output = T>) -> bool {
    let mut statement = pin!(statement);
    poll_fn(|context| match statement.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending if others == 0 => Poll::Ready(true),
        Poll::Pending => {
            others -= 1;
            Poll::Pending
        }
    })
    .await
}

/// What kind of error of this crate came out of a block.
pub(crate) fn kind(error: &Error) -> ErrorKind {
    let error: &withal_sql::Error = error.downcast_ref().unwrap();
    error.kind()
}
