//! The file that says what is answered.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use toml::{Spanned, Value};

use crate::message::shown;
use crate::run::gates::keys;
use crate::source::{Flaw, Source};

/// How large the body of an answer may be: all of them are kept in memory.
const MOST_BODY: u64 = 16 << 20;

/// What is answered to what; the first route that is for a request answers it.
#[derive(Debug)]
pub(super) struct Routes(Vec<Route>);

/// One answer, and to what.
#[derive(Debug)]
pub(super) struct Route {
    /// Any, if nothing is said.
    method: Option<Method>,
    path: Pattern,
    /// How often it still answers; for ever, if nothing is said.
    left: Option<AtomicU64>,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) delay: Duration,
}

/// Which paths a route is for.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    segments: Vec<Segment>,
    /// Whether anything may follow.
    is_open: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Fixed(String),
    /// Anything, once.
    Any,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    route: Vec<Described>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    method: Option<Spanned<String>>,
    path: Spanned<String>,
    status: Option<Spanned<u16>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    body: Option<Spanned<String>>,
    body_file: Option<Spanned<String>>,
    json: Option<Spanned<Value>>,
    #[serde(default, deserialize_with = "keys::duration")]
    delay: Option<Duration>,
    times: Option<Spanned<u64>>,
}

impl Routes {
    /// Reads the file and the bodies it names.
    pub(super) fn read(path: &Path) -> anyhow::Result<Routes> {
        let source = Source::read(path)?;
        let read = source.parse().and_then(|file: File| {
            let directory = source.directory();
            let routes = file.route.into_iter();
            let routes = routes.map(|described| Route::new(described, directory));
            routes.collect()
        });
        let routes: Vec<Route> = read.map_err(|flaw| source.report(&flaw))?;
        if routes.is_empty() {
            let why = "no route; write `[[route]]`, `path = \"/health\"` and what is answered";
            return Err(source.report(&Flaw::anywhere(why)).into());
        }
        Ok(Routes(routes))
    }

    /// What answers a request; it has one answer less then.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<&Route> {
        let segments = segments(path);
        let mut routes = self.0.iter();
        routes.find(|route| {
            route.is_for(method) && route.path.matches(&segments) && route.take_answer()
        })
    }
}

impl Route {
    fn new(described: Described, directory: &Path) -> Result<Route, Flaw> {
        let mut headers = HeaderMap::new();
        for (name, value) in &described.headers {
            let wrong = |why: String| Flaw::at(value.span(), why);
            let key = HeaderName::try_from(name.as_str());
            let key = key.map_err(|_| wrong(format!("`{name}`: not a header's name")))?;
            let text = HeaderValue::try_from(value.get_ref().as_str());
            let text = text.map_err(|_| wrong(format!("not a value that `{name}` can have")))?;
            let _ = headers.append(key, text);
        }
        let body = body(&described, directory)?;
        if let Some((_, kind)) = &body
            && !headers.contains_key(CONTENT_TYPE)
        {
            let _ = headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Ok(Route {
            method: described.method.as_ref().map(method).transpose()?,
            path: Pattern::new(&described.path)?,
            left: described.times.as_ref().map(times).transpose()?,
            status: match &described.status {
                Some(status) => answer(status)?,
                None => StatusCode::OK,
            },
            headers,
            body: body.map(|(body, _)| body).unwrap_or_default(),
            delay: described.delay.unwrap_or_default(),
        })
    }

    /// A route for GET is for HEAD, too.
    fn is_for(&self, asked: &Method) -> bool {
        self.method.as_ref().is_none_or(|method| {
            method == asked || (method == Method::GET && asked == Method::HEAD)
        })
    }

    fn take_answer(&self) -> bool {
        let Some(left) = &self.left else {
            return true;
        };
        let less = |left: u64| left.checked_sub(1);
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }
}

fn method(method: &Spanned<String>) -> Result<Method, Flaw> {
    let name = method.get_ref();
    let is_upper = name.bytes().all(|byte| byte.is_ascii_uppercase());
    let read = Method::from_bytes(name.as_bytes()).ok();
    read.filter(|_| is_upper).ok_or_else(|| {
        let why = "not a method; write `GET`, `POST`, …, or leave it out for any";
        Flaw::at(method.span(), why)
    })
}

fn answer(status: &Spanned<u16>) -> Result<StatusCode, Flaw> {
    let read = StatusCode::from_u16(*status.get_ref()).ok();
    read.filter(|status| !status.is_informational())
        .ok_or_else(|| {
            let why = "not the status of an answer; write a number from 200 to 999";
            Flaw::at(status.span(), why)
        })
}

fn times(times: &Spanned<u64>) -> Result<AtomicU64, Flaw> {
    match times.get_ref() {
        0 => Err(Flaw::at(
            times.span(),
            "it would never answer; leave the key out for no limit",
        )),
        times => Ok(AtomicU64::new(*times)),
    }
}

/// The body and what kind it is of.
fn body(described: &Described, directory: &Path) -> Result<Option<(Bytes, &'static str)>, Flaw> {
    let Described {
        body,
        body_file,
        json,
        ..
    } = described;
    match (body, body_file, json) {
        (None, None, None) => Ok(None),
        (Some(text), None, None) => Ok(Some((
            Bytes::from(text.get_ref().clone()),
            "text/plain; charset=utf-8",
        ))),
        (None, Some(file), None) => {
            let body = contents(&directory.join(file.get_ref()));
            let body = body.map_err(|why| Flaw::at(file.span(), why))?;
            Ok(Some((body.into(), "application/octet-stream")))
        }
        (None, None, Some(value)) => {
            let body = json_of(value.get_ref()).map_err(|why| Flaw::at(value.span(), why))?;
            Ok(Some((Bytes::from(body.to_string()), "application/json")))
        }
        _ => {
            let spans = [
                body.as_ref().map(Spanned::span),
                body_file.as_ref().map(Spanned::span),
                json.as_ref().map(Spanned::span),
            ];
            let second = spans.into_iter().flatten().max_by_key(|span| span.start);
            Err(Flaw {
                span: second,
                why: "a second body; write one of `body`, `body_file` and `json`".to_owned(),
            })
        }
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let name = shown(path);
    let cannot = |error: std::io::Error| format!("`{name}` cannot be read: {error}");
    let found = fs::metadata(path).map_err(cannot)?;
    if !found.is_file() {
        return Err(format!("`{name}` is not a file"));
    }
    if found.len() > MOST_BODY {
        return Err(format!("`{name}` is larger than {MOST_BODY} bytes"));
    }
    fs::read(path).map_err(cannot)
}

fn json_of(value: &Value) -> Result<serde_json::Value, &'static str> {
    use serde_json::Value as Json;
    Ok(match value {
        Value::String(text) => Json::from(text.as_str()),
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) => {
            let number = serde_json::Number::from_f64(*number);
            Json::Number(number.ok_or("JSON has no number for that")?)
        }
        Value::Boolean(truth) => Json::from(*truth),
        Value::Datetime(time) => Json::from(time.to_string()),
        Value::Array(values) => {
            let values = values.iter().map(json_of);
            Json::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Table(table) => {
            let members = table.iter();
            let members = members.map(|(name, value)| Ok((name.clone(), json_of(value)?)));
            Json::Object(members.collect::<Result<_, &'static str>>()?)
        }
    })
}

/// The parts of a path, decoded.
fn segments(path: &str) -> Vec<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let segments = path.split('/');
    segments
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect()
}

impl Pattern {
    fn new(path: &Spanned<String>) -> Result<Pattern, Flaw> {
        let wrong = |why: &str| Flaw::at(path.span(), why);
        let Some(text) = path.get_ref().strip_prefix('/') else {
            return Err(wrong("a path begins with `/`"));
        };
        if text.contains('?') {
            return Err(wrong("a path without its query: that may be anything"));
        }
        let (text, is_open) = match text.strip_suffix('*') {
            Some(before) if before.is_empty() || before.ends_with('/') => (before, true),
            _ => (text, false),
        };
        let text = match is_open {
            true => text.strip_suffix('/').unwrap_or(text),
            false => text,
        };
        if text.is_empty() && is_open {
            return Ok(Pattern {
                segments: Vec::new(),
                is_open,
            });
        }
        let segments = text.split('/').map(|segment| {
            let name = segment.strip_prefix('{');
            let name = name.and_then(|rest| rest.strip_suffix('}'));
            match name {
                Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Segment::Any),
                _ if segment.contains(['{', '}']) => {
                    Err(wrong("`{name}` stands for all between two `/`"))
                }
                _ if segment.contains('*') => Err(wrong("`*` stands for all the rest, at the end")),
                _ => Ok(Segment::Fixed(
                    percent_decode_str(segment).decode_utf8_lossy().into_owned(),
                )),
            }
        });
        Ok(Pattern {
            segments: segments.collect::<Result<_, _>>()?,
            is_open,
        })
    }

    fn matches(&self, path: &[String]) -> bool {
        let fits = match self.is_open {
            true => path.len() >= self.segments.len(),
            false => path.len() == self.segments.len(),
        };
        let mut pairs = self.segments.iter().zip(path);
        fits && pairs.all(|(segment, part)| match segment {
            Segment::Fixed(text) => text == part,
            Segment::Any => !part.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use toml::Spanned;

    use super::{Pattern, Routes, segments};

    #[test]
    fn patterns_are_for_paths() {
        let check = |pattern: &str, path: &str, expected: bool| {
            let spanned = Spanned::new(0..0, pattern.to_owned());
            let pattern_read = Pattern::new(&spanned).unwrap();
            let matches = pattern_read.matches(&segments(path));
            assert_eq!(matches, expected, "{pattern} {path}");
        };
        check("/", "/", true);
        check("/", "/a", false);
        check("/a/b", "/a/b", true);
        check("/a/b", "/a", false);
        check("/a/b", "/a/b/", false);
        check("/a b", "/a%20b", true);
        check("/a/{id}", "/a/7", true);
        check("/a/{id}", "/a/", false);
        check("/a/{id}/c", "/a/7/c", true);
        check("/a/{id}/c", "/a/7/d", false);
        check("/*", "/", true);
        check("/*", "/a/b", true);
        check("/a/*", "/a/b/c", true);
        check("/a/*", "/a", true);
        check("/a/*", "/b", false);
    }

    #[test]
    fn routes_answer_in_their_order_and_as_often_as_they_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mock.toml");
        let text = "
            [[route]]
            method = 'GET'
            path = '/a'
            status = 503
            times = 2
            [[route]]
            path = '/a'
            [[route]]
            path = '/*'
            status = 404";
        std::fs::write(&path, text).unwrap();
        let routes = Routes::read(&path).unwrap();
        let check = |method: Method, path: &str, status: u16| {
            assert_eq!(routes.find(&method, path).unwrap().status.as_u16(), status);
        };
        check(Method::POST, "/a", 200);
        check(Method::GET, "/a", 503);
        check(Method::HEAD, "/a", 503);
        check(Method::GET, "/a", 200);
        check(Method::GET, "/b", 404);
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mock.toml");
        let check = |text: &str, place: &str, part: &str| {
            std::fs::write(&path, text).unwrap();
            let error = Routes::read(&path).unwrap_err().to_string();
            let place = format!("mock.toml:{place}: ");
            assert!(error.contains(&place) && error.contains(part), "{error}");
        };
        let route = |rest: &str| format!("[[route]]\n{rest}");
        check(&route("path = 'a'"), "2:8", "begins with `/`");
        check(&route("path = '/a?b'"), "2:8", "without its query");
        check(&route("path = '/a{b}'"), "2:8", "all between two `/`");
        check(&route("path = '/*/a'"), "2:8", "at the end");
        check(&route("path = '/'\nstatus = 101"), "3:10", "200 to 999");
        check(
            &route("path = '/'\nstatus = 'x'"),
            "3:10",
            "a text, not a number",
        );
        check(&route("path = '/'\nmethod = 'get'"), "3:10", "`GET`");
        check(&route("path = '/'\ntimes = 0"), "3:9", "never answer");
        check(
            &route("path = '/'\nstats = 1"),
            "3:1",
            "there is no key `stats` here; did you mean `status`?",
        );
        check(
            &route("path = '/'\njson = inf"),
            "3:8",
            "JSON has no number",
        );
        check(
            &route("path = '/'\nbody = ''\njson = 1"),
            "4:8",
            "a second body",
        );
        check(
            &route("path = '/'\nbody_file = 'no'"),
            "3:13",
            "cannot be read",
        );
        check(
            &route("path = '/'\nheaders = { 'a b' = '' }"),
            "3:21",
            "header's name",
        );
        check(&route("path = '/'\ndelay = 'x'"), "3:9", "not a duration");
        check(
            &route("method = 'GET'"),
            "1:1",
            "no `path`; write `path = …`",
        );
        std::fs::write(&path, "").unwrap();
        let error = Routes::read(&path).unwrap_err().to_string();
        assert!(error.contains("no route; write `[[route]]`"), "{error}");
    }
}
