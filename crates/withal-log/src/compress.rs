//! Ended segments as seekable zstd: independent frames, and a table of them at the end.
//!
//! It is the seekable format of zstd's `contrib/seekable_format`; `zstdcat` and `zstdgrep` read it
//! as any other file.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::checksum::checksum;
use crate::files::remove_durably;
use crate::name::Name;
use crate::recover::read_from;
use crate::storage::{File, Storage};

/// How much text one frame holds.
const FRAME: usize = 1 << 20;
const SKIPPABLE: u32 = 0x184D_2A5E;
/// Another skippable frame, with the checksum of each frame, and one of all that comes behind them.
const CHECKS: u32 = 0x184D_2A57;
const SUM: usize = 4;
const MAGIC: u32 = 0xFD2F_B528;
/// The magic number and the size of a skippable frame.
const HEAD: usize = 8;
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
    let (mut table, mut sums) = (Vec::new(), Vec::new());
    let at = text.each_piece(FRAME, |piece| {
        let frame = compressor.compress(piece)?;
        put(&frame)?;
        table.extend_from_slice(&small(frame.len())?.to_le_bytes());
        table.extend_from_slice(&small(piece.len())?.to_le_bytes());
        sums.extend_from_slice(&checksum(0, &frame).to_le_bytes());
        Ok(())
    })?;
    put(&end(&table, &sums)?)?;
    into.sync_data()?;
    let shrunk = Shrunk {
        from: at,
        to: into.size()?,
    };
    storage.rename(temporary, &name.compressed())?;
    storage.sync()?;
    remove_durably(storage, &[name.text()])?;
    Ok(shrunk)
}

/// What comes behind the frames of text: their checksums, and the table of them.
fn end(table: &[u8], sums: &[u8]) -> io::Result<Vec<u8>> {
    let head = [
        &CHECKS.to_le_bytes()[..],
        &small(sums.len() + SUM)?.to_le_bytes(),
        sums,
    ];
    let seek = [
        &SKIPPABLE.to_le_bytes()[..],
        &small(table.len() + FOOTER)?.to_le_bytes(),
        table,
        &small(table.len() / ENTRY)?.to_le_bytes(),
        &[0],
        &SEEKABLE.to_le_bytes(),
    ];
    let (head, seek) = (head.concat(), seek.concat());
    let own = checksum(checksum(0, &head), &seek);
    Ok([&head[..], &own.to_le_bytes(), &seek].concat())
}

fn small(number: usize) -> io::Result<u32> {
    u32::try_from(number).map_err(io::Error::other)
}

/// A compressed segment, read as if it were text.
#[derive(Debug)]
pub(crate) struct Compressed {
    file: Box<dyn File>,
    frames: Vec<Frame>,
    /// Their checksums, if it has any.
    sums: Option<Vec<u32>>,
    /// Whether the table was sound, and how long the file is.
    has_table: bool,
    len: u64,
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
    /// Reads the table; if that is damaged, it looks for the frames themselves.
    pub(crate) fn open(file: Box<dyn File>) -> io::Result<Compressed> {
        let len = file.size()?;
        let table = read_table(&*file, len)?;
        let has_table = table.is_some();
        let (frames, sums) = match table {
            Some(table) => table,
            None => (find_frames(&*file)?, None),
        };
        let (size, _) = ends(&frames);
        Ok(Compressed {
            file,
            frames,
            sums,
            has_table,
            len,
            size,
            last: Mutex::new(None),
        })
    }

    /// Where the file is not what was written: offsets and lengths.
    pub(crate) fn damage(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut damage = Vec::new();
        for (index, frame) in self.frames.iter().enumerate() {
            let bytes = read_from(&*self.file, frame.file, frame.file + u64::from(frame.len))?;
            let sum = self.sums.as_ref().and_then(|sums| sums.get(index));
            let is_sound = match sum {
                Some(sum) => checksum(0, &bytes) == *sum,
                None => {
                    frame_of(&bytes) == Some((frame.len, frame.text_len))
                        && self.read_frame(frame).is_ok()
                }
            };
            if !is_sound {
                damage.push((frame.file, u64::from(frame.len)));
            }
        }
        if !self.has_table {
            let (_, end) = ends(&self.frames);
            damage.push((end, (self.len - end).max(1)));
        }
        Ok(damage)
    }

    /// The frame that `offset` of the text lies in, or the last one.
    fn frame_at(&self, offset: u64) -> Option<(usize, &Frame)> {
        let behind = self.frames.partition_point(|frame| frame.text <= offset);
        let index = behind.checked_sub(1)?;
        Some((index, self.frames.get(index)?))
    }

    fn read_frame(&self, frame: &Frame) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; frame.len as usize];
        let read = self.file.read_full(&mut bytes, frame.file)?;
        if read < bytes.len() {
            return Err(damaged("a frame is cut"));
        }
        let text = zstd::bulk::decompress(&bytes, frame.text_len as usize)
            .map_err(|error| damaged(&format!("a frame is damaged: {error}")))?;
        match text.len() == frame.text_len as usize {
            true => Ok(text),
            false => Err(damaged("a frame has not the size that the table says")),
        }
    }
}

impl Frame {
    /// The one that comes next.
    fn after(frames: &[Frame], len: u32, text_len: u32) -> Frame {
        let (text, file) = ends(frames);
        Frame {
            text,
            file,
            len,
            text_len,
        }
    }
}

/// Where the last one ends: in the text, and in the file.
fn ends(frames: &[Frame]) -> (u64, u64) {
    frames.last().map_or((0, 0), |last| {
        (
            last.text + u64::from(last.text_len),
            last.file + u64::from(last.len),
        )
    })
}

type Table = (Vec<Frame>, Option<Vec<u32>>);

/// The frames as the table says, and their checksums, which older files do not have; nothing if
/// anything in it is not as it was written.
fn read_table(file: &dyn File, len: u64) -> io::Result<Option<Table>> {
    let footer_at = len.saturating_sub(FOOTER as u64);
    let footer = read_from(file, footer_at, len)?;
    let Some(count) = number(&footer, 0) else {
        return Ok(None);
    };
    let size = u64::from(count) * ENTRY as u64;
    let Some(at) = footer_at.checked_sub(size + HEAD as u64) else {
        return Ok(None);
    };
    let seek = read_from(file, at, len)?;
    let table = seek
        .get(HEAD..seek.len() - FOOTER.min(seek.len()))
        .unwrap_or_default();
    let mut frames = Vec::new();
    for sizes in table.chunks_exact(ENTRY) {
        let (Some(len), Some(text_len)) = (number(sizes, 0), number(sizes, 4)) else {
            return Ok(None);
        };
        if text_len as usize > FRAME {
            return Ok(None);
        }
        frames.push(Frame::after(&frames, len, text_len));
    }
    let (_, place) = ends(&frames);
    if place > at {
        return Ok(None);
    }
    let checks = read_from(file, place, at)?;
    let sums = checks
        .get(HEAD..checks.len().saturating_sub(SUM))
        .unwrap_or_default();
    let expected = end(table, sums)?;
    if checks.is_empty() {
        // A length that is damaged may reach as far as the checksums do.
        let is_sound = |last: &Frame| -> io::Result<bool> {
            let bytes = read_from(file, last.file, at)?;
            Ok(frame_of(&bytes) == Some((last.len, last.text_len)))
        };
        let is_older = expected.ends_with(&seek) && frames.last().map_or(Ok(true), is_sound)?;
        return Ok(is_older.then_some((frames, None)));
    }
    let is_whole = expected == [checks.as_slice(), &seek].concat();
    let sums: Vec<u32> = sums
        .chunks_exact(SUM)
        .filter_map(|sum| number(sum, 0))
        .collect();
    Ok((is_whole && sums.len() == frames.len()).then_some((frames, Some(sums))))
}

/// The frames that follow one another from the start of the file.
fn find_frames(file: &dyn File) -> io::Result<Vec<Frame>> {
    let most = zstd::zstd_safe::compress_bound(FRAME) as u64;
    let mut frames = Vec::new();
    loop {
        let (_, place) = ends(&frames);
        let Some((len, text_len)) = frame_of(&read_from(file, place, place + most)?) else {
            return Ok(frames);
        };
        frames.push(Frame::after(&frames, len, text_len));
    }
}

/// How long the frame is that begins here, and its text.
fn frame_of(bytes: &[u8]) -> Option<(u32, u32)> {
    if number(bytes, 0) != Some(MAGIC) {
        return None;
    }
    let len = zstd::zstd_safe::find_frame_compressed_size(bytes).ok()?;
    let text_len = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
    let text_len = u32::try_from(text_len).ok()?;
    let is_ours = text_len as usize <= FRAME;
    is_ours.then_some((u32::try_from(len).ok()?, text_len))
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
        let Some((index, frame)) = self.frame_at(offset) else {
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

    fn behind_damage(&self, offset: u64) -> u64 {
        let frame = self.frame_at(offset);
        let end = frame.map(|(_, frame)| frame.text + u64::from(frame.text_len));
        end.unwrap_or_default().max(offset + 1)
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
