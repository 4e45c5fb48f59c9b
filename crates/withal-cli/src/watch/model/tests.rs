//! Statistics against what they mean, and verdicts against stories.

use std::time::Duration;

use proptest::prelude::*;

use super::super::kind::{Census, Kind, Peer, Socket, SocketKey, State};
use super::statistics::{kendall_sum, kendall_variance, mann_kendall, theil_sen};
use super::{Group, Model, Verdict};

/// A sample a second, over a minute.
const WINDOW: Duration = Duration::from_secs(60);

#[track_caller]
fn check_near(found: f64, expected: f64) {
    let size = expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= 1e-9 * size,
        "{found}, not {expected}"
    );
}

/// All orders of `values`, by Heap's algorithm.
fn orders(values: &mut Vec<u64>, length: usize, visit: &mut impl FnMut(&[u64])) {
    if length <= 1 {
        return visit(values);
    }
    for index in 0..length {
        orders(values, length - 1, visit);
        let other = if length.is_multiple_of(2) { index } else { 0 };
        values.swap(other, length - 1);
    }
}

#[test]
fn mann_kendall_has_the_values_of_the_textbooks() {
    // Gilbert, Statistical Methods for Environmental Pollution Monitoring (1987), section 16.4:
    // n rising values have S = n (n - 1) / 2 and the variance n (n - 1) (2 n + 5) / 18.
    let rising: Vec<u64> = (1..=10).collect();
    assert_eq!(kendall_sum(&rising), 45);
    check_near(kendall_variance(&rising), 125.0);
    check_near(mann_kendall(&rising), 44.0 / 125_f64.sqrt());
    let falling: Vec<u64> = (1..=10).rev().collect();
    check_near(mann_kendall(&falling), -44.0 / 125_f64.sqrt());
    // With ties of two, two and three: (9 · 8 · 23 − 2 · 18 − 66) / 18.
    let tied = [1, 1, 2, 3, 3, 3, 4, 5, 5];
    assert_eq!(kendall_sum(&tied), 31);
    check_near(kendall_variance(&tied), (1_656.0 - 36.0 - 66.0) / 18.0);
    for same in [&[][..], &[7], &[7, 7, 7, 7]] {
        check_near(mann_kendall(same), 0.0);
    }
}

#[test]
fn theil_sen_gives_the_slope_of_a_line_and_does_not_mind_wild_points() {
    assert_eq!(theil_sen(&[]), None);
    assert_eq!(theil_sen(&[(1.0, 1.0)]), None);
    assert_eq!(theil_sen(&[(1.0, 1.0), (1.0, 2.0)]), None);
    let mut line: Vec<(f64, f64)> = (0..40)
        .map(|x| (f64::from(x), 3.0 * f64::from(x)))
        .collect();
    check_near(theil_sen(&line).unwrap(), 3.0);
    for point in line.iter_mut().step_by(4) {
        point.1 = 1e6;
    }
    let slope = theil_sen(&line).unwrap();
    assert!((2.5..=3.5).contains(&slope), "{slope}");
}

proptest! {
    #[test]
    fn the_variance_is_that_of_all_orders(mut values in prop::collection::vec(0_u64..4, 1..7)) {
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        let length = values.len();
        orders(&mut values, length, &mut |order| {
            let s = kendall_sum(order) as f64;
            count += 1.0;
            sum += s;
            squares += s * s;
        });
        check_near(sum, 0.0);
        check_near(kendall_variance(&values), squares / count);
    }

    #[test]
    fn only_the_order_of_values_matters_to_the_trend(values in prop::collection::vec(0_u64..50, 2..40)) {
        let z = mann_kendall(&values);
        let stretched: Vec<u64> = values.iter().map(|value| value * value + 7).collect();
        check_near(mann_kendall(&stretched), z);
        let reversed: Vec<u64> = values.iter().copied().rev().collect();
        check_near(mann_kendall(&reversed), -z);
    }

    #[test]
    fn the_slope_is_the_middle_one_of_all(values in prop::collection::vec(0_u32..50, 2..20)) {
        let points: Vec<(f64, f64)> =
            values.iter().zip(0_u32..).map(|(y, x)| (f64::from(x), f64::from(*y))).collect();
        let mut slopes = Vec::new();
        for first in 0..points.len() {
            for second in first + 1..points.len() {
                let ((x1, y1), (x2, y2)) = (points[first], points[second]);
                slopes.push((y2 - y1) / (x2 - x1));
            }
        }
        slopes.sort_by(f64::total_cmp);
        let middle = slopes.len() / 2;
        let median = match slopes.len() % 2 {
            0 => (slopes[middle - 1] + slopes[middle]) / 2.0,
            _ => slopes[middle],
        };
        check_near(theil_sen(&points).unwrap(), median);
    }

    /// Whatever the noise on it, a leak that is faster than the noise is called one.
    #[test]
    fn a_leak_under_noise_is_found(noise in prop::collection::vec(0_u64..10, 60)) {
        let values: Vec<u64> = noise.iter().zip(0..).map(|(noise, n): (_, u64)| 20 + noise + n).collect();
        let model = files(&values);
        prop_assert_eq!(model.report(WINDOW).unwrap().verdict, Verdict::Leaking);
    }
}

/// What has no trend is called a leak once in 48,000 times: z is beyond 3.3 by chance in one of
/// 2,000, and four low points are in rising order in one of 24.
#[test]
fn numbers_in_random_order_are_no_leak() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut verdict = |range: u64| {
        let values: Vec<u64> = (0..60).map(|_| random() % range).collect();
        files(&values).report(WINDOW).unwrap().verdict
    };
    for range in [2, 10, 1_000] {
        let verdicts: Vec<Verdict> = (0..1_000).map(|_| verdict(range)).collect();
        let count = |wanted| {
            verdicts
                .iter()
                .filter(|verdict| **verdict == wanted)
                .count()
        };
        assert_eq!(count(Verdict::Leaking), 0, "below {range}");
        assert!(count(Verdict::Growing) <= 3, "below {range}");
    }
}

fn census(kind: Kind, count: u64) -> Census {
    Census {
        counts: [(kind, count)].into(),
        sockets: Vec::new(),
    }
}

/// A model that has seen as many files each second.
fn files(values: &[u64]) -> Model {
    let mut model = Model::new(WINDOW);
    for (second, value) in (0..).zip(values) {
        model.note(
            Duration::from_secs(second),
            &census(Kind::File, *value),
            Some(1_024),
        );
    }
    model
}

#[track_caller]
fn check(values: &[u64], expected: Verdict) {
    let model = files(values);
    let at = Duration::from_secs(values.len() as u64);
    let report = model.report(at).unwrap();
    assert_eq!(report.verdict, expected, "{values:?}");
}

#[test]
fn stories_have_their_verdicts() {
    let seconds = 0..60_u64;
    // One more each second, and one more every ten seconds.
    check(&seconds.clone().collect::<Vec<_>>(), Verdict::Leaking);
    let slow: Vec<u64> = seconds.clone().map(|n| 20 + n / 10).collect();
    check(&slow, Verdict::Leaking);
    // Nothing happens; a pool breathes; it all goes away.
    check(&[27; 60], Verdict::Steady);
    let breathing: Vec<u64> = seconds
        .clone()
        .map(|n| 20 + [0, 3, 9, 4, 1, 7][(n % 6) as usize])
        .collect();
    check(&breathing, Verdict::Steady);
    check(&seconds.clone().rev().collect::<Vec<_>>(), Verdict::Steady);
    // A log file is opened late: it rises, once.
    let step: Vec<u64> = seconds
        .clone()
        .map(|n| if n < 30 { 10 } else { 11 })
        .collect();
    check(&step, Verdict::Growing);
    // A load comes up and stays.
    let ramp: Vec<u64> = seconds.clone().map(|n| n.min(20)).collect();
    check(&ramp, Verdict::Growing);
    // Too few to say.
    check(
        &seconds.clone().take(19).collect::<Vec<_>>(),
        Verdict::Unknown,
    );
    check(&seconds.take(20).collect::<Vec<_>>(), Verdict::Leaking);
}

#[test]
fn what_rises_less_than_once_in_two_minutes_only_grows() {
    let window = Duration::from_secs(3_600);
    let mut model = Model::new(window);
    for minute in 0..60_u64 {
        let at = Duration::from_secs(60 * minute);
        model.note(at, &census(Kind::File, 100 + minute / 3), None);
    }
    let report = model.report(window).unwrap();
    assert_eq!(report.verdict, Verdict::Growing);
    assert!(report.all.trend.has_rising_floor);
}

#[test]
fn the_window_slides() {
    let mut values: Vec<u64> = (0..60).collect();
    values.extend([60; 60]);
    let model = files(&values);
    let report = model.report(Duration::from_secs(120)).unwrap();
    assert_eq!(report.verdict, Verdict::Steady);
    assert_eq!((report.all.trend.min, report.all.trend.max), (59, 60));
    assert_eq!(report.all.trend.span, WINDOW);
}

#[test]
fn samples_that_come_faster_share_points_and_lose_no_extreme() {
    let mut model = Model::new(WINDOW);
    for millisecond in 0..60_000_u64 {
        let spike = if millisecond == 31_234 { 500 } else { 5 };
        let at = Duration::from_millis(millisecond);
        model.note(at, &census(Kind::Pipe, spike), None);
    }
    let report = model.report(WINDOW).unwrap();
    assert!(report.all.trend.samples <= 121, "{:?}", report.all.trend);
    assert_eq!((report.all.trend.min, report.all.trend.max), (5, 500));
}

#[test]
fn a_window_with_too_few_samples_keeps_older_ones() {
    let mut model = Model::new(WINDOW);
    for sample in 0..40_u64 {
        let at = Duration::from_secs(30 * sample);
        model.note(at, &census(Kind::Pipe, 40 * sample), None);
    }
    let report = model.report(Duration::from_secs(1_200)).unwrap();
    assert_eq!(report.all.trend.samples, 20);
    assert_eq!(report.verdict, Verdict::Leaking);
}

#[test]
fn the_limit_is_reached_when_the_slope_says_so() {
    let model = files(&(0..60).collect::<Vec<_>>());
    let report = model.report(WINDOW).unwrap();
    let left = report.worst().to_limit.unwrap();
    assert_eq!(left.as_secs(), 1_024 - 59);
    assert_eq!(report.worst().kind, Some(Kind::File));
}

#[test]
fn a_total_that_leaks_is_told_before_the_kinds_are_known() {
    let mut model = Model::new(WINDOW);
    model.note(Duration::ZERO, &census(Kind::File, 1), None);
    for second in 1..30_u64 {
        model.note_total(Duration::from_secs(second), 1);
    }
    let at = Duration::from_secs(30);
    assert_eq!(model.report(at).unwrap().verdict, Verdict::Unknown);
    for second in 30..90_u64 {
        model.note_total(Duration::from_secs(second), second);
    }
    let report = model.report(Duration::from_secs(90)).unwrap();
    assert_eq!(report.verdict, Verdict::Leaking);
    assert_eq!(report.worst().kind, None);
}

fn peer(port: u16) -> Option<Peer> {
    Some(Peer::Server(([10, 0, 0, 7], port).into()))
}

fn socket(descriptor: u32, state: State, peer: Option<Peer>) -> Socket {
    Socket {
        key: SocketKey {
            pid: 1,
            descriptor,
            inode: u64::from(descriptor),
        },
        state,
        peer,
    }
}

#[test]
fn sockets_are_grouped_by_state_and_peer_with_their_ages() {
    let mut model = Model::new(WINDOW);
    let mut note = |second: u64, sockets: &[Socket]| {
        let census = Census {
            counts: [(Kind::Tcp, sockets.len() as u64)].into(),
            sockets: sockets.to_vec(),
        };
        model.note(Duration::from_secs(second), &census, None);
    };
    let open = |descriptor| socket(descriptor, State::Established, peer(5432));
    let half_closed = |descriptor| socket(descriptor, State::CloseWait, peer(5432));
    note(0, &[open(3), open(4), open(5), half_closed(6)]);
    note(10, &[half_closed(3), open(4), open(5), half_closed(6)]);
    note(20, &[half_closed(3), half_closed(4), open(5)]);
    // The number is used again, by another socket.
    let other = SocketKey {
        pid: 1,
        descriptor: 5,
        inode: 99,
    };
    let again = Socket {
        key: other,
        ..open(5)
    };
    note(30, &[half_closed(3), half_closed(4), again]);
    let report = model.report(Duration::from_secs(31)).unwrap();
    let group = |state, count, oldest, left| Group {
        state,
        peer: peer(5432),
        count,
        oldest: Duration::from_secs(oldest),
        may_be_older: false,
        left,
    };
    assert_eq!(
        report.groups,
        [
            group(State::CloseWait, 2, 21, 1),
            group(State::Established, 1, 1, 3),
        ]
    );
}

#[test]
fn a_socket_that_was_there_from_the_start_may_be_older_than_is_known() {
    let mut model = Model::new(WINDOW);
    let census = Census {
        counts: [(Kind::Tcp, 1)].into(),
        sockets: vec![socket(3, State::CloseWait, peer(80))],
    };
    model.note(Duration::ZERO, &census, None);
    let report = model.report(Duration::from_secs(5)).unwrap();
    assert!(report.groups[0].may_be_older);
    assert_eq!(report.groups[0].left, 0);
}
