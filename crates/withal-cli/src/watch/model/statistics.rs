//! Whether numbers rise, and how fast: two estimators that assume no distribution.

/// The median slope between any two of `points`, in y per x; nothing if all share one x.
///
/// It stays right while up to 29 % of the points are wild: Sen, *Estimates of the regression
/// coefficient based on Kendall's tau*, 1968.
pub(in super::super) fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes: Vec<f64> = pairs(points)
        .filter(|((x1, _), (x2, _))| x1 != x2)
        .map(|((x1, y1), (x2, y2))| (y2 - y1) / (x2 - x1))
        .collect();
    median(&mut slopes)
}

/// How many standard deviations the order of `values` is away from chance; positive if they rise.
///
/// The statistic of Mann (1945) and Kendall (1975), its variance corrected for ties, with the
/// correction for continuity. 0 for values that are all the same.
pub(in super::super) fn mann_kendall(values: &[u64]) -> f64 {
    let sum = kendall_sum(values);
    let variance = kendall_variance(values);
    match variance > 0.0 {
        true => (sum - sum.signum()) as f64 / variance.sqrt(),
        false => 0.0,
    }
}

/// Pairs that rise, less pairs that fall.
pub(super) fn kendall_sum(values: &[u64]) -> i64 {
    pairs(values)
        .map(|(earlier, later)| later.cmp(&earlier) as i64)
        .sum()
}

/// The variance of that sum over all orders of `values`.
pub(super) fn kendall_variance(values: &[u64]) -> f64 {
    let term = |n: usize| {
        let n = n as f64;
        n * (n - 1.0) * (2.0 * n + 5.0)
    };
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let ties = sorted.chunk_by(PartialEq::eq).map(|tied| term(tied.len()));
    (term(values.len()) - ties.sum::<f64>()) / 18.0
}

fn pairs<T: Copy>(items: &[T]) -> impl Iterator<Item = (T, T)> {
    let firsts = items.iter().enumerate();
    firsts.flat_map(|(index, first)| items.iter().skip(index + 1).map(|second| (*first, *second)))
}

/// The middle, or the mean of the two in the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    let lower = below.iter().copied().max_by(f64::total_cmp);
    match lower {
        Some(lower) if is_even => Some((lower + upper) / 2.0),
        _ => Some(upper),
    }
}
