//! What a run is called, in its journal, its command's environment and the names it chooses.

use std::fmt;
use std::io;
use std::str::FromStr;

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

/// 128 random bits, written as 32 hexadecimal digits.
///
/// Names that gates choose contain it, so that they are known before there is anything so named,
/// and nobody else chooses them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct RunId(u128);

impl RunId {
    pub(crate) fn random() -> anyhow::Result<RunId> {
        let mut bytes = [0; size_of::<u128>()];
        loop {
            // So few come in one piece.
            match getrandom(&mut bytes, GetRandomFlags::empty()) {
                Ok(_) => return Ok(RunId(u128::from_ne_bytes(bytes))),
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error)).context("no random numbers"),
            }
        }
    }

    /// The first 16 digits, for names with a limit.
    pub(crate) fn short(self) -> String {
        format!("{:016x}", self.0 >> 64)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<RunId, &'static str> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_written_so = text.len() == 32 && text.bytes().all(is_digit);
        let number = u128::from_str_radix(text, 16).ok();
        let number = number.filter(|_| is_written_so);
        number
            .map(RunId)
            .ok_or("not a run's id: 32 hexadecimal digits")
    }
}

impl TryFrom<String> for RunId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<RunId, &'static str> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.to_string()
    }
}
