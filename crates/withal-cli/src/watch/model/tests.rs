//! Statistics against what they mean, and verdicts against stories.
