//! The async half of the behaviours of `contextlib`, by number; see `docs/contextlib.md`.
