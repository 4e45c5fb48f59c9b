//! A server before Postgres 14, played by a few lines: it refuses an option that it does not know.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use withal_core::{AsyncContextManager as _, ExitCase};
use withal_pool::AcquireError;
use withal_sql::{Database, OpenDatabase};

const CHECK: &str = "client_connection_check_interval";

/// Refuses whoever says this word at its start, and lets all others in. Gives its URL, and what
/// each has said.
fn old_server(unknown: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let said = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&said);
    std::thread::spawn(move || {
        let mut guests = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let hello = hello(&mut stream);
            let answer = match hello.contains(unknown) {
                true => refusal(unknown),
                false => b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I".to_vec(),
            };
            heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(hello);
            stream.write_all(&answer).unwrap();
            guests.push(stream);
        }
    });
    let url = format!("postgres://ada@{addr}/orders?sslmode=disable");
    (url, said)
}

/// The start-up message: its length, the version of the protocol, names and values.
fn hello(stream: &mut TcpStream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut rest = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut rest).unwrap();
    String::from_utf8_lossy(&rest[4..]).replace('\0', " ")
}

/// As a server of version 13 says it.
fn refusal(unknown: &str) -> Vec<u8> {
    let fields =
        format!("SFATAL\0VFATAL\0C42704\0Munrecognized configuration parameter \"{unknown}\"\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

#[tokio::test]
async fn a_server_that_does_not_look_for_lost_clients_is_connected_to_without() {
    let (url, said) = old_server(CHECK);
    let url = format!("{url}&options=-c%20geqo=off");
    let database = Database::open(url).enter().await.unwrap();
    let (first, second) = tokio::join!(database.lease(), database.lease());
    let third = database.lease().await.unwrap();
    drop((first.unwrap(), second.unwrap(), third));
    OpenDatabase::exit(database, ExitCase::Succeeded)
        .await
        .unwrap();
    let said = said.lock().unwrap();
    // It is asked for before it is known, and never again.
    let asked = said.iter().filter(|hello| hello.contains(CHECK)).count();
    assert!((1..=2).contains(&asked), "{said:?}");
    assert_eq!(said.len(), asked + 3, "{said:?}");
    assert!(!said.last().unwrap().contains(CHECK), "{said:?}");
    let has_theirs = |hello: &String| hello.contains("-c geqo=off");
    assert!(said.iter().all(has_theirs), "{said:?}");
}

#[tokio::test]
async fn an_option_of_the_users_that_no_server_knows_is_refused() {
    for unknown in [CHECK, "nonsense"] {
        let (url, said) = old_server(unknown);
        let url = format!("{url}&options=-c%20{unknown}=1");
        let database = Database::open(url).enter().await.unwrap();
        let Err(AcquireError::Create(error)) = database.lease().await else {
            panic!("it is no option");
        };
        assert_eq!(error.code(), Some("42704"));
        assert!(error.to_string().contains(unknown), "{error}");
        OpenDatabase::exit(database, ExitCase::Succeeded)
            .await
            .unwrap();
        assert_eq!(said.lock().unwrap().len(), 1);
    }
}
