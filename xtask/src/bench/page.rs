//! The report in docs/benchmarks.md: each benchmark owns what stands between its two markers.

use anyhow::{Result, bail};

/// The page with this benchmark's part replaced.
pub(super) fn replace(page: &str, name: &str, report: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- bench:{name} -->"),
        format!("<!-- /bench:{name} -->"),
    );
    let parts = page
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let Some((before, after)) = parts else {
        bail!("the page has no part between `{begin}` and `{end}`");
    };
    Ok(format!("{before}{begin}\n{report}{end}{after}"))
}
