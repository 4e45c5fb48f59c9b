//! What was meant by a word that is not known.

/// How alike two words must be, from 0 to 1; the command line's options are compared so, too.
const ALIKE: f64 = 0.7;

/// The one of `known` that `word` is most like, if it is like any.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known
        .into_iter()
        .map(|known| (strsim::jaro(word, known), known));
    let alike = rated.filter(|(likeness, _)| *likeness > ALIKE);
    let nearest = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
    nearest.map(|(_, known)| known)
}

/// `did you mean …?`, or what there is.
pub(crate) fn instead(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => match known {
            [] => "there are none".to_owned(),
            [one] => format!("there is `{one}`"),
            several => format!("there are {}", several.join(", ")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::instead;

    #[test]
    fn a_word_that_is_like_a_known_one_is_suggested() {
        let check = |word: &str, expected: &str| {
            assert_eq!(instead(word, &["tempdir", "lock"]), expected, "{word}");
        };
        check("tmpdir", "did you mean `tempdir`?");
        check("tempdri", "did you mean `tempdir`?");
        check("locks", "did you mean `lock`?");
        check("elephant", "there are tempdir, lock");
        check("", "there are tempdir, lock");
    }
}
