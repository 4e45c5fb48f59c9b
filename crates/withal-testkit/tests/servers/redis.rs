//! Redis.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use withal_core::{BoxError, with};
use withal_scope::scope;
use withal_testkit::servers::{RedisServer, redis};

use crate::support::{directory, nothing_left};

/// What it answers to `AUTH` and the lines.
fn ask(
    mut stream: impl Read + Write,
    server: &RedisServer,
    lines: &str,
) -> Result<String, BoxError> {
    let password = server.password();
    stream.write_all(format!("AUTH {password}\r\n{lines}\r\nQUIT\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.replace("\r\n", " "))
}

fn ask_port(server: &RedisServer, lines: &str) -> Result<String, BoxError> {
    ask(TcpStream::connect(server.addr())?, server, lines)
}

#[test]
fn it_answers_at_its_port_and_its_socket_and_asks_for_its_password() {
    let directory = directory();
    let before = Instant::now();
    with(redis().directory(directory.path()), |server| {
        println!("ready after {:?}", before.elapsed());
        assert_eq!(ask_port(server, "SET a 1")?, "+OK +OK +OK ");
        let socket = UnixStream::connect(server.socket())?;
        assert_eq!(ask(socket, server, "GET a")?, "+OK $1 1 +OK ");
        let mut stranger = TcpStream::connect(server.addr())?;
        stranger.write_all(b"GET a\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stranger.read_to_string(&mut answer)?;
        assert!(answer.starts_with("-NOAUTH"), "{answer}");
        Ok(())
    })
    .unwrap();
    nothing_left(directory.path()).unwrap();
}

#[tokio::test]
async fn it_comes_back_at_its_port_and_keeps_what_it_was_told_to_keep() {
    scope(async |s| {
        let forgets = s.enter(redis()).await?;
        let keeps = s.enter(redis().setting("appendonly", "yes")).await?;
        for server in [&*forgets, &*keeps] {
            ask_port(server, "SET a 1")?;
            server.restart().await?;
        }
        assert_eq!(ask_port(forgets, "GET a")?, "+OK $-1 +OK ");
        assert_eq!(ask_port(keeps, "GET a")?, "+OK $1 1 +OK ");
        keeps.crash().await?;
        assert_eq!(keeps.pid(), None);
        assert!(TcpStream::connect(keeps.addr()).is_err());
        keeps.start().await?;
        assert_eq!(ask_port(keeps, "GET a")?, "+OK $1 1 +OK ");
        Ok(())
    })
    .await
    .unwrap();
}

#[test]
fn what_it_refuses_is_told_in_its_own_words() {
    let directory = directory();
    let wrong = redis().directory(directory.path()).setting("nonsense", "1");
    let error = with(wrong, |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("start Redis: it ended"), "{error}");
    assert!(error.contains("nonsense"), "{error}");
    nothing_left(directory.path()).unwrap();
}
