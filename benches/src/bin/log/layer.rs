//! Events of `tracing`, through the same subscriber into a log and into tracing-appender.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tracing::subscriber::with_default;
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{fmt, registry};
use withal_benches::{Bench, US, timed};
use withal_log::{Log, tracing_layer};

use crate::LINE;
use crate::buffered::{APPENDER, with_appender, with_log};

pub(crate) fn add(bench: &mut Bench<'_>, folder: &Path) {
    let work = "an event of tracing, its line ready";
    let path = folder.join("layer");
    bench.rate(work, US, move |n| {
        with_log(&path, |log| events(n, registry().with(ToLog(log.clone()))))
    });
    let path = folder.join("layer-peer");
    bench.rate(work, APPENDER, move |n| {
        with_appender(&path, |writer| {
            events(n, registry().with(ToAppender(writer)))
        })
    });

    let work = "an event of tracing, formatted as text";
    let path = folder.join("layer");
    bench.rate(work, US, move |n| {
        with_log(&path, |log| {
            events(n, registry().with(tracing_layer(log).text()))
        })
    });
    let path = folder.join("layer-peer");
    bench.rate(work, APPENDER, move |n| {
        let layer = |writer| fmt::layer().with_ansi(false).with_writer(writer);
        with_appender(&path, |writer| events(n, registry().with(layer(writer))))
    });

    let work = "an event of tracing, formatted as JSON";
    let path = folder.join("layer");
    bench.rate(work, US, move |n| {
        with_log(&path, |log| events(n, registry().with(tracing_layer(log))))
    });
    let path = folder.join("layer-peer");
    bench.rate(work, APPENDER, move |n| {
        let layer = |writer| fmt::layer().json().with_writer(writer);
        with_appender(&path, |writer| events(n, registry().with(layer(writer))))
    });
}

fn events(n: u64, subscriber: impl Subscriber + Send + Sync) -> Duration {
    with_default(subscriber, || {
        timed(n, |index| {
            tracing::info!(
                request = index,
                path = "/api/v1/orders",
                ms = 12,
                "request completed"
            );
        })
    })
}

/// Appends the same line for each event: what is left is the way there.
struct ToLog(Log);

impl<S: Subscriber> Layer<S> for ToLog {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        let _ = self.0.append(LINE).expect("the log can be written");
    }
}

/// The same; a writer is cloned for each event, as by its `MakeWriter`.
struct ToAppender(NonBlocking);

impl<S: Subscriber> Layer<S> for ToAppender {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        let mut writer = self.0.clone();
        writer.write_all(LINE).expect("the thread takes it");
    }
}
