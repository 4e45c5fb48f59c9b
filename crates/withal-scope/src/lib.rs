//! Awaited teardown for tokio: scopes whose exits run in reverse order, exactly once, on every path, cancellation included.
