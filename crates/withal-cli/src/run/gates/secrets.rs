//! Values that do not belong into logs.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use aho_corasick::{AhoCorasick, MatchKind};
use anyhow::Context as _;

use crate::message::MASK;

/// Lines of a secret of several lines that are shorter are no secrets: a brace, for one.
const LEAST_LINE: usize = 4;

/// Values that do not belong into logs. Its clones are the same one; `Debug` shows none of them.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    values: Vec<Vec<u8>>,
    finder: Option<AhoCorasick>,
}

impl Secrets {
    /// Adds values. Logs are lines, so each line of a value is a secret of its own.
    pub(super) fn add<'a>(
        &self,
        values: impl IntoIterator<Item = &'a OsStr>,
    ) -> anyhow::Result<()> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for value in values {
            let lines: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b'\n').collect();
            let least = if lines.len() > 1 { LEAST_LINE } else { 1 };
            let lines = lines.into_iter().map(<[u8]>::trim_ascii_end);
            let lines = lines.filter(|line| line.len() >= least);
            known.values.extend(lines.map(<[u8]>::to_vec));
        }
        if !known.values.is_empty() {
            let finder = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&known.values);
            known.finder = Some(finder.context("too many secrets")?);
        }
        Ok(())
    }

    /// The text without them.
    pub(crate) fn mask<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let known = self.known();
        match &known.finder {
            Some(finder) if finder.is_match(text) => {
                let masks = vec![MASK; known.values.len()];
                Cow::Owned(finder.replace_all_bytes(text, &masks))
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// Where the text, which goes on, can be cut so that no secret is, as near to its end as that
    /// can be.
    pub(super) fn cut(&self, text: &[u8]) -> usize {
        let known = self.known();
        let Some(finder) = &known.finder else {
            return text.len();
        };
        let longest = known.values.iter().map(Vec::len).max().unwrap_or_default();
        // One may begin in what is left.
        let end = text.len().saturating_sub(longest.saturating_sub(1));
        let mut found = finder.find_iter(text);
        found
            .find(|found| found.end() > end)
            .map_or(end, |found| found.start().min(end))
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({MASK})")
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use proptest::prelude::*;

    use super::Secrets;

    fn secrets(values: &[&str]) -> Secrets {
        let secrets = Secrets::default();
        secrets.add(values.iter().map(OsStr::new)).unwrap();
        secrets
    }

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        let check = |values: &[&str], text: &str, expected: &str| {
            let masked = secrets(values).mask(text.as_bytes()).into_owned();
            assert_eq!(String::from_utf8(masked).unwrap(), expected, "{text}");
        };
        check(&[], "open", "open");
        check(&[""], "open", "open");
        check(&["s3cret"], "a s3cret, s3cret\n", "a ***, ***\n");
        check(&["abc", "abcdef"], "abcdef abcde", "*** ***de");
        check(&["{\n  key: 1\r\n}"], "{\n  key: 1\n}\n", "{\n***\n}\n");
    }

    #[test]
    fn they_are_not_shown() {
        assert_eq!(format!("{:?}", secrets(&["s3cret"])), "Secrets(***)");
    }

    proptest! {
        #[test]
        fn wherever_a_text_is_cut_no_secret_is(
            text in "[abc]{0,40}",
            values in prop::collection::vec("[abc]{1,5}", 0..4),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let secrets = secrets(&values);
            let whole = secrets.mask(text.as_bytes());
            for end in 0..=text.len() {
                let (first, _) = text.as_bytes().split_at(end);
                let (first, _) = first.split_at(secrets.cut(first));
                let (_, rest) = text.as_bytes().split_at(first.len());
                let parts = [secrets.mask(first), secrets.mask(rest)].concat();
                prop_assert_eq!(&parts, &whole.to_vec(), "{:?}", text);
            }
        }
    }
}
