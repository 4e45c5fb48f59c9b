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

/// From this width on, the table has sparklines, too.
const WIDE: u16 = 110;

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
        let kinds = report.kinds.iter().filter_map(|row| row.kind);
        self.kind = kinds.filter(|kind| Some(*kind) > self.kind).min();
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
    frame.render_widget(Paragraph::new(rows(&report, chart, table.width)), table);
    let sentence = Paragraph::new(words::sentence(&report)).style(chart.style(report.verdict));
    frame.render_widget(sentence.wrap(Wrap { trim: true }), verdict);
    let shown = report.rows().find(|row| row.kind == chart.kind);
    draw_course(frame, shown.unwrap_or(&report.all), chart, course);
}

/// The table, as in the lines for people.
fn rows<'a>(report: &'a Report<'_>, chart: &Chart, width: u16) -> Vec<Line<'a>> {
    // The verdict matters more than the sparklines.
    let columns = if width < WIDE { 0 } else { plain::COLUMNS };
    let mut lines = vec![Line::from(plain::heading(report, columns))];
    for row in report.rows() {
        let mark = if row.kind == chart.kind { "▸" } else { " " };
        lines.push(Line::from(vec![
            Span::raw(mark),
            Span::raw(plain::numbers(row, columns)),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::unistd::Pid;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::Color;

    use super::super::super::kind::{Census, Kind, Peer, Socket, SocketKey, State};
    use super::super::super::model::Model;
    use super::super::super::pace::Pace;
    use super::super::super::scan::About;
    use super::{Chart, Picture, draw};

    /// A process that keeps a socket a second, whose peer has closed, for half a minute.
    fn picture() -> Picture {
        let window = Duration::from_secs(60);
        let mut model = Model::new(window);
        for second in 0..30_u32 {
            let sockets = (0..=second).map(|descriptor| Socket {
                key: SocketKey {
                    pid: 4711,
                    descriptor,
                    inode: u64::from(descriptor),
                },
                state: State::CloseWait,
                peer: Some(Peer::Server(([10, 0, 0, 7], 5432).into())),
            });
            let census = Census {
                counts: [(Kind::Tcp, u64::from(second) + 1), (Kind::File, 27)].into(),
                sockets: sockets.collect(),
            };
            model.note(Duration::from_secs(second.into()), &census, Some(1_024));
        }
        let mut pace = Pace::new(Duration::from_secs(1), 0.005);
        pace.note(true, Duration::from_micros(900));
        Picture {
            about: About {
                pid: Pid::from_raw(4711),
                name: "api-server".to_owned(),
                up: Duration::from_secs(3 * 3_600 + 12 * 60),
                limit: Some(1_024),
                processes: 1,
                hidden: 0,
            },
            model,
            at: Duration::from_secs(29),
            is_full: true,
            pace,
            interval: Duration::from_secs(1),
            window,
        }
    }

    fn drawn(chart: &Chart, is_paused: bool) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(100, 24)).unwrap();
        let picture = picture();
        let _ = terminal
            .draw(|frame| draw(frame, &picture, chart, is_paused))
            .unwrap();
        terminal
    }

    #[track_caller]
    fn check(terminal: &Terminal<TestBackend>, lines: &[&str]) {
        let screen = terminal.backend().to_string();
        for line in lines {
            assert!(screen.contains(line), "no `{line}` in\n{screen}");
        }
    }

    #[test]
    fn the_screen_says_what_the_lines_say() {
        let terminal = drawn(&Chart::new(true), false);
        check(
            &terminal,
            &[
                "withal watch 4711  (api-server, up 3 h 12 min)  sample 1 s, window 60 s, 57/1024 fds, cost 0.9 ms",
                "all 57",
                "tcp           30      1     30       +60.0    7.7",
                "LEAKING  1024 in 16 min",
                "CLOSE_WAIT 30 → 10.0.0.7:5432 (oldest at least 29 s, none closed in the window)",
                "file          27     27     27           0      0",
                "steady",
                "LEAKING: tcp went from 1 to 30 in 29 s, +60.0 a minute",
                "q quit   p pause   k next kind",
            ],
        );
        let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
        assert!(terminal.backend().to_string().contains(is_braille));
    }

    #[test]
    fn a_key_goes_on_to_the_next_kind_and_back_to_all() {
        let mut chart = Chart::new(true);
        for title in [" tcp 30", " file 27", " all 57", " tcp 30"] {
            chart.next(&picture());
            check(&drawn(&chart, false), &[title]);
        }
    }

    #[test]
    fn a_pause_is_shown() {
        check(&drawn(&Chart::new(true), true), &["k next kind   paused"]);
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        for (has_colours, expected) in [(true, true), (false, false)] {
            let terminal = drawn(&Chart::new(has_colours), false);
            let cells = &terminal.backend().buffer().content;
            let is_coloured = cells.iter().any(|cell| cell.fg != Color::Reset);
            assert_eq!(is_coloured, expected);
        }
    }

    #[test]
    fn a_small_terminal_is_no_problem() {
        for (width, height) in [(1, 1), (10, 3), (20, 60), (300, 5)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let chart = Chart::new(true);
            let _ = terminal
                .draw(|frame| draw(frame, &picture(), &chart, false))
                .unwrap();
        }
    }
}
