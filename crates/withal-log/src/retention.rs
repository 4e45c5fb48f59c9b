//! Removing segments that are old, or too many.

use std::sync::Arc;

use serde_json::json;

use crate::error::LogError;
use crate::events;
use crate::files::Files;
use crate::options::Settings;
use crate::storage::Storage;

/// Removes what the settings do not keep, oldest first; never the last segment.
pub(crate) fn apply(
    storage: &Arc<dyn Storage>,
    settings: &Settings,
    now: u64,
) -> Result<(), LogError> {
    if settings.keep_size.is_none() && settings.keep_age.is_none() {
        return Ok(());
    }
    let files = Files::list(storage)?;
    let mut sizes = Vec::new();
    for segment in files.segments() {
        sizes.push(segment.disk_size(storage)?);
    }
    let mut total: u64 = sizes.iter().sum();
    let mut next = files.segments().iter().skip(1);
    for (segment, size) in files.segments().iter().zip(sizes) {
        // The lines of a segment are older than the one after it.
        let Some(next) = next.next() else { break };
        let is_old = settings.keep_age.is_some_and(|keep| {
            let age = now.saturating_sub(next.name.made_ms());
            u128::from(age) > keep.as_millis()
        });
        if !is_old && settings.keep_size.is_none_or(|keep| total <= keep) {
            break;
        }
        segment.remove(storage)?;
        total -= size;
        let facts = json!({ "segment": segment.name.to_string(), "bytes": size });
        events::note(storage, now, "segment removed", &facts);
    }
    Ok(())
}

/// Removes the oldest segment, if there is more than one.
pub(crate) fn prune(storage: &Arc<dyn Storage>) -> Result<bool, LogError> {
    let files = Files::list(storage)?;
    match files.segments() {
        [oldest, _, ..] => oldest.remove(storage).map(|()| true),
        _ => Ok(false),
    }
}
