//! `work | withal | peer | ratio`.

use super::measure::{Measures, Summary, Unit};

/// The table in Markdown, with columns that line up in a terminal too.
pub(super) fn render(measures: &Measures) -> String {
    let header = ["work", "withal", "peer", "ratio"].map(str::to_owned);
    let mut rows = vec![header];
    for (ours, peers) in measures.works() {
        let Some(our_summary) = Summary::of(&ours.samples) else {
            continue;
        };
        let us = show(our_summary, ours.unit);
        if peers.is_empty() {
            rows.push([
                ours.work.clone(),
                us.clone(),
                "none".to_owned(),
                String::new(),
            ]);
        }
        for peer in peers {
            let Some(summary) = Summary::of(&peer.samples) else {
                continue;
            };
            rows.push([
                ours.work.clone(),
                us.clone(),
                format!("{}: {}", peer.who, show(summary, peer.unit)),
                ratio(our_summary.median / summary.median, ours.unit),
            ]);
        }
    }
    lay_out(&rows)
}

/// Ours divided by theirs, and in words where it is far from one.
fn ratio(ratio: f64, unit: Unit) -> String {
    let advantage = match unit {
        Unit::Nanoseconds => 1.0 / ratio,
        // Less, but not faster.
        Unit::Percent | Unit::Bytes => 1.0,
        Unit::PerSecond | Unit::BytesPerSecond => ratio,
    };
    if advantage >= 1.5 {
        format!("{ratio:.2} ({advantage:.1}× faster)")
    } else {
        format!("{ratio:.2}")
    }
}

fn show(summary: Summary, unit: Unit) -> String {
    let (divisor, unit) = scale(summary.median, unit);
    let number = |value: f64| three_digits(value / divisor);
    format!(
        "{} {unit} ({}–{})",
        number(summary.median),
        number(summary.min),
        number(summary.max)
    )
}

fn scale(value: f64, unit: Unit) -> (f64, &'static str) {
    match unit {
        Unit::Nanoseconds if value >= 1e9 => (1e9, "s"),
        Unit::Nanoseconds if value >= 1e6 => (1e6, "ms"),
        Unit::Nanoseconds if value >= 1e3 => (1e3, "µs"),
        Unit::Nanoseconds => (1.0, "ns"),
        Unit::PerSecond if value >= 1e6 => (1e6, "M/s"),
        Unit::PerSecond if value >= 1e4 => (1e3, "k/s"),
        Unit::PerSecond => (1.0, "/s"),
        Unit::BytesPerSecond if value >= (1 << 30) as f64 => ((1 << 30) as f64, "GiB/s"),
        Unit::BytesPerSecond => ((1 << 20) as f64, "MiB/s"),
        Unit::Bytes => ((1 << 20) as f64, "MiB"),
        Unit::Percent => (1.0, "%"),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn lay_out(rows: &[[String; 4]]) -> String {
    let mut widths = [0; 4];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(&format!("| {cell:<width$} "));
        }
        text.push_str("|\n");
        if index == 0 {
            for width in widths {
                text.push_str(&format!("| {} ", "-".repeat(width)));
            }
            text.push_str("|\n");
        }
    }
    text
}
