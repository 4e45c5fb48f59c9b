//! What to do about a server that cannot be connected to.

use std::error::Error;
use std::io;

/// For the innermost reason, as far as it is known.
pub(super) fn remedy(reason: &(dyn Error + 'static), code: Option<&str>) -> Option<&'static str> {
    match code {
        Some("28P01") => return Some(PASSWORD),
        Some("28000") => {
            return Some(
                "its pg_hba.conf says who may come from where, and `sslmode`, `sslcert` and \
                 `sslkey` how",
            );
        }
        Some("3D000") => return Some("create it, or name another at the end of the URL"),
        Some("53300") => return Some("lower `max_connections` here, or raise it on the server"),
        Some("57P03") => return Some("the server is about to start or to stop: try again"),
        Some(_) => return None,
        None => {}
    }
    let io = reason.downcast_ref::<io::Error>();
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            return Some("is the server running, and listening there?");
        }
        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => return Some(OTHER),
        _ => {}
    }
    let text = reason.to_string();
    let known = [
        (
            "does not support TLS",
            "say `sslmode=disable`, or set up TLS on the server",
        ),
        ("not valid for", NAME),
        ("dns name", "TLS needs a host that is a name or an address"),
        (
            "certificate",
            "name the certificate of its authority by `sslrootcert=FILE`",
        ),
        ("password", PASSWORD),
        ("message", OTHER),
    ];
    let known = known.iter().find(|(words, _)| text.contains(words));
    // What the system has not said was found wrong by whoever reads the messages.
    let is_garbled = io.is_some_and(|error| error.raw_os_error().is_none());
    known
        .map(|(_, remedy)| *remedy)
        .or(is_garbled.then_some(OTHER))
}

const NAME: &str =
    "the host in the URL has to be one that it is for; `sslmode=verify-ca` does not look";
const PASSWORD: &str =
    "check user and password, in the URL, in PGUSER and PGPASSWORD, or in ~/.pgpass";
const OTHER: &str = "is it a Postgres?";
