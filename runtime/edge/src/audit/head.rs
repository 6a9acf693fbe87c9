//! The head file: a witness, beside the segments, of the last record that was acknowledged.
//!
//! It does not know lines or segments, and it proves nothing against somebody who rewrites it too.
//! Invariant: of its two slots at most one is being written, so a crash at any instant leaves the other.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::line::{Digest, Link};
use super::segment::sync_dir;

// One slot a disk block: the write of one cannot tear the other.
const SLOT_BYTES: usize = 4096;
const SLOTS: u64 = 2;
const MAGIC: &str = "r2d.head/1";
const CHECK_BYTES: usize = 8;

/// What the head file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Head {
    /// There is no head file.
    Absent,
    /// There is one, and neither slot can be read.
    Unreadable,
    /// The newest slot that can be read.
    Read {
        last: Link,
        /// Where it stands.
        slot: u64,
        /// The other slot cannot be read: a crash in the middle of its writing does that.
        damaged: bool,
    },
}

impl Head {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("head")
    }

    pub(super) fn load(dir: &Path) -> io::Result<Self> {
        // A writer may be between two slots' bytes; a real tear stays, that one is gone at the next look.
        let mut found = Self::look(dir)?;
        for _ in 0..3 {
            if matches!(found, Self::Absent | Self::Read { damaged: false, .. }) {
                break;
            }
            found = Self::look(dir)?;
        }
        Ok(found)
    }

    fn look(dir: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(Self::path(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(error) => return Err(error),
            // One byte more than the slots: a longer file is not a head file.
            Ok(file) => file.take(SLOTS * SLOT_BYTES as u64 + 1).read_to_end(&mut bytes)?,
        };
        if bytes.len() != SLOTS as usize * SLOT_BYTES {
            return Ok(Self::Unreadable);
        }
        let (zero, one) = bytes.split_at(SLOT_BYTES);
        Ok(match (parse(zero), parse(one)) {
            (None, None) => Self::Unreadable,
            (Some(last), None) => Self::Read { last, slot: 0, damaged: true },
            (None, Some(last)) => Self::Read { last, slot: 1, damaged: true },
            (Some(a), Some(b)) if a.seq >= b.seq => Self::Read { last: a, slot: 0, damaged: false },
            (Some(_), Some(last)) => Self::Read { last, slot: 1, damaged: false },
        })
    }
}

/// A whole slot: text for people, a check over it, blanks to the end of the block.
fn render(last: Link) -> Vec<u8> {
    let text = format!("{MAGIC} {:020} {}", last.seq, last.hash);
    let check = check(&text);
    let mut slot = format!("{text} {check}").into_bytes();
    slot.resize(SLOT_BYTES - 1, b' ');
    slot.push(b'\n');
    slot
}

fn parse(slot: &[u8]) -> Option<Link> {
    let text = std::str::from_utf8(slot).ok()?;
    let mut words = text.split_ascii_whitespace().skip(1);
    let seq = words.next()?.parse().ok()?;
    let hash = Digest::parse(words.next()?.as_bytes())?;
    let last = Link { seq, hash };
    // Rendering again compares every byte, the check and the blanks as well.
    (render(last) == slot).then_some(last)
}

// The first bytes of SHA-256 do what a CRC would, without another dependency.
fn check(text: &str) -> String {
    Digest::of(&[text.as_bytes()]).to_string()[..CHECK_BYTES * 2].to_owned()
}

/// The head file, open for writing.
pub(super) struct HeadFile {
    file: File,
    slot: u64,
}

impl HeadFile {
    /// Makes the head of an empty log. Both slots are written, so that no later write needs new blocks.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        let path = Head::path(dir);
        let draft = path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&draft)?;
        let slot = render(Link::GENESIS);
        file.write_all_at(&slot, 0)?;
        file.write_all_at(&slot, SLOT_BYTES as u64)?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        sync_dir(dir)?;
        Ok(Self { file, slot: 0 })
    }

    pub(super) fn open(dir: &Path, newest: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(Head::path(dir))?;
        Ok(Self { file, slot: newest })
    }

    /// Writes over the older slot and waits until it is on the disk.
    pub(super) fn write(&mut self, last: Link) -> io::Result<()> {
        let slot = (self.slot + 1) % SLOTS;
        self.file.write_all_at(&render(last), slot * SLOT_BYTES as u64)?;
        self.file.sync_data()?;
        self.slot = slot;
        Ok(())
    }
}
