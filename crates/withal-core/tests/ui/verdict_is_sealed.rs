//! There are two verdicts, and no third.

#[derive(Debug)]
struct Maybe;

impl withal_core::Verdict for Maybe {
    type Output<T> = T;
}

fn main() {}
