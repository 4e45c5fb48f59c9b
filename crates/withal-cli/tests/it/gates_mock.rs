//! An HTTP server that answers as a file says.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::support::{Ended, Sandbox, Started};

/// Holds a run open until the test has asked what it wants.
const HOLD: &str = "echo $API > new; mv new url; while ! [ -e end ]; do sleep 0.01; done";

/// A run that serves `mock.toml`.
fn serve<'a>(sandbox: &'a Sandbox, gate: &[&str], script: &str) -> (Started<'a>, String) {
    let arguments = [gate, &["--", "sh", "-c", script]].concat();
    let started = sandbox.start_run(&arguments);
    started.wait_for("url");
    let url = sandbox.read("url").trim().to_owned();
    (started, url)
}

fn end(sandbox: &Sandbox, started: Started<'_>) -> Ended {
    sandbox.write("end", "");
    started.finish()
}

/// Status line and body of an answer.
fn ask(url: &str, method: &str, path: &str, body: &[u8]) -> (String, String) {
    let authority = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    lines.retain(|line| !line.starts_with("date: ") && !line.starts_with("connection: "));
    (lines.join("; "), body.to_owned())
}

#[test]
fn requests_are_answered_as_the_file_says() {
    let sandbox = Sandbox::new();
    sandbox.write("page.html", "<p>hello</p>");
    sandbox.write(
        "mock.toml",
        r#"
        [[route]]
        method = "GET"
        path = "/users/{id}"
        json = { name = "Ada", born = 1815 }

        [[route]]
        method = "POST"
        path = "/users"
        status = 201
        headers = { location = "/users/7" }

        [[route]]
        path = "/flaky"
        status = 503
        body = "later"
        delay = "1ms"
        times = 2

        [[route]]
        path = "/flaky"
        body = "now"

        [[route]]
        path = "/files/*"
        body_file = "page.html"
        headers = { Content-Type = "text/html" }
        "#,
    );
    let (started, url) = serve(&sandbox, &["--mock", "API=mock.toml"], HOLD);
    let check = |method: &str, path: &str, head: &str, body: &str| {
        let answer = ask(&url, method, path, b"");
        assert_eq!(answer, (format!("HTTP/1.1 {head}"), body.to_owned()));
    };
    check(
        "GET",
        "/users/7?full=yes",
        "200 OK; content-type: application/json; content-length: 26",
        r#"{"born":1815,"name":"Ada"}"#,
    );
    let large = vec![b'x'; 1 << 20];
    let (head, _) = ask(&url, "POST", "/users", &large);
    assert_eq!(
        head,
        "HTTP/1.1 201 Created; location: /users/7; content-length: 0"
    );
    let text = "content-type: text/plain; charset=utf-8; content-length";
    for _ in 0..2 {
        let head = format!("503 Service Unavailable; {text}: 5");
        check("GET", "/flaky", &head, "later");
    }
    check("PUT", "/flaky", &format!("200 OK; {text}: 3"), "now");
    let html = "200 OK; content-type: text/html; content-length: 12";
    check("GET", "/files/a/b", html, "<p>hello</p>");
    check(
        "HEAD",
        "/users/7",
        "200 OK; content-type: application/json; content-length: 26",
        "",
    );
    let ended = end(&sandbox, started);
    ended.check_code(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn requests_without_a_route_are_told_and_may_fail_the_run() {
    let check = |option: &str, script: &str, code: i32, label: &str| {
        let sandbox = Sandbox::new();
        sandbox.write("mock.toml", "[[route]]\npath = '/a'");
        let gate = format!("mock:file=mock.toml,env=API{option}");
        let script = format!("{HOLD}; {script}");
        let arguments = ["-w", &gate, "--report", "run.json"];
        let (started, url) = serve(&sandbox, &arguments, &script);
        let (head, body) = ask(&url, "GET", "/b?token=s3cret", b"");
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
        assert_eq!(body, "withal mock: no route for GET /b\n");
        let _answer = ask(&url, "GET", "/b", b"");
        let _answer = ask(&url, "GET", "/a", b"");
        let ended = end(&sandbox, started);
        ended.check_code(code);
        let told = "2 requests had no route: GET /b (2 times)";
        assert_eq!(ended.stderr, format!("withal: {label}: {told}\n"));
        let report: serde_json::Value = serde_json::from_str(&sandbox.read("run.json")).unwrap();
        let gate = &report["gates"][0];
        match label {
            "mock" => assert_eq!(
                gate["warnings"],
                serde_json::json!([format!("mock: {told}")])
            ),
            _ => assert_eq!(gate["error"], told),
        }
    };
    check("", "exit 0", 0, "mock");
    check(",fail_on_unmatched=false", "exit 3", 3, "mock");
    check(",fail_on_unmatched=true,id=api", "exit 0", 123, "api");
    check(",fail_on_unmatched=true,id=api", "exit 3", 3, "api");
}

#[test]
fn a_port_can_be_chosen_and_must_be_free() {
    let sandbox = Sandbox::new();
    sandbox.write("mock.toml", "[[route]]\npath = '/a'");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let gate = format!("mock:id=api,file=mock.toml,port={port}");
    let env = "env:name=API,value='${api.url} ${api.port}'";
    let ended = sandbox.run(&["-w", &gate, "--", "touch", "started"]);
    ended.check_code(125);
    let expected = format!(
        "withal: api: cannot listen on port {port} of 127.0.0.1: Address already in use (os error 98)\n"
    );
    assert_eq!(ended.stderr, expected);
    drop(listener);
    let ended = sandbox.run(&["-w", &gate, "-w", env, "--", "sh", "-c", "echo $API"]);
    ended.check_code(0);
    assert_eq!(ended.stdout, format!("http://127.0.0.1:{port} {port}\n"));
}

#[test]
fn what_is_wrong_with_a_file_is_shown_before_anything_is_acquired() {
    let sandbox = Sandbox::new();
    sandbox.write("mock.toml", "[[route]]\npath = 'a'\n");
    let check = |gate: &[&str], expected: &str| {
        let ended = sandbox.run(&[&["-v", "-t"], gate, &["--", "touch", "started"]].concat());
        ended.check_code(125);
        assert_eq!(ended.stderr, format!("withal: {expected}\n"));
        assert!(!sandbox.has("started"));
    };
    check(
        &["--mock", "API=mock.toml"],
        "--mock: mock.toml:2:8: a path begins with `/`\n 2 | path = 'a'\n   |        ^^^",
    );
    check(
        &["--mock", "API=none"],
        "--mock: none: cannot be read: No such file or directory (os error 2)",
    );
    let remedy = "--mock: a value is not of the form VAR=FILE";
    check(&["--mock", "API"], remedy);
    check(&["--mock", "=mock.toml"], remedy);
    check(
        &["-w", "mock:env=API"],
        "--with mock: no `file`; write `file = …`",
    );
    check(
        &["-w", "mock:file=mock.toml,port=0"],
        "--with mock: not a port; write a number from 1 to 65535, or \"free\"",
    );
}
