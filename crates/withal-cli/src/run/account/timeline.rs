//! `--timeline`: when the gates and the command were there, as a picture.

use std::time::Duration;

use humantime::format_duration;
use svg::Document;
use svg::node::element::{Definitions, Group, Line, Pattern, Rectangle, Style, Text, Title};

use super::Account;
use super::chronicle::{Events, GateEvents, Span};
use crate::run::Exit;

const WIDTH: f64 = 960.0;
/// Where the names stand.
const LEFT: f64 = 24.0;
/// Where time begins and ends.
const FROM: f64 = 250.0;
const TO: f64 = 700.0;
/// Where the numbers stand.
const NUMBERS: f64 = 716.0;
/// What is above the rows.
const HEAD: f64 = 84.0;
const ROW: f64 = 34.0;
const BAR: f64 = 16.0;
/// What is below the rows: the axis and the key.
const FOOT: f64 = 92.0;
/// A moment that happened can be seen.
const NARROWEST: f64 = 5.0;

/// Both looks in one file: the reader's own setting chooses.
const STYLE: &str = "
.ground { fill: #ffffff }
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 }
.faint { fill: #59636e }
.number { font-size: 12px; font-variant-numeric: tabular-nums; fill: #59636e }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.hollow { fill: none; stroke: #0969da; stroke-width: 1.5 }
.solid { fill: #0969da }
.hatched { fill: url(#hatch); stroke: #0969da; stroke-width: 1.5 }
.stripe { stroke: #0969da; stroke-width: 2.5 }
.command { fill: #1a7f37 }
.failed { fill: #d1242f; stroke: #d1242f; stroke-width: 1.5 }
.error { fill: #d1242f }
.mark { stroke: #9a6700; stroke-width: 1.5; stroke-dasharray: 4 3 }
.word { fill: #9a6700; font-size: 12px }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 }
text { fill: #f0f6fc }
.faint, .number { fill: #9198a1 }
.grid { stroke: #3d444d }
.hollow, .hatched, .stripe { stroke: #4493f8 }
.solid { fill: #4493f8 }
.command { fill: #3fb950 }
.failed { fill: #f85149; stroke: #f85149 }
.error { fill: #f85149 }
.mark { stroke: #d29922 }
.word { fill: #d29922 }
}
";

pub(super) fn svg(account: &Account) -> String {
    let events = &account.events;
    let picture = Picture {
        length: account.length.max(Duration::from_millis(1)),
    };
    let rows = events.gates.len() + usize::from(events.command.is_some());
    let bottom = HEAD + ROW * count(rows.max(1));
    let mut document = Document::new()
        .set("viewBox", (0, 0, WIDTH, bottom + FOOT))
        .set("width", WIDTH)
        .set("height", bottom + FOOT)
        .set("role", "img")
        .add(Title::new(format!("{}: {}", account.job, verdict(account))))
        .add(Style::new(STYLE))
        .add(hatch())
        .add(bar(0.0, 0.0, WIDTH, bottom + FOOT, "ground"))
        .add(title(account))
        .add(picture.axis(bottom));
    for (row, gate) in events.gates.iter().enumerate() {
        document = document.add(picture.gate(gate, HEAD + ROW * count(row)));
    }
    if let Some(command) = events.command {
        document = document.add(picture.command(account, command, HEAD + ROW * count(rows - 1)));
    }
    document = document.add(picture.marks(events, bottom));
    document = document.add(key(bottom + 58.0));
    format!("{document}\n")
}

/// Small numbers of rows.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

struct Picture {
    length: Duration,
}

impl Picture {
    /// Where a moment is.
    fn at(&self, moment: Duration) -> f64 {
        FROM + (TO - FROM) * (moment.as_secs_f64() / self.length.as_secs_f64()).min(1.0)
    }

    /// Where something begins, and how wide it is.
    fn extent(&self, span: Span) -> (f64, f64) {
        let from = self.at(span.from);
        let width = self.at(span.to.unwrap_or(self.length)) - from;
        let width = width.max(NARROWEST);
        (from.min(TO - width), width)
    }

    fn axis(&self, bottom: f64) -> Group {
        let mut axis = Group::new();
        for (moment, label) in ticks(self.length) {
            let x = self.at(moment);
            axis = axis
                .add(line(x, HEAD - 8.0, x, bottom, "grid"))
                .add(text(x, bottom + 18.0, "number", &label).set("text-anchor", "middle"));
        }
        axis
    }

    fn gate(&self, gate: &GateEvents, top: f64) -> Group {
        let middle = top + ROW / 2.0;
        let y = middle - BAR / 2.0;
        let has_failed = gate.error.is_some();
        let mut group = Group::new().add(Title::new(hint(gate)));
        let label = shortened(&label(gate), 30);
        let class = if has_failed { "error" } else { "" };
        group = group.add(text(LEFT, middle + 4.5, class, &label));
        // What is drawn later lies above: the short ends must not be covered by the long middle.
        if let Some(held) = gate.held() {
            let (x, width) = self.extent(held);
            group = group.add(bar(x, y, width, BAR, "solid"));
        }
        let (x, width) = self.extent(gate.acquire);
        let class = match has_failed && !gate.is_acquired() {
            true => "failed",
            false => "hollow",
        };
        if class == "hollow" {
            group = group.add(bar(x, y, width, BAR, "ground"));
        }
        group = group.add(bar(x, y, width, BAR, class));
        if let Some(release) = gate.release {
            let (x, width) = self.extent(release);
            let class = match has_failed || release.to.is_none() {
                true => "failed",
                false => "hatched",
            };
            group = group
                .add(bar(x, y, width, BAR, "ground"))
                .add(bar(x, y, width, BAR, class));
        }
        group.add(text(NUMBERS, middle + 4.5, "number", &self.numbers(gate)))
    }

    fn numbers(&self, gate: &GateEvents) -> String {
        let length = |span: Span| short(span.length(self.length));
        match (gate.held(), gate.release) {
            (Some(held), Some(release)) => format!(
                "{} + {} + {}",
                length(gate.acquire),
                length(held),
                length(release)
            ),
            (Some(held), None) => format!("{} + {}", length(gate.acquire), length(held)),
            (None, _) => format!("{}, not acquired", length(gate.acquire)),
        }
    }

    fn command(&self, account: &Account, command: Span, top: f64) -> Group {
        let middle = top + ROW / 2.0;
        let (x, width) = self.extent(command);
        let has_failed = account.outcome != "succeeded";
        let class = if has_failed { "failed" } else { "command" };
        let words = account.command.join(" ");
        let name = shortened(&words, 30);
        let length = short(command.length(self.length));
        Group::new()
            .add(Title::new(words))
            .add(text(LEFT, middle + 4.5, "", &name).set("font-weight", 600))
            .add(bar(x, middle - BAR / 2.0, width, BAR, class))
            .add(text(NUMBERS, middle + 4.5, "number", &length))
    }

    /// What came from outside, on two lines by turns, for they may come at once.
    fn marks(&self, events: &Events, bottom: f64) -> Group {
        let mut marks = Group::new();
        for (number, mark) in events.marks.iter().enumerate() {
            let x = self.at(mark.at);
            let y = if number % 2 == 0 {
                HEAD - 12.0
            } else {
                HEAD - 26.0
            };
            let anchor = if x > (FROM + TO) / 2.0 {
                "end"
            } else {
                "start"
            };
            let beside = if anchor == "end" { x - 4.0 } else { x + 4.0 };
            marks = marks
                .add(line(x, y - 8.0, x, bottom, "mark"))
                .add(text(beside, y, "word", &mark.what).set("text-anchor", anchor));
        }
        marks
    }
}

fn title(account: &Account) -> Group {
    let class = match account.exit {
        Exit::SUCCESS => "faint",
        _ => "error",
    };
    Group::new()
        .add(text(LEFT, 32.0, "title", &shortened(&account.job, 60)))
        .add(text(LEFT, 54.0, class, &verdict(account)))
}

/// How it ended, in a sentence.
fn verdict(account: &Account) -> String {
    let how = match account.outcome {
        "succeeded" if account.exit == Exit::TEARDOWN_FAILED => {
            "the command succeeded, but not all could be undone"
        }
        "succeeded" => "the command succeeded",
        "failed" => "the command failed",
        "signalled" => "a signal killed the command",
        "timed_out" => "the command ran too long",
        "interrupted" => "stopped before the command was started",
        "not_started" => "the command could not be started",
        "lost" => "a gate was lost",
        "busy" => "a lock was busy",
        "front_killed" => "the front was killed",
        "keeper_killed" => "the keeper was killed",
        _ => "a gate could not be acquired",
    };
    let (length, code) = (short(account.length), account.exit.code());
    format!("{how} · exit {code} · {length} in all")
}

/// What a gate is called where there is little room: paths without their directories.
fn label(gate: &GateEvents) -> String {
    let what = gate.name.split(" (").next().unwrap_or(&gate.name);
    let words = what
        .split(' ')
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    let what = words.collect::<Vec<_>>().join(" ");
    let is_named = !gate.label.starts_with("--") && gate.label != gate.kind;
    match is_named {
        true => format!("{} · {what}", gate.label),
        false => what,
    }
}

fn hint(gate: &GateEvents) -> String {
    match &gate.error {
        Some(error) => format!("{}: {error}", gate.name),
        None => gate.name.clone(),
    }
}

/// What the looks of bars mean.
fn key(y: f64) -> Group {
    let entries = [
        ("hollow", "being acquired", 150.0),
        ("solid", "held", 84.0),
        ("hatched", "being undone", 140.0),
        ("command", "the command", 136.0),
        ("failed", "failed", 90.0),
    ];
    let mut key = Group::new();
    let mut x = FROM;
    for (class, what, width) in entries {
        key = key
            .add(bar(x, y, 22.0, 12.0, class))
            .add(text(x + 30.0, y + 10.5, "faint", what));
        x += width;
    }
    key
}

/// Moments at round times, at least two and at most seven.
fn ticks(length: Duration) -> Vec<(Duration, String)> {
    let seconds = length.as_secs_f64();
    let step = step(seconds / 6.0);
    let mut ticks = Vec::new();
    for number in 0..=6 {
        let moment = step * f64::from(number);
        if moment <= seconds {
            let moment = Duration::from_secs_f64(moment);
            ticks.push((moment, short(moment)));
        }
    }
    ticks
}

/// The smallest of 1, 2, 5, 10, … – of 15, 30 s, minutes and hours where those are read – that is
/// at least `least`.
fn step(least: f64) -> f64 {
    const ROUND: [f64; 14] = [
        15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 21600.0,
        43200.0, 86400.0,
    ];
    if least > 10.0 {
        let found = ROUND.into_iter().find(|step| *step >= least);
        return found.unwrap_or_else(|| (least / 86400.0).ceil() * 86400.0);
    }
    let power = 10_f64.powf(least.log10().floor());
    let found = [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power);
    let found = found.into_iter().find(|step| *step >= least);
    found.unwrap_or(10.0 * power)
}

/// A duration with three digits, as they are read.
fn short(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let digits = |number: f64| {
        let decimals = match number {
            _ if number >= 99.95 => 0,
            _ if number >= 9.995 => 1,
            _ => 2,
        };
        let text = format!("{number:.decimals$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    match seconds {
        0.0 => "0".to_owned(),
        _ if seconds < 0.000_999_5 => format!("{} µs", digits(seconds * 1e6)),
        _ if seconds < 0.999_5 => format!("{} ms", digits(seconds * 1e3)),
        _ if seconds < 60.0 => format!("{} s", digits(seconds)),
        _ => format_duration(Duration::from_secs(seconds.round() as u64)).to_string(),
    }
}

/// The text, its end cut off if it is longer.
fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn hatch() -> Definitions {
    let pattern = Pattern::new()
        .set("id", "hatch")
        .set("width", 6)
        .set("height", 6)
        .set("patternUnits", "userSpaceOnUse")
        .set("patternTransform", "rotate(45)")
        .add(line(0.0, 0.0, 0.0, 6.0, "stripe"));
    Definitions::new().add(pattern)
}

fn bar(x: f64, y: f64, width: f64, height: f64, class: &str) -> Rectangle {
    Rectangle::new()
        .set("x", round(x))
        .set("y", round(y))
        .set("width", round(width))
        .set("height", round(height))
        .set("class", class)
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> Line {
    Line::new()
        .set("x1", round(x1))
        .set("y1", round(y1))
        .set("x2", round(x2))
        .set("y2", round(y2))
        .set("class", class)
}

fn text(x: f64, y: f64, class: &str, content: &str) -> Text {
    Text::new(content)
        .set("x", round(x))
        .set("y", round(y))
        .set("class", class)
}

/// A tenth of a pixel is enough.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
