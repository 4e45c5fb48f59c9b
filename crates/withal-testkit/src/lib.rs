//! Fault and cancellation injection, and laws, for whoever writes a context manager.
