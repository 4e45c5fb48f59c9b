//! Numbers and verdicts as people read them.

use std::time::Duration;

use super::kind::{Kind, State};
use super::model::{ENOUGH, Group, Report, Row, Verdict};
use super::scan::About;
use super::session::{Ending, Picture};

/// `58 s`, `14 min`, `3 h 12 m`, `5 d 2 h`.
pub(super) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0 if duration.is_zero() => "0 s".to_owned(),
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{seconds} s"),
        120..3_600 => format!("{minutes} min"),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ if days > 3_650 => "over 10 years".to_owned(),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// `+59.8`, `-4.9`, `0`; as many digits as say something.
pub(super) fn rate(per_minute: f64) -> String {
    match per_minute.abs() {
        size if size < 0.05 => "0".to_owned(),
        size if size < 1_000.0 => format!("{per_minute:+.1}"),
        _ => format!("{per_minute:+.0}"),
    }
}

/// `9.0`, or `0`.
pub(super) fn z(z: f64) -> String {
    match z.abs() {
        size if size < 0.05 => "0".to_owned(),
        _ => format!("{z:.1}"),
    }
}

/// `LEAKING  1024 in 14 min`.
pub(super) fn verdict(row: &Row<'_>, limit: Option<u64>) -> String {
    let shown = row.verdict.shown();
    match (row.to_limit, limit) {
        (Some(left), Some(limit)) => format!("{shown}  {limit} in {}", time(left)),
        _ => shown.to_owned(),
    }
}

/// `CLOSE_WAIT 171 → 10.0.0.7:5432 (oldest 58 s, none closed in the window)`.
pub(super) fn group(group: &Group) -> String {
    let (state, count) = (group.state.name(), group.count);
    let peer = group.peer.map(|peer| format!(" {peer}"));
    let peer = peer.unwrap_or_default();
    let oldest = match group.may_be_older {
        true => format!("oldest at least {}", time(group.oldest)),
        false => format!("oldest {}", time(group.oldest)),
    };
    let left = match (group.state, group.left) {
        (State::CloseWait, 0) => ", none closed in the window".to_owned(),
        (State::CloseWait, left) => format!(", {left} closed in the window"),
        _ => String::new(),
    };
    format!("{state} {count}{peer} ({oldest}{left})")
}

/// How many groups are shown.
const GROUPS: usize = 4;

/// The groups worth a line.
pub(super) fn groups<'a>(report: &'a Report<'_>) -> impl Iterator<Item = &'a Group> {
    report.groups.iter().take(GROUPS)
}

/// The verdict, and why.
pub(super) fn sentence(report: &Report<'_>) -> String {
    let worst = report.worst();
    let (name, trend) = (worst.name(), worst.trend);
    let span = time(trend.span);
    let what = match worst.kind {
        Some(_) => format!("{name} went"),
        None => "all descriptors together went".to_owned(),
    };
    let course = format!(
        "{what} from {} to {} in {span}, {} a minute",
        trend.first,
        trend.now,
        rate(trend.slope)
    );
    match report.verdict {
        Verdict::Unknown => {
            let samples = report.kinds.first().map_or(0, |row| row.trend.samples);
            format!("not enough data: {samples} of {ENOUGH} samples")
        }
        Verdict::Steady => {
            format!("steady: over {span} nothing rises beyond its own ups and downs")
        }
        Verdict::Growing if worst.trend.has_rising_floor => {
            format!("growing, but slowly: {course}; a longer `--window` tells whether it goes on")
        }
        Verdict::Growing => format!(
            "growing: {course}, but its low points do not keep rising, as those of a leak do; a \
             longer `--window` tells"
        ),
        Verdict::Leaking => {
            let soonest = worst.to_limit.into_iter().chain(report.all.to_limit).min();
            let limit = match (soonest, report.limit) {
                (Some(left), Some(limit)) => {
                    format!(
                        "; at this rate the limit of {limit} is reached in {}",
                        time(left)
                    )
                }
                _ => String::new(),
            };
            let cause = cause(report, worst).unwrap_or_default();
            format!("LEAKING: {course}, and even its low points keep rising{limit}{cause}")
        }
    }
}

/// Where the sockets that leak come from, if most of them have one cause.
fn cause(report: &Report<'_>, worst: &Row<'_>) -> Option<String> {
    if worst.kind != Some(Kind::Tcp) {
        return None;
    }
    let largest = report.groups.iter().max_by_key(|group| group.count)?;
    if largest.count * 2 <= worst.trend.now {
        return None;
    }
    let peer = largest.peer.map(|peer| format!(" {peer}"));
    let (count, peer) = (largest.count, peer.unwrap_or_default());
    Some(match largest.state {
        State::CloseWait => format!(
            ". {count} of them{peer} wait in CLOSE_WAIT: the other side has closed, this process \
             has not"
        ),
        State::Close => format!(
            ". {count} of them are connected to nobody: their connections are over, or never were"
        ),
        state => format!(". {count} of them{peer} are in {}", state.name()),
    })
}

/// `4711  (api-server, up 3 h 12 min)  sample 1 s, window 60 s, 214/1024 fds, cost 0.9 ms`.
pub(super) fn header(picture: &Picture) -> String {
    let about = &picture.about;
    let report = picture.model.report(picture.at);
    let fds = report.as_ref().map_or_else(|| "0 fds".to_owned(), total);
    let processes = match (about.processes, about.hidden) {
        (1, 0) => String::new(),
        (processes, 0) => format!(" in {processes} processes"),
        (processes, hidden) => format!(" in {processes} processes, {hidden} hidden"),
    };
    let every = match picture.pace.every() {
        1 => String::new(),
        every => format!(" in full, one sample in {every}"),
    };
    format!(
        "{}  ({}, up {})  sample {}, window {}, {fds}{processes}, cost {:.1} ms{every}",
        about.pid,
        about.name,
        time(about.up),
        time(picture.interval),
        time(picture.window),
        picture.pace.cost().as_secs_f64() * 1_000.0
    )
}

/// `214/1024 fds`.
pub(super) fn total(report: &Report<'_>) -> String {
    let now = report.all.trend.now;
    match report.limit {
        Some(limit) => format!("{now}/{limit} fds"),
        None => format!("{now} fds"),
    }
}

/// Why the watch is over, where its user may not know.
pub(super) fn ending(ending: &Ending, about: &About) -> Option<String> {
    let (pid, name) = (about.pid, &about.name);
    match ending {
        Ending::Ended => Some(format!(
            " {pid} ({name}) has ended; this is how it was last"
        )),
        Ending::Lost(lost) => Some(format!(" {pid} ({name}): {lost}")),
        Ending::TimeOver | Ending::Stopped(_) | Ending::Quit => None,
    }
}

/// The same for programs.
pub(super) fn ending_key(ending: &Ending) -> &'static str {
    match ending {
        Ending::Ended => "process",
        Ending::Lost(_) => "lost",
        Ending::TimeOver => "time",
        Ending::Stopped(_) | Ending::Quit => "asked",
    }
}
