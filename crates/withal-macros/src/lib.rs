//! Attribute macros of withal: contextmanager, asynccontextmanager, with, main.
