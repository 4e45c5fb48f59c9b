//! Ended segments as seekable zstd: independent frames, and a table of them at the end.
//!
//! It is the seekable format of zstd's `contrib/seekable_format`; `zstdcat` and `zstdgrep` read it
//! as any other file.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::name::Name;
use crate::storage::{File, Storage};

/// How much text one frame holds.
const FRAME: usize = 1 << 20;
const SKIPPABLE: u32 = 0x184D_2A5E;
const SEEKABLE: u32 = 0x8F92_EAB1;
/// An entry of the table: the sizes of a frame, compressed and not.
const ENTRY: usize = 8;
/// The number of frames, a descriptor, and the magic number.
const FOOTER: usize = 9;

/// What compression made of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shrunk {
    from: u64,
    to: u64,
}

impl Default for Shrunk {
    /// As if nothing became smaller.
    fn default() -> Shrunk {
        Shrunk { from: 1, to: 1 }
    }
}

impl Shrunk {
    /// What it would make of so many bytes.
    pub(crate) fn of(self, size: u64) -> u64 {
        let of = u128::from(size) * u128::from(self.to) / u128::from(self.from.max(1));
        u64::try_from(of).unwrap_or(size)
    }
}

/// Compresses a segment: when this returns, the compressed file is durable and the text is gone.
///
/// At any moment there is one of the two, whole, and of an attempt that fails nothing is left.
pub(crate) fn compress(storage: &Arc<dyn Storage>, name: &Name, level: i32) -> io::Result<Shrunk> {
    let temporary = format!(".{}.new", name.compressed());
    remove_if_any(storage, &temporary)?;
    let shrunk = write(storage, name, &temporary, level);
    if let Err(error) = &shrunk
        && let Err(second) = remove_if_any(storage, &temporary)
    {
        let both = format!("{error}; nor can `{temporary}` be removed: {second}");
        return Err(io::Error::new(error.kind(), both));
    }
    shrunk
}

fn remove_if_any(storage: &Arc<dyn Storage>, file: &str) -> io::Result<()> {
    match storage.remove(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(
    storage: &Arc<dyn Storage>,
    name: &Name,
    temporary: &str,
    level: i32,
) -> io::Result<Shrunk> {
    let text = storage.open(&name.text(), false)?;
    let into = storage.create(temporary)?;
    let put = |bytes: &[u8]| into.append_all(bytes).map_err(|(_, error)| error);
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    let mut table = Vec::new();
    let mut buffer = vec![0; FRAME];
    let mut at = 0;
    loop {
        let read = text.read_full(&mut buffer, at)?;
        let (piece, _) = buffer.split_at(read);
        if piece.is_empty() {
            break;
        }
        let frame = compressor.compress(piece)?;
        put(&frame)?;
        table.extend_from_slice(&small(frame.len())?.to_le_bytes());
        table.extend_from_slice(&small(piece.len())?.to_le_bytes());
        at += read as u64;
    }
    let frames = small(table.len() / ENTRY)?;
    put(&SKIPPABLE.to_le_bytes())?;
    put(&small(table.len() + FOOTER)?.to_le_bytes())?;
    put(&table)?;
    put(&frames.to_le_bytes())?;
    put(&[0])?;
    put(&SEEKABLE.to_le_bytes())?;
    into.sync_data()?;
    let shrunk = Shrunk {
        from: at,
        to: into.size()?,
    };
    storage.rename(temporary, &name.compressed())?;
    storage.sync()?;
    storage.remove(&name.text())?;
    storage.sync()?;
    Ok(shrunk)
}

fn small(number: usize) -> io::Result<u32> {
    u32::try_from(number).map_err(io::Error::other)
}

/// A compressed segment, read as if it were text.
#[derive(Debug)]
pub(crate) struct Compressed {
    file: Box<dyn File>,
    frames: Vec<Frame>,
    size: u64,
    /// The frame that was read last.
    last: Mutex<Option<(usize, Vec<u8>)>>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Where it begins in the text, and in the file.
    text: u64,
    file: u64,
    len: u32,
    text_len: u32,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Compressed {
    pub(crate) fn open(file: Box<dyn File>) -> io::Result<Compressed> {
        let no_table = || damaged("it has no table of its frames");
        let len = file.size()?;
        let mut footer = [0; FOOTER];
        let at = len.checked_sub(FOOTER as u64).ok_or_else(no_table)?;
        let _ = file.read_full(&mut footer, at)?;
        let [a, b, c, d, descriptor, magic @ ..] = footer;
        if u32::from_le_bytes(magic) != SEEKABLE || descriptor & 0x7C != 0 {
            return Err(no_table());
        }
        let entry = if descriptor & 0x80 == 0 {
            ENTRY
        } else {
            ENTRY + 4
        };
        let count = u32::from_le_bytes([a, b, c, d]) as usize;
        let size = count.checked_mul(entry).ok_or_else(no_table)?;
        let at = at.checked_sub(size as u64).ok_or_else(no_table)?;
        let mut table = vec![0; size];
        let _ = file.read_full(&mut table, at)?;
        let (mut text, mut place) = (0_u64, 0_u64);
        let mut frames = Vec::with_capacity(count);
        for sizes in table.chunks_exact(entry) {
            let (Some(len), Some(text_len)) = (number(sizes, 0), number(sizes, 4)) else {
                return Err(no_table());
            };
            frames.push(Frame {
                text,
                file: place,
                len,
                text_len,
            });
            text += u64::from(text_len);
            place += u64::from(len);
        }
        if place > at {
            return Err(no_table());
        }
        Ok(Compressed {
            file,
            frames,
            size: text,
            last: Mutex::new(None),
        })
    }

    fn read_frame(&self, frame: &Frame) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; frame.len as usize];
        let read = self.file.read_full(&mut bytes, frame.file)?;
        if read < bytes.len() {
            return Err(damaged("a frame is cut"));
        }
        let text = zstd::bulk::decompress(&bytes, frame.text_len as usize)?;
        match text.len() == frame.text_len as usize {
            true => Ok(text),
            false => Err(damaged("a frame has not the size that the table says")),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let (_, rest) = bytes.split_at_checked(at)?;
    rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

impl File for Compressed {
    fn append(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let index = self.frames.partition_point(|frame| frame.text <= offset);
        let Some((index, frame)) = index
            .checked_sub(1)
            .and_then(|index| Some((index, self.frames.get(index)?)))
        else {
            return Ok(0);
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(known, _)| *known != index) {
            *last = Some((index, self.read_frame(frame)?));
        }
        let text = last.as_ref().map_or(&[][..], |(_, text)| text);
        let start = usize::try_from(offset - frame.text).map_err(io::Error::other)?;
        let rest = text.get(start..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        let (filled, _) = buffer.split_at_mut(len);
        filled.copy_from_slice(rest.split_at(len).0);
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reserve(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
