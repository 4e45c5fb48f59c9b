//! A disk in memory that crashes, tears, fills up and fails, on purpose and repeatably.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use withal_log::TailRule;
use withal_log::storage::{File, FileSystem, Overwrite, PAGE, Storage};

/// What goes wrong, at which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine stops in the middle of it.
    Crash,
    /// It fails, and does nothing.
    Fails(io::ErrorKind),
    /// It fails having done half of it, if it is a write.
    Half(io::ErrorKind),
    /// A write takes one byte less than it was given.
    Short,
}

/// What is found where something was written and did not come to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Zeros: on file systems whose text can be trusted.
    #[default]
    Zeros,
    /// Whatever was there before: `AB`, lines, or what other files have had at the same place.
    Anything,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// What a power loss leaves for certain.
    durable: Vec<u8>,
    now: Vec<u8>,
    /// A sync failed: what was not durable then will never be, whatever later syncs say.
    spoiled: Option<Range<usize>>,
    /// How many have it open.
    open: usize,
    /// Nobody had it open when its name went: others may have written over it since.
    is_freed: bool,
    /// What the disk was told to begin with.
    started: Vec<Range<u64>>,
    /// The pages that the disk cannot read.
    bad: BTreeSet<usize>,
}

type Names = BTreeMap<String, usize>;

#[derive(Clone, Debug, Default)]
struct World {
    contents: Vec<Content>,
    names: Names,
    /// The names after each change since the last sync of the directory; the first is durable.
    history: Vec<Names>,
    operations: u64,
    is_read_only: bool,
    /// How often a file's content was synced.
    syncs: usize,
    fault: Option<(u64, Fault)>,
    /// From this operation to that one the disk is full.
    full: Option<(u64, u64)>,
    broken: bool,
    crashed: bool,
    locked: bool,
    /// Made only after what they point to is durable.
    links: BTreeMap<String, String>,
    lost: Lost,
}

#[derive(Clone, Debug)]
pub(crate) struct FaultDisk(Arc<Mutex<World>>);

/// Small random numbers from a seed: repeatable, and all that is needed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides.max(1)
    }
}

impl Default for FaultDisk {
    fn default() -> FaultDisk {
        let mut world = World::default();
        world.history.push(Names::new());
        FaultDisk(Arc::new(Mutex::new(world)))
    }
}

impl FaultDisk {
    /// One that leaves this of what is lost, and says so.
    pub(crate) fn leaving(lost: Lost) -> FaultDisk {
        let disk = FaultDisk::default();
        disk.world().lost = lost;
        disk
    }

    /// Whether logs on it are strict by themselves.
    pub(crate) fn is_strict(&self) -> bool {
        self.world().lost == Lost::Anything
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn opened(&self, content: usize) -> FaultFile {
        self.world().contents[content].open += 1;
        FaultFile(self.clone(), content)
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// Something goes wrong at the operation with this number, counted from now.
    pub(crate) fn plan(&self, at: u64, fault: Fault) {
        let mut world = self.world();
        world.fault = Some((world.operations + at, fault));
    }

    /// The disk is full from one operation to another, counted from now.
    pub(crate) fn plan_full(&self, from: u64, to: u64) {
        let mut world = self.world();
        world.full = Some((world.operations + from, world.operations + to));
    }

    /// Nothing can be written or synced from now on.
    pub(crate) fn plan_broken(&self) {
        self.world().broken = true;
    }

    /// No file can be made, or again.
    pub(crate) fn plan_read_only(&self, is_read_only: bool) {
        self.world().is_read_only = is_read_only;
    }

    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        let content = *world.names.get(name)?;
        Some(world.contents[content].now.clone())
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let content = world.names[name];
        change(&mut world.contents[content].now);
        world.contents[content].durable = world.contents[content].now.clone();
    }

    /// The disk cannot read the page of a file in which this byte is any more.
    pub(crate) fn spoil(&self, name: &str, at: usize) {
        let mut world = self.world();
        let content = world.names[name];
        let page = at / PAGE as usize;
        world.contents[content].bad.insert(page);
    }

    pub(crate) fn syncs(&self) -> usize {
        self.world().syncs
    }

    /// What the disk was told to begin with before it is synced.
    pub(crate) fn started(&self, name: &str) -> Vec<Range<u64>> {
        let world = self.world();
        let content = world.names.get(name).copied();
        content.map_or_else(Vec::new, |content| world.contents[content].started.clone())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.world().names.keys().cloned().collect()
    }

    /// The text that every power loss leaves.
    #[cfg(withal_loom)]
    pub(crate) fn durable_text(&self) -> Vec<u8> {
        let world = self.world();
        let durable = world.history.first().unwrap();
        let texts = durable.iter().filter(|(name, _)| name.ends_with(".log"));
        let texts = texts.map(|(_, content)| &world.contents[*content].durable[..]);
        let text = texts.collect::<Vec<_>>().concat();
        // Behind it there may be space that was set aside.
        text.into_iter().take_while(|byte| *byte != 0).collect()
    }

    /// The disk as a killed process leaves it: everything that was written is there.
    pub(crate) fn after_kill(&self) -> FaultDisk {
        let mut world = self.world().clone();
        world.fault = None;
        world.full = None;
        world.broken = false;
        world.crashed = false;
        world.locked = false;
        for content in &mut world.contents {
            content.open = 0;
        }
        FaultDisk(Arc::new(Mutex::new(world)))
    }

    /// Takes all of the content that was not synced; names stay.
    pub(crate) fn lose_unsynced(&self) {
        for content in &mut self.world().contents {
            content.now = content.durable.clone();
            content.spoiled = None;
        }
    }

    /// The disk as a power loss leaves it: of what was not synced, some came through and some did
    /// not, by the dice.
    pub(crate) fn after_power_loss(&self, dice: &mut Dice) -> FaultDisk {
        let world = self.world();
        let point = dice.roll(world.history.len() as u64) as usize;
        let names = world.history[point].clone();
        let contents = world
            .contents
            .iter()
            .map(|content| survive(content, &world, dice))
            .collect();
        FaultDisk(Arc::new(Mutex::new(World {
            contents,
            history: vec![names.clone()],
            names,
            lost: world.lost,
            ..World::default()
        })))
    }
}

/// An append-only file comes back shorter, or with what is lost in it, or whole; what a sync has
/// promised is there.
fn survive(content: &Content, world: &World, dice: &mut Dice) -> Content {
    let Content { durable, now, .. } = content;
    if content.is_freed {
        return world.written_over(content, dice);
    }
    let common = durable.iter().zip(now).take_while(|(a, b)| a == b).count();
    let mut left = if common < durable.len() && dice.roll(2) == 0 {
        // A cut, or a change, that did not come through.
        durable.clone()
    } else if now.len() <= common {
        now.clone()
    } else {
        let safe = common.min(now.len());
        let len = match dice.roll(2) {
            0 => now.len(),
            _ => safe + dice.roll((now.len() - safe) as u64 + 1) as usize,
        };
        let mut left = now[..len].to_vec();
        // Pieces that did not come to the disk although the length did.
        let piece = [1, 7, 64, 512, 4096][dice.roll(5) as usize];
        let mut at = safe;
        while at < len {
            let end = (at + piece).min(len);
            if dice.roll(3) == 0 {
                world.lose(&mut left, at..end, dice);
            }
            at = end;
        }
        left
    };
    if let Some(spoiled) = &content.spoiled {
        let end = spoiled.end.min(left.len());
        world.lose(&mut left, spoiled.start.min(end)..end, dice);
    }
    Content::durable(left)
}

impl Content {
    fn durable(bytes: Vec<u8>) -> Content {
        Content {
            durable: bytes.clone(),
            now: bytes,
            ..Content::default()
        }
    }
}

fn crashed() -> io::Error {
    io::Error::other("the machine has stopped")
}

impl World {
    /// A file that comes back though its space was given to others: ext4 with `data=writeback` does
    /// not wait until its removal is durable.
    fn written_over(&self, content: &Content, dice: &mut Dice) -> Content {
        let mut left = content.now.clone();
        let piece = [64, 512, 4096][dice.roll(3) as usize];
        for part in left.chunks_mut(piece) {
            if dice.roll(2) == 0 {
                let of_another = &self.contents[dice.roll(self.contents.len() as u64) as usize];
                let other = of_another.now.iter().chain(std::iter::repeat(&0xAB));
                part.iter_mut()
                    .zip(other)
                    .for_each(|(at, other)| *at = *other);
            }
        }
        Content::durable(left)
    }

    /// A name went, or somebody closed it.
    fn is_left(&mut self, content: Option<usize>) {
        if let Some(content) = content {
            let has_name = self.names.values().any(|named| *named == content);
            let content = &mut self.contents[content];
            content.is_freed |= !has_name && content.open == 0;
        }
    }

    /// Puts into a part of a file what was there before it was written.
    fn lose(&self, bytes: &mut [u8], part: Range<usize>, dice: &mut Dice) {
        let of_another = match self.lost {
            Lost::Zeros => return bytes[part].fill(0),
            Lost::Anything => &self.contents[dice.roll(self.contents.len() as u64) as usize].now,
        };
        let kind = dice.roll(4);
        for at in part {
            bytes[at] = match kind {
                0 => 0xAB,
                1 => b"invented\n"[at % 9],
                2 => b'\n',
                _ => of_another.get(at).copied().unwrap_or(b'x'),
            };
        }
    }

    /// Counts an operation, and says what goes wrong with it.
    fn step(&mut self) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(crashed());
        }
        if self.broken {
            return Err(io::ErrorKind::Other.into());
        }
        let number = self.operations;
        self.operations += 1;
        let fault = self
            .fault
            .filter(|(at, _)| *at == number)
            .map(|(_, fault)| fault);
        match fault {
            Some(Fault::Crash) => {
                self.crashed = true;
                Ok(fault)
            }
            Some(Fault::Fails(kind)) => Err(kind.into()),
            other => Ok(other),
        }
    }

    /// An operation of which there is no half: it may happen before the machine stops, or not.
    fn whole_step(&mut self) -> io::Result<()> {
        match self.step()? {
            Some(Fault::Crash) => Err(crashed()),
            Some(Fault::Half(kind)) => Err(kind.into()),
            Some(Fault::Short | Fault::Fails(_)) | None => Ok(()),
        }
    }

    fn space(&self) -> io::Result<()> {
        let number = self.operations;
        match self.full {
            Some((from, to)) if (from..to).contains(&number) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn renamed(&mut self) {
        self.history.push(self.names.clone());
    }
}

impl Storage for FaultDisk {
    fn display(&self, name: &str) -> String {
        name.to_owned()
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        let tail_rule = match self.is_strict() {
            false => TailRule::Text,
            true => TailRule::Strict,
        };
        Ok(FileSystem {
            name: "memory".to_owned(),
            tail_rule,
            is_in_place: true,
        })
    }

    fn lock(&self, _: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        struct Unlock(FaultDisk);
        impl Drop for Unlock {
            fn drop(&mut self) {
                self.0.world().locked = false;
            }
        }
        if std::mem::replace(&mut self.world().locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock(self.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let world = self.world();
        if world.crashed {
            return Err(crashed());
        }
        Ok(world.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut world = self.world();
        if world.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if world.is_read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        world.space()?;
        world.whole_step()?;
        let content = world.contents.len();
        world.contents.push(Content::default());
        let _ = world.names.insert(name.to_owned(), content);
        world.renamed();
        drop(world);
        Ok(Box::new(self.opened(content)))
    }

    fn open(&self, name: &str, _: bool) -> io::Result<Box<dyn File>> {
        let world = self.world();
        if world.crashed {
            return Err(crashed());
        }
        let content = *world.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        drop(world);
        Ok(Box::new(self.opened(content)))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        world.space()?;
        world.whole_step()?;
        let content = world.contents.len();
        world.contents.push(Content::durable(bytes.to_vec()));
        let _ = world.names.insert(name.to_owned(), content);
        world.history = vec![world.names.clone()];
        Ok(())
    }

    fn overwritten(&self, name: &str, len: u64) -> io::Result<Option<Box<dyn Overwrite>>> {
        let is_there = |content: &Vec<u8>| content.len() as u64 == len;
        if !self.read(name).as_ref().is_some_and(is_there) {
            self.replace(name, &vec![0; len as usize])?;
        }
        let content = self.world().names[name];
        Ok(Some(Box::new(self.opened(content))))
    }

    fn point(&self, name: &str, target: &str) -> io::Result<()> {
        let mut world = self.world();
        world.whole_step()?;
        // Most of those whose text cannot be trusted have no symbolic links.
        if world.lost == Lost::Zeros {
            let _ = world.links.insert(name.to_owned(), target.to_owned());
        }
        Ok(())
    }

    fn pointed(&self, name: &str) -> Option<String> {
        self.world().links.get(name).cloned()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.whole_step()?;
        let content = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = world.names.insert(to.to_owned(), content);
        world.is_left(replaced);
        world.renamed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.whole_step()?;
        let removed = world.names.remove(name);
        world.is_left(removed);
        world.renamed();
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        world.whole_step()?;
        world.history = vec![world.names.clone()];
        Ok(())
    }
}

#[derive(Debug)]
struct FaultFile(FaultDisk, usize);

impl Drop for FaultFile {
    fn drop(&mut self) {
        let mut world = self.0.world();
        world.contents[self.1].open -= 1;
        // After a crash nothing changes any more.
        if !world.crashed {
            world.is_left(Some(self.1));
        }
    }
}

impl Overwrite for FaultFile {
    fn overwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.0.world();
        let fault = world.step()?;
        let mut dice = Dice(world.operations + 1);
        // Each sector comes to the disk or not, if it is not known that all do.
        let comes = |dice: &mut Dice| fault.is_none() || dice.roll(2) == 0;
        let content = &mut world.contents[self.1];
        let mut at = offset as usize;
        for sector in bytes.chunks(512) {
            if comes(&mut dice) {
                for copy in [&mut content.durable, &mut content.now] {
                    copy[at..at + sector.len()].copy_from_slice(sector);
                }
            }
            at += sector.len();
        }
        match fault {
            Some(Fault::Crash) => Err(crashed()),
            Some(Fault::Half(kind) | Fault::Fails(kind)) => Err(kind.into()),
            // What a write lacks is written by the next one.
            Some(Fault::Short) => {
                drop(world);
                self.overwrite(bytes, offset)
            }
            None => Ok(()),
        }
    }
}

impl File for FaultFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.0.world();
        world.space()?;
        let fault = world.step()?;
        let content = &mut world.contents[self.1].now;
        let half = bytes.len() / 2;
        match fault {
            Some(Fault::Crash) => {
                content.extend_from_slice(&bytes[..half]);
                Err(crashed())
            }
            // As the kernel does it: what was taken first, and the error with the next call.
            Some(Fault::Half(kind)) => {
                content.extend_from_slice(&bytes[..half]);
                if half == 0 {
                    return Err(kind.into());
                }
                let next = world.operations;
                world.fault = Some((next, Fault::Fails(kind)));
                Ok(half)
            }
            Some(Fault::Short) => {
                let taken = bytes.len().saturating_sub(1).max(1);
                content.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }
            Some(Fault::Fails(_)) | None => {
                content.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.0.world();
        if world.crashed {
            return Err(crashed());
        }
        let Content { now, bad, .. } = &world.contents[self.1];
        let rest = now.get(offset as usize..).unwrap_or_default();
        let mut read = rest.len().min(buffer.len());
        let pages = offset as usize / PAGE as usize..=(offset as usize + read) / PAGE as usize;
        if let Some(page) = bad.range(pages).next().filter(|_| read > 0) {
            // As a system does: what comes before it, if anything does.
            read = read.min((page * PAGE as usize).saturating_sub(offset as usize));
            if read == 0 {
                return Err(rustix::io::Errno::IO.into());
            }
        }
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.world().contents[self.1].now.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut world = self.0.world();
        world.whole_step()?;
        let content = &mut world.contents[self.1];
        content.now.truncate(len as usize);
        // What is written there from now on is another matter.
        let spoiled = content.spoiled.take();
        let spoiled = spoiled.map(|spoiled| spoiled.start..spoiled.end.min(len as usize));
        content.spoiled = spoiled.filter(|spoiled| !spoiled.is_empty());
        Ok(())
    }

    fn reserve(&self, _: u64, _: u64) -> io::Result<()> {
        let mut world = self.0.world();
        world.space()?;
        world.whole_step()
    }

    /// It may come to the disk or not, as anything that is not synced.
    fn start_writeback(&self, offset: u64, len: u64) {
        let mut world = self.0.world();
        let content = &mut world.contents[self.1];
        assert!(offset + len <= content.now.len() as u64);
        content.started.push(offset..offset + len);
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.0.world();
        let durable = world.contents[self.1].durable.len();
        let synced = world.whole_step();
        if world.crashed {
            return Err(crashed());
        }
        let content = &mut world.contents[self.1];
        match synced {
            Ok(()) => {
                world.syncs += 1;
                let lost = match world.lost {
                    Lost::Zeros => 0,
                    Lost::Anything => 0xAB,
                };
                let content = &mut world.contents[self.1];
                content.durable = content.now.clone();
                if let Some(spoiled) = content.spoiled.clone() {
                    content.durable[spoiled].fill(lost);
                }
            }
            Err(_) => {
                let end = content.now.len();
                if durable < end {
                    let spoiled = content.spoiled.get_or_insert(durable..end);
                    spoiled.end = spoiled.end.max(end);
                }
            }
        }
        synced
    }
}
