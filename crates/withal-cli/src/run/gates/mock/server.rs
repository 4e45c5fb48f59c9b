//! Answering.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::routes::Routes;
use crate::message::shown;

/// How many connections are served at once; others wait.
const MOST_CONNECTIONS: usize = 256;

/// How much of a request's head is kept in memory.
const MOST_HEAD: usize = 64 * 1024;

/// How many different requests that no route is for are told one by one, and how much of a path.
const MOST_TOLD: usize = 20;
const MOST_OF_PATH: usize = 200;

/// After a connection could not be accepted, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, routes: Routes, unmatched: Arc<Unmatched>) {
    let routes = Arc::new(routes);
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MOST_CONNECTIONS {
            let _ended = connections.join_next().await;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        let Ok((stream, _peer)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        let (routes, unmatched) = (routes.clone(), unmatched.clone());
        let service = service_fn(move |request| {
            let (routes, unmatched) = (routes.clone(), unmatched.clone());
            async move { Ok::<_, Infallible>(answer(request, &routes, &unmatched).await) }
        });
        let connection = http1::Builder::new()
            .max_buf_size(MOST_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let _task = connections.spawn(async move {
            // That a client goes away is its own affair.
            let _gone = connection.await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    routes: &Routes,
    unmatched: &Unmatched,
) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    // A client that still sends would not read. Nothing of it is kept.
    while let Some(Ok(_part)) = body.frame().await {}
    let path = head.uri.path();
    let Some(route) = routes.find(&head.method, path) else {
        unmatched.add(&head.method, path);
        let text = format!("withal mock: no route for {} {path}\n", head.method);
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = StatusCode::NOT_FOUND;
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        let _ = response.headers_mut().insert(CONTENT_TYPE, kind);
        return response;
    };
    if !route.delay.is_zero() {
        sleep(route.delay).await;
    }
    let mut response = Response::new(Full::new(route.body.clone()));
    *response.status_mut() = route.status;
    *response.headers_mut() = route.headers.clone();
    response
}

/// The requests that no route was for.
#[derive(Debug, Default)]
pub(super) struct Unmatched(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    all: u64,
    /// Method and path, and how often; not more than are told.
    known: Vec<(String, u64)>,
    /// Those that are not told one by one.
    others: u64,
}

impl Unmatched {
    fn add(&self, method: &Method, path: &str) {
        let mut name = format!("{method} {}", shown(path));
        if let Some((end, _)) = name.char_indices().nth(MOST_OF_PATH) {
            name.truncate(end);
            name.push('…');
        }
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.all += 1;
        let Counted { known, others, .. } = &mut *counted;
        let is_full = known.len() >= MOST_TOLD;
        match known.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None if is_full => *others += 1,
            None => known.push((name, 1)),
        }
    }

    /// What there was, in words; nothing if there was nothing.
    pub(super) fn told(&self) -> Option<String> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = match counted.all {
            0 => return None,
            1 => "1 request had no route: ".to_owned(),
            all => format!("{all} requests had no route: "),
        };
        let known = counted.known.iter().map(|(name, count)| match count {
            1 => name.clone(),
            _ => format!("{name} ({count} times)"),
        });
        let known: Vec<String> = known.collect();
        text.push_str(&known.join(", "));
        if counted.others > 0 {
            let _ = write!(text, ", and {} more", counted.others);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::{MOST_TOLD, Unmatched};

    #[test]
    fn requests_without_a_route_are_counted_and_few_are_told() {
        let unmatched = Unmatched::default();
        assert_eq!(unmatched.told(), None);
        unmatched.add(&Method::GET, "/a");
        assert_eq!(
            unmatched.told().as_deref(),
            Some("1 request had no route: GET /a")
        );
        unmatched.add(&Method::GET, "/a");
        unmatched.add(&Method::PUT, "/a\n");
        assert_eq!(
            unmatched.told().as_deref(),
            Some("3 requests had no route: GET /a (2 times), PUT /a\\n")
        );
        for number in 0..1000 {
            unmatched.add(&Method::GET, &format!("/{number}/{}", "x".repeat(1000)));
        }
        let told = unmatched.told().unwrap();
        let others = 1002 - MOST_TOLD;
        assert!(told.starts_with("1003 requests"), "{told}");
        assert!(told.ends_with(&format!("…, and {others} more")), "{told}");
        assert!(told.len() < 8192, "{}", told.len());
    }
}
