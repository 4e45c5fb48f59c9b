//! Places that are wrong: the error names the place and a remedy, and never the password.

use std::error::Error as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::OnceLock;

use withal_core::{AsyncContextManager as _, ContextManager, ExitCase};
use withal_pool::AcquireError;
use withal_sql::{Database, Error, ErrorKind, OpenDatabase};
use withal_testkit::servers::{PostgresServer, postgres};

const SECRET: &str = "s3cret-pa55";

fn plain() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| ContextManager::enter(postgres()).unwrap())
}

fn with_tls() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| ContextManager::enter(postgres().tls()).unwrap())
}

/// Why there is no connection, once all of it was searched for the password.
async fn failure(url: &str) -> Error {
    let opening = Database::open(url);
    assert_secret(&format!("{opening:?} {}", opening.name()));
    let database = opening.enter().await.unwrap();
    assert_secret(&format!("{database:?}"));
    let error = database.lease().await.unwrap_err();
    let shown = format!("{error} {error:?} {:#?}", database.status());
    assert_secret(&shown);
    let mut source = error.source();
    while let Some(inner) = source {
        assert_secret(&format!("{inner} {inner:?}"));
        source = inner.source();
    }
    OpenDatabase::exit(database, ExitCase::Succeeded)
        .await
        .unwrap();
    match error {
        AcquireError::Create(error) => error,
        other => panic!("{other:?}"),
    }
}

fn assert_secret(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}

#[track_caller]
fn says(error: &Error, pieces: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let text = error.to_string();
    for piece in pieces {
        assert!(text.contains(piece), "`{piece}` is not in `{text}`");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_with_where_to_give_it() {
    let addr = plain().addr();
    let error = failure(&format!("postgres://postgres:{SECRET}@{addr}/postgres")).await;
    says(
        &error,
        &[
            &format!("`postgres://postgres@{addr}/postgres`"),
            "password authentication failed for user \"postgres\"",
            "PGPASSWORD",
        ],
    );
    assert_eq!(error.code(), Some("28P01"));
}

#[tokio::test]
async fn a_missing_password_is_told_with_where_to_give_it() {
    let addr = plain().addr();
    let error = failure(&format!("postgres://postgres@{addr}/postgres")).await;
    says(&error, &["password", "PGPASSWORD"]);
}

#[tokio::test]
async fn a_missing_database_is_told() {
    let url = plain().url().replace("/postgres", "/nowhere");
    let url = url.replacen("//nowhere", "//postgres", 1);
    let error = failure(&url).await;
    says(&error, &["/nowhere`", "does not exist", "create it"]);
    assert_eq!(error.code(), Some("3D000"));
}

#[tokio::test]
async fn an_unknown_host_is_told() {
    let error = failure(&format!(
        "postgres://ada:{SECRET}@no-such-host.invalid/orders"
    ))
    .await;
    says(
        &error,
        &[
            "`postgres://ada@no-such-host.invalid:5432/orders`",
            "check the name of the host",
        ],
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told() {
    let addr = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = failure(&format!("postgres://ada:{SECRET}@{addr}/orders")).await;
    says(
        &error,
        &[&addr.to_string(), "refused", "is the server running"],
    );
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let error = failure(&format!(
        "postgres:///orders?host={place}&user=ada&password={SECRET}"
    ))
    .await;
    says(
        &error,
        &[&place.to_string(), "No such file", "is the server running"],
    );
}

#[tokio::test]
async fn something_else_than_a_postgres_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    let error = failure(&format!(
        "postgres://ada:{SECRET}@{addr}/orders?sslmode=disable"
    ))
    .await;
    says(&error, &[&addr.to_string(), "is it a Postgres?"]);
    server.join().unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let error = failure(&format!(
        "postgres://ada:{SECRET}@{addr}/orders?connect_timeout=1"
    ))
    .await;
    says(&error, &[&addr.to_string(), "no answer in 1s"]);
}

#[tokio::test]
async fn a_server_without_tls_is_told_if_it_is_required() {
    let url = format!("{}?sslmode=require", plain().url());
    let error = failure(&url).await;
    says(&error, &["server does not support TLS", "sslmode=disable"]);
}

#[tokio::test]
async fn a_server_that_wants_tls_is_told_if_it_is_off() {
    let url = with_tls().url().replace("require", "disable");
    let error = failure(&url).await;
    says(&error, &["pg_hba.conf", "sslmode"]);
    assert_eq!(error.code(), Some("28000"));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    let other: PostgresServer = ContextManager::enter(postgres().tls()).unwrap();
    std::fs::write(&root, other.root_certificate().unwrap()).unwrap();
    let root = root.display();
    let url = with_tls().url();
    let url = url.replace("require", &format!("verify-full&sslrootcert={root}"));
    let error = failure(&url).await;
    says(&error, &["certificate", "sslrootcert=FILE"]);
}

#[tokio::test]
async fn a_certificate_for_another_host_is_told_if_the_host_counts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, with_tls().root_certificate().unwrap()).unwrap();
    // All of 127.0.0.0/8 is this machine; the certificate is for one address of it.
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let other = listener.local_addr().unwrap();
    let mut forward = tokio::task::JoinSet::new();
    forward.spawn(async move {
        let mut lines = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            lines.spawn(async move {
                let server = tokio::net::TcpStream::connect(with_tls().addr()).await;
                tokio::io::copy_bidirectional(&mut client, &mut server.unwrap()).await
            });
        }
    });
    let url = |mode: &str| {
        let url = with_tls().url_at(other);
        url.replace("require", &format!("{mode}&sslrootcert={}", root.display()))
    };
    let error = failure(&url("verify-full")).await;
    says(&error, &["certificate", "the host in the URL", "verify-ca"]);
    let database = Database::open(url("verify-ca")).enter().await.unwrap();
    database.lease().await.unwrap().release().await;
    OpenDatabase::exit(database, ExitCase::Succeeded)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_given_up_is_cancelled_by_way_of_tls() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, with_tls().root_certificate().unwrap()).unwrap();
    let mode = format!("verify-full&sslrootcert={}", root.display());
    let url = with_tls().url().replace("require", &mode);
    let database = Database::open(url).enter().await.unwrap();
    let lease = database.lease().await.unwrap();
    for _ in 0..20 {
        let slow = lease.execute("SELECT pg_sleep(30)", &[]);
        let limit = std::time::Duration::from_millis(3);
        tokio::time::timeout(limit, slow).await.unwrap_err();
        // It is not hit by the request to cancel the other.
        let one: i64 = lease.query_one_as("SELECT 1::bigint", &[]).await.unwrap();
        assert_eq!(one, 1);
    }
    lease.release().await;
    OpenDatabase::exit(database, ExitCase::Succeeded)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_with_no_connection_left_is_told() {
    let server: PostgresServer = ContextManager::enter(postgres().max_connections(4)).unwrap();
    let database = Database::open(server.url()).enter().await.unwrap();
    let mut held = Vec::new();
    let error = loop {
        match database.lease().await {
            Ok(lease) => held.push(lease),
            Err(AcquireError::Create(error)) => break error,
            Err(other) => panic!("{other:?}"),
        }
    };
    says(&error, &["too many clients", "`max_connections`"]);
    assert_eq!(error.code(), Some("53300"));
    assert_eq!(held.len(), 4);
    drop(held);
    OpenDatabase::exit(database, ExitCase::Succeeded)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_url_that_is_none_is_told_when_it_is_opened() {
    for url in [
        format!("postgres://ada:{SECRET}@host:port/orders"),
        format!("postgres://ada:{SECRET}@host/orders?sslmode=maybe"),
        format!("postgres://ada:{SECRET}@host/orders?password2={SECRET}"),
        format!("postgres://ada:p@{SECRET}@host/orders"),
        format!("postgres://ada:12?{SECRET}@host/orders"),
        format!("mysql://ada:{SECRET}@host/orders"),
        format!("ada:{SECRET}@host"),
        SECRET.to_owned(),
        String::new(),
    ] {
        let opening = Database::open(&url);
        assert_secret(&format!("{opening:?} {}", opening.name()));
        let error = opening.enter().await.unwrap_err();
        assert_secret(&format!("{error} {error:?}"));
        let error: &Error = error.downcast_ref().unwrap();
        assert_eq!(error.kind(), ErrorKind::Url);
        assert!(
            error.to_string().contains("postgres://user@host/orders"),
            "{error}"
        );
    }
}
