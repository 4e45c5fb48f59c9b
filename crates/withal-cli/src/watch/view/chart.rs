//! What stands on the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart as Lines, Dataset, GraphType, Paragraph, Wrap};

use super::super::kind::Kind;
use super::super::model::{Report, Row, Verdict};
use super::super::session::Picture;
use super::super::words;
use super::plain;

/// How many lines the course of one kind has.
const HEIGHT: u16 = 8;

/// Which kind is drawn, and how.
#[derive(Debug)]
pub(super) struct Chart {
    /// None for all descriptors.
    kind: Option<Kind>,
    has_colours: bool,
}

impl Chart {
    pub(super) fn new(has_colours: bool) -> Chart {
        Chart {
            kind: None,
            has_colours,
        }
    }

    /// Goes on to the next kind that there is; after the last, to all together.
    pub(super) fn next(&mut self, picture: &Picture) {
        let Some(report) = picture.model.report(picture.at) else {
            return;
        };
        let mut kinds = report.kinds.iter().filter_map(|row| row.kind);
        self.kind = kinds.find(|kind| Some(*kind) > self.kind);
    }

    fn style(&self, verdict: Verdict) -> Style {
        let style = match verdict {
            Verdict::Leaking => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
        match verdict {
            _ if !self.has_colours => style,
            Verdict::Leaking => style.fg(Color::Red),
            Verdict::Growing => style.fg(Color::Yellow),
            Verdict::Steady => style.fg(Color::Green),
            Verdict::Unknown => style.fg(Color::DarkGray),
        }
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture, chart: &Chart, is_paused: bool) {
    let [header, course, table, verdict, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(HEIGHT),
        Constraint::Min(3),
        Constraint::Length(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let title = Style::new().add_modifier(Modifier::BOLD);
    let words = format!("withal watch {}", words::header(picture));
    frame.render_widget(Paragraph::new(words).style(title), header);
    let paused = if is_paused { "   paused" } else { "" };
    let help = format!("q quit   p pause   k next kind{paused}");
    frame.render_widget(Paragraph::new(help), keys);
    let Some(report) = picture.model.report(picture.at) else {
        return;
    };
    frame.render_widget(Paragraph::new(rows(&report, chart)), table);
    let sentence = Paragraph::new(words::sentence(&report)).style(chart.style(report.verdict));
    frame.render_widget(sentence.wrap(Wrap { trim: true }), verdict);
    let shown = report.rows().find(|row| row.kind == chart.kind);
    draw_course(frame, shown.unwrap_or(&report.all), chart, course);
}

/// The table, as in the lines for people.
fn rows<'a>(report: &'a Report<'_>, chart: &Chart) -> Vec<Line<'a>> {
    let mut lines = vec![Line::from(plain::heading(report))];
    for row in report.rows() {
        let mark = if row.kind == chart.kind { "▸" } else { " " };
        lines.push(Line::from(vec![
            Span::raw(mark),
            Span::raw(plain::numbers(row)),
            Span::styled(words::verdict(row, report.limit), chart.style(row.verdict)),
        ]));
        if row.kind == Some(Kind::Tcp) {
            let groups = words::groups(report);
            lines.extend(groups.map(|group| Line::from(format!("   {}", words::group(group)))));
        }
    }
    lines
}

/// The course of one kind, in braille: four points to a line, two to a column.
fn draw_course(frame: &mut Frame<'_>, row: &Row<'_>, chart: &Chart, area: ratatui::layout::Rect) {
    let points = row.series.points();
    let points: Vec<(f64, f64)> = points
        .map(|point| (point.at.as_secs_f64(), point.now as f64))
        .collect();
    let trend = &row.trend;
    let ends = (points.first(), points.last());
    let (start, end) = match ends {
        (Some((start, _)), Some((end, _))) => (*start, *end),
        _ => return,
    };
    // A number that never changes is a line in the middle.
    let low = trend.min as f64 - if trend.min == trend.max { 1.0 } else { 0.0 };
    let high = trend.max as f64 + if trend.min == trend.max { 1.0 } else { 0.0 };
    let set = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(chart.style(row.verdict))
        .data(&points);
    let past = format!("-{}", words::time(trend.span));
    let lines = Lines::new(vec![set])
        .block(Block::new().title(format!(" {} {}", row.name(), trend.now)))
        .x_axis(
            Axis::default()
                .bounds([start, end])
                .labels([past, "now".to_owned()]),
        )
        .y_axis(
            Axis::default()
                .bounds([low, high])
                .labels([format!("{low}"), format!("{high}")]),
        );
    frame.render_widget(lines, area);
}
