//! Events of `tracing` as records.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};
use withal_core::{Entry, NoticeKind, emit_error};

use crate::error::{LogError, LogErrorKind};
use crate::log::Log;

/// A [`Layer`] that writes each event as one record of `log`.
///
/// Close the log, best as a context manager around the program, and every event is in it.
///
/// ```
/// use tracing_subscriber::prelude::*;
/// use withal_core::with;
/// use withal_log::{Durability, Log, tracing_layer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// with(Log::open(&path).durability(Durability::Buffered), |log| {
///     let subscriber = tracing_subscriber::registry().with(tracing_layer(log));
///     tracing::subscriber::with_default(subscriber, || {
///         tracing::info!(order = 17, "paid");
///     });
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
///
/// It writes:
///
/// ```json
/// {"timestamp":"2025-11-20T23:20:00.000000Z","level":"INFO","fields":{"message":"paid","order":17},"target":"shop"}
/// ```
pub fn tracing_layer(log: &Log) -> TracingLayer {
    TracingLayer {
        log: log.clone(),
        format: Format::Json,
        pressure: Pressure::Block,
        lost: Arc::default(),
    }
}

/// Writes events to a log; made by [`tracing_layer`].
#[derive(Debug)]
#[must_use = "it does nothing until it is part of a subscriber"]
pub struct TracingLayer {
    log: Log,
    format: Format,
    pressure: Pressure,
    lost: Arc<Lost>,
}

/// What a record looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Text,
}

impl Format {
    /// What stands between two fields.
    fn separator(self) -> &'static str {
        match self {
            Format::Json => ",",
            Format::Text => " ",
        }
    }
}

/// What to do when events come faster than they can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pressure {
    /// Whoever logs waits, as long as the log's durability and its policy for full disks say.
    #[default]
    Block,
    /// Nobody ever waits: up to 8 MiB of records wait to be written, what comes then is dropped and
    /// counted, and a record says how much that was once there is room again.
    Drop,
}

/// How many events are not in the log; see [`TracingLayer::lost`].
#[derive(Debug, Default)]
pub struct Lost {
    dropped: AtomicU64,
    /// Those of them that no record tells of yet.
    untold: AtomicU64,
    /// The records that tell of some, and of how many, of which it is not known whether they have come
    /// to the log.
    told: Mutex<Vec<(u64, u64)>>,
    nested: AtomicU64,
    /// Whether somebody has been told that the log fails.
    complained: AtomicBool,
}

impl Lost {
    /// Events that could not be written: there was no room, or the log has failed.
    ///
    /// Where nobody waits for the log, with [`Pressure::Drop`] or
    /// [`Durability::Buffered`](crate::Durability::Buffered), that is known with the next event, and
    /// at the end with what closes the log: [`LogError::earlier`]. Lines of others who do not wait for
    /// the same log are counted with them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn told(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that came out of the log itself while it was being written, or out of the values of
    /// an event: to write them would be to wait for themselves.
    #[must_use]
    pub fn nested(&self) -> u64 {
        self.nested.load(Ordering::Relaxed)
    }
}

impl TracingLayer {
    /// Records are lines of JSON, in the shape that `tracing_subscriber` gives them; the default.
    pub fn json(mut self) -> TracingLayer {
        self.format = Format::Json;
        self
    }

    /// Records are lines of text for people.
    pub fn text(mut self) -> TracingLayer {
        self.format = Format::Text;
        self
    }

    /// What to do when events come faster than they can be written; by default wait.
    pub fn on_pressure(mut self, pressure: Pressure) -> TracingLayer {
        self.pressure = pressure;
        self
    }

    /// A view on what is lost, for when the layer is part of a subscriber.
    #[must_use]
    pub fn lost(&self) -> Arc<Lost> {
        Arc::clone(&self.lost)
    }

    /// Writes what `format` puts into the buffer.
    fn write(&self, format: impl Fn(&mut Buffer)) {
        let written = BUFFER.try_with(|buffer| {
            // An event that the log itself emits while it writes one would wait for itself.
            let Ok(mut buffer) = buffer.try_borrow_mut() else {
                self.nested();
                return;
            };
            buffer.text.clear();
            format(&mut buffer);
            self.append(&buffer.text);
            if buffer.text.capacity() > LARGEST_KEPT {
                buffer.text = String::new();
            }
        });
        if written.is_err() {
            // The thread is ending, and its buffer is gone.
            let mut buffer = Buffer::default();
            format(&mut buffer);
            self.append(&buffer.text);
        }
    }

    fn append(&self, record: &str) {
        // Where events are missing, the next record is the one that says so: an event that found
        // room just after that one did not would stand before it, and nobody might come after.
        let appended = match self.tell_dropped() {
            Ok(Some(_)) => self.put(record),
            untold => untold,
        };
        match appended {
            Ok(Some(_)) => self.lost.complained.store(false, Ordering::Relaxed),
            Ok(None) => self.dropped(1),
            // The log says something while it is written, on whatever thread does that.
            Err(error) if error.kind() == LogErrorKind::Nested => self.nested(),
            Err(error) => {
                let told = self.look_after_told();
                self.dropped(1 + error.earlier().saturating_sub(told));
                self.complain(&error);
            }
        }
    }

    /// Appends a record as [`Pressure`] says, if there is room for it.
    fn put(&self, record: &str) -> Result<Option<u64>, LogError> {
        match self.pressure {
            Pressure::Block => self.log.append(record).map(Some),
            Pressure::Drop => self.log.try_append(record),
        }
    }

    fn nested(&self) {
        let _ = self.lost.nested.fetch_add(1, Ordering::Relaxed);
    }

    fn dropped(&self, events: u64) {
        let _ = self.lost.dropped.fetch_add(events, Ordering::Relaxed);
        let _ = self.lost.untold.fetch_add(events, Ordering::Relaxed);
    }

    /// Writes how many events were dropped, if any were.
    fn tell_dropped(&self) -> Result<Option<u64>, LogError> {
        let untold = &self.lost.untold;
        // To read it first is cheaper, and almost always enough.
        let count = match untold.load(Ordering::Relaxed) {
            0 => 0,
            _ => untold.swap(0, Ordering::Relaxed),
        };
        if count == 0 {
            return Ok(Some(0));
        }
        let mut buffer = Buffer::default();
        let target = module_path!();
        let message = format!("{count} events were dropped: there was no room for them");
        match self.format {
            Format::Json => {
                buffer.text.push_str("{\"timestamp\":\"");
                buffer.timestamp();
                let _ = write!(
                    buffer.text,
                    "\",\"level\":\"WARN\",\"fields\":{{\"message\":\"{message}\",\"dropped\":{count}}},\"target\":\"{target}\"}}"
                );
            }
            Format::Text => {
                buffer.timestamp();
                let _ = write!(buffer.text, "  WARN {target}: {message}");
            }
        }
        let put = self.put(&buffer.text);
        match put {
            Ok(Some(line)) => {
                let _ = self.look_after_told();
                self.lost.told().push((line, count));
            }
            _ => {
                let _ = untold.fetch_add(count, Ordering::Relaxed);
            }
        }
        put
    }

    /// Has those events told of again whose record did not come to the log; gives how many such
    /// records there are.
    fn look_after_told(&self) -> u64 {
        let (mut untold, mut records) = (0, 0);
        self.lost.told().retain(|(line, count)| {
            let came = self.log.came(*line);
            if came == Some(false) {
                untold += count;
                records += 1;
            }
            came.is_none()
        });
        let _ = self.lost.untold.fetch_add(untold, Ordering::Relaxed);
        records
    }

    /// Says that the log fails, once until it works again.
    fn complain(&self, error: &LogError) {
        if !self.lost.complained.swap(true, Ordering::Relaxed) {
            let entry = Entry::new("tracing layer");
            emit_error(NoticeKind::WorkedAround, Some(&entry), error.clone());
        }
    }
}

thread_local! {
    static BUFFER: RefCell<Buffer> = RefCell::default();
}

/// A buffer that has become larger is given back.
const LARGEST_KEPT: usize = 64 * 1024;

/// Where a record is put together, on each thread.
#[derive(Default)]
struct Buffer {
    text: String,
    /// The last second that was written, and how.
    second: Cell<i64>,
    written: String,
}

impl Buffer {
    /// Adds the time, in UTC, to the microsecond.
    fn timestamp(&mut self) {
        let now = jiff::Timestamp::now();
        if self.written.is_empty() || self.second.get() != now.as_second() {
            self.second.set(now.as_second());
            self.written.clear();
            let _ = write!(self.written, "{}", now.strftime("%Y-%m-%dT%H:%M:%S"));
        }
        let micros = now.subsec_microsecond();
        let _ = write!(self.text, "{}.{micros:06}Z", self.written);
    }
}

/// What a layer keeps of a span: its fields, as they are written with each of its events.
struct SpanFields {
    /// Whose they are.
    layer: Arc<Lost>,
    format: Format,
    text: String,
    /// Which they are, and where each begins.
    starts: Vec<(&'static str, usize)>,
}

impl SpanFields {
    fn new(layer: Arc<Lost>, format: Format, record: impl FnOnce(&mut Fields<'_>)) -> SpanFields {
        let (mut text, mut starts) = (String::new(), Vec::new());
        let mut fields = Fields::new(&mut text, format);
        fields.starts = Some(&mut starts);
        record(&mut fields);
        SpanFields {
            layer,
            format,
            text,
            starts,
        }
    }

    /// Takes these fields, too: one that it has is replaced.
    fn update(&mut self, fields: &SpanFields) {
        for (place, (name, start)) in fields.starts.iter().enumerate() {
            let field = fields.text.get(*start..fields.end(place));
            self.set(name, field.unwrap_or_default());
        }
    }

    fn set(&mut self, name: &'static str, field: &str) {
        let same = self.starts.iter().position(|(known, _)| *known == name);
        let Some(place) = same else {
            if !self.starts.is_empty() {
                self.text.push_str(self.format.separator());
            }
            self.starts.push((name, self.text.len()));
            self.text.push_str(field);
            return;
        };
        let end = self.end(place);
        let mut behind = self.starts.iter_mut().skip(place);
        let start = behind.next().map_or(end, |(_, start)| *start);
        for (_, later) in behind {
            *later = *later + field.len() - (end - start);
        }
        self.text.replace_range(start..end, field);
    }

    /// Where a field ends.
    fn end(&self, place: usize) -> usize {
        let next = self.starts.get(place + 1);
        let separator = self.format.separator().len();
        next.map_or(self.text.len(), |(_, start)| start - separator)
    }
}

impl<S> Layer<S> for TracingLayer
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    // A value may log something while it is shown, so no span is locked then.

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let record = |fields: &mut Fields<'_>| attributes.record(fields);
        let fields = SpanFields::new(self.lost(), self.format, record);
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Vec<SpanFields>>() {
            Some(all) => all.push(fields),
            None => extensions.insert(vec![fields]),
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let record = |fields: &mut Fields<'_>| values.record(fields);
        let updated = SpanFields::new(self.lost(), self.format, record);
        let mut extensions = span.extensions_mut();
        let all = extensions.get_mut::<Vec<SpanFields>>();
        let ours = |fields: &&mut SpanFields| Arc::ptr_eq(&fields.layer, &self.lost);
        if let Some(fields) = all.and_then(|all| all.iter_mut().find(ours)) {
            fields.update(&updated);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.write(|buffer| match self.format {
            Format::Json => self.put_json(buffer, event, &context),
            Format::Text => self.put_text(buffer, event, &context),
        });
    }
}

impl TracingLayer {
    fn put_json<S>(&self, buffer: &mut Buffer, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        let metadata = event.metadata();
        buffer.text.push_str("{\"timestamp\":\"");
        buffer.timestamp();
        let text = &mut buffer.text;
        let _ = write!(text, "\",\"level\":\"{}\",\"fields\":{{", metadata.level());
        event.record(&mut Fields::new(text, Format::Json));
        text.push_str("},\"target\":");
        string(text, metadata.target());
        let mut separator = ",\"spans\":[";
        let mut has_spans = false;
        each_span(event, context, |span| {
            text.push_str(separator);
            separator = ",";
            has_spans = true;
            text.push_str("{\"name\":");
            string(text, span.name());
            self.with_fields(span, |fields| {
                text.push(',');
                text.push_str(fields);
            });
            text.push('}');
        });
        text.push_str(if has_spans { "]}" } else { "}" });
    }

    fn put_text<S>(&self, buffer: &mut Buffer, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        let metadata = event.metadata();
        buffer.timestamp();
        let text = &mut buffer.text;
        let _ = write!(text, " {:>5} ", metadata.level().as_str());
        each_span(event, context, |span| {
            text.push_str(span.name());
            self.with_fields(span, |fields| {
                text.push('{');
                text.push_str(fields);
                text.push('}');
            });
            text.push(':');
        });
        if !text.ends_with(' ') {
            text.push(' ');
        }
        let _ = write!(text, "{}: ", metadata.target());
        event.record(&mut Fields::new(text, Format::Text));
    }

    fn with_fields<S>(&self, span: &SpanRef<'_, S>, look: impl FnOnce(&str))
    where
        S: for<'l> LookupSpan<'l>,
    {
        let extensions = span.extensions();
        let all = extensions.get::<Vec<SpanFields>>();
        let ours = |fields: &&SpanFields| Arc::ptr_eq(&fields.layer, &self.lost);
        let fields = all.and_then(|all| all.iter().find(ours));
        if let Some(fields) = fields.filter(|fields| !fields.text.is_empty()) {
            look(&fields.text);
        }
    }
}

/// Shows `look` the spans an event is in, outermost first.
fn each_span<S>(event: &Event<'_>, context: &Context<'_, S>, mut look: impl FnMut(&SpanRef<'_, S>))
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    if let Some(scope) = context.event_scope(event) {
        scope.from_root().for_each(|span| look(&span));
    }
}

/// Writes fields: `"name":value,…` or `name=value …`, the message first in text.
struct Fields<'t> {
    text: &'t mut String,
    format: Format,
    is_first: bool,
    /// Which they are, and where each begins, if that is asked.
    starts: Option<&'t mut Vec<(&'static str, usize)>>,
}

impl Fields<'_> {
    fn new(text: &mut String, format: Format) -> Fields<'_> {
        let is_first = match text.as_bytes().last() {
            None | Some(b'{') => true,
            Some(_) => format == Format::Text && text.ends_with(": "),
        };
        Fields {
            text,
            format,
            is_first,
            starts: None,
        }
    }

    fn field(&mut self, field: &Field, value: impl FnOnce(&mut String, Format)) {
        if !std::mem::take(&mut self.is_first) {
            self.text.push_str(self.format.separator());
        }
        if let Some(starts) = &mut self.starts {
            starts.push((field.name(), self.text.len()));
        }
        // Raw identifiers are the names without the mark.
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        match self.format {
            Format::Json => {
                string(self.text, name);
                self.text.push(':');
            }
            Format::Text if name == "message" => {}
            Format::Text => {
                self.text.push_str(name);
                self.text.push('=');
            }
        }
        value(self.text, self.format);
    }

    fn display(&mut self, field: &Field, value: impl fmt::Display) {
        self.field(field, |text, _| {
            let _ = write!(text, "{value}");
        });
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |text, format| match format {
            Format::Json => {
                text.push('"');
                let _ = write!(Escaped(text), "{value:?}");
                text.push('"');
            }
            Format::Text => {
                let _ = write!(text, "{value:?}");
            }
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |text, format| match format {
            Format::Json => string(text, value),
            Format::Text if field.name() == "message" => text.push_str(value),
            Format::Text => {
                let _ = write!(text, "{value:?}");
            }
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.display(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.display(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.display(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() || self.format == Format::Text {
            true => self.record_finite(field, value),
            // JSON has no such numbers.
            false => self.record_debug(field, &value),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.display(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.display(field, value);
    }
}

impl Fields<'_> {
    fn record_finite(&mut self, field: &Field, value: f64) {
        self.field(field, |text, _| {
            let _ = write!(text, "{value:?}");
        });
    }
}

/// Adds a JSON string.
fn string(text: &mut String, value: &str) {
    text.push('"');
    let _ = Escaped(text).write_str(value);
    text.push('"');
}

/// Escapes what is written for JSON.
struct Escaped<'t>(&'t mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, value: &str) -> fmt::Result {
        let needs_escape = |c: char| c == '"' || c == '\\' || c < ' ';
        let mut rest = value;
        while let Some(at) = rest.find(needs_escape) {
            let (plain, special) = rest.split_at(at);
            self.0.push_str(plain);
            let mut characters = special.chars();
            match characters.next() {
                Some('"') => self.0.push_str("\\\""),
                Some('\\') => self.0.push_str("\\\\"),
                Some('\n') => self.0.push_str("\\n"),
                Some('\r') => self.0.push_str("\\r"),
                Some('\t') => self.0.push_str("\\t"),
                Some(other) => write!(self.0, "\\u{:04x}", u32::from(other))?,
                None => {}
            }
            rest = characters.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// As under a global subscriber, where `tracing` itself does not keep them apart.
    #[test]
    fn what_is_logged_while_logging_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path()).open().unwrap();
        let layer = tracing_layer(&log);
        layer.write(|buffer| {
            layer.write(|_| unreachable!("not recursed into"));
            buffer.text.push_str("outer");
        });
        assert_eq!((layer.lost().nested(), layer.lost().dropped()), (1, 0));
        log.close().unwrap();
    }
}
