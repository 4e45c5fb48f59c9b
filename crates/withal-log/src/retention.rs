//! Removing segments that are old, or too many.

use std::sync::Arc;

use serde_json::json;

use crate::compress::Shrunk;
use crate::error::LogError;
use crate::events::Event;
use crate::files::Files;
use crate::name::Name;
use crate::options::Settings;
use crate::storage::Storage;

/// A segment that is gone.
#[derive(Debug)]
pub(crate) struct Removed {
    /// How much of the disk it took.
    pub(crate) bytes: u64,
}

/// Removes what the settings do not keep, oldest first; never the last segment. What is not
/// compressed yet, behind the one in `waiting`, counts as what compression makes of it.
pub(crate) fn apply(
    storage: &Arc<dyn Storage>,
    settings: &Settings,
    now: u64,
    waiting: Option<(&Name, Shrunk)>,
    events: &mut Vec<Event>,
) -> Result<(), LogError> {
    if settings.keep_size.is_none() && settings.keep_age.is_none() {
        return Ok(());
    }
    let files = Files::list(storage)?;
    let Some((last, ended)) = files.segments().split_last() else {
        return Ok(());
    };
    // What each takes, and counts as.
    let mut sizes = Vec::new();
    let mut total = last.disk_size(storage)?;
    for segment in ended {
        let bytes = segment.disk_size(storage)?;
        let size = match waiting {
            Some((name, shrunk)) if segment.has_text && segment.name > *name => shrunk.of(bytes),
            _ => bytes,
        };
        sizes.push((bytes, size));
        total += size;
    }
    let following = ended.iter().skip(1).chain([last]);
    for ((segment, (bytes, size)), next) in ended.iter().zip(sizes).zip(following) {
        // The lines of a segment are older than the one after it.
        let is_old = settings.keep_age.is_some_and(|keep| {
            let age = now.saturating_sub(next.name.made_ms());
            u128::from(age) > keep.as_millis()
        });
        if !is_old && settings.keep_size.is_none_or(|keep| total <= keep) {
            break;
        }
        segment.remove(storage)?;
        total -= size;
        let facts = json!({ "segment": segment.name.to_string(), "bytes": bytes });
        events.push(Event::new("segment removed", facts));
    }
    Ok(())
}

/// Removes the oldest segment, if there is more than one.
pub(crate) fn prune(storage: &Arc<dyn Storage>) -> Result<Option<Removed>, LogError> {
    let files = Files::list(storage)?;
    let [oldest, _, ..] = files.segments() else {
        return Ok(None);
    };
    let bytes = oldest.disk_size(storage)?;
    oldest.remove(storage)?;
    Ok(Some(Removed { bytes }))
}
