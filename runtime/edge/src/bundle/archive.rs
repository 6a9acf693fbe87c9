//! The tar file around a bundle, read and written in one spelling only.
//!
//! Knows names, sizes and bytes, nothing of what they mean, and holds no file in memory. Invariant: a header is taken
//! only if it is, byte for byte, the one that [`Writer`] would write for this name and size. So links, folders,
//! extensions, owners and modes cannot come in, and no byte of a bundle goes unread.

use crate::models::{BUFFER, Digest};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// How a tar file ends.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A tar file that is being written.
pub(super) struct Writer<W> {
    to: W,
}

/// A tar file that is being read.
pub(super) struct Reader<R> {
    from: R,
}

/// What a header says of the file behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) size: u64,
}

impl Head {
    fn encode(&self) -> io::Result<[u8; BLOCK]> {
        let mut header = Header::new_ustar();
        header.set_path(&self.name)?;
        header.set_size(self.size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        Ok(*header.as_bytes())
    }

    fn parse(bytes: &[u8; BLOCK]) -> Result<Self, String> {
        let header = Header::from_byte_slice(bytes);
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let size = header.size().map_err(|e| format!("a header is damaged: {e}"))?;
        match header.entry_type() {
            EntryType::Regular => {}
            EntryType::Symlink | EntryType::Link => return Err(format!("{name:?} is a link")),
            _ => return Err(format!("{name:?} is no ordinary file")),
        }
        if name.starts_with('/') || name.split('/').any(|part| part == "..") || name.contains('/') {
            return Err(format!("{name:?} is a path and no plain file name"));
        }
        let head = Self { name, size };
        if head.encode().ok().as_ref() != Some(bytes) {
            return Err(format!("the header of {:?} is not as `bundle create` writes it", head.name));
        }
        Ok(head)
    }
}

/// The zeros that fill the last block.
fn padding(size: u64) -> usize {
    // Less than a block, so the cast loses nothing.
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to }
    }

    /// Adds a file of `size` bytes, which must be all that `from` has; says its digest.
    pub(super) fn add(
        &mut self,
        name: &str,
        size: u64,
        from: &mut dyn Read,
        moved: &mut dyn FnMut(u64),
    ) -> io::Result<Digest> {
        self.to.write_all(&Head { name: name.to_owned(), size }.encode()?)?;
        let digest = copy(from, &mut self.to, size, moved)?;
        if from.read(&mut [0])? != 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file grew meanwhile"));
        }
        self.to.write_all(&END[..padding(size)])?;
        Ok(digest)
    }

    /// Ends the archive and gives back what it was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&END)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from }
    }

    /// The header of the next file, which must be called `name`.
    pub(super) fn head(&mut self, name: &str) -> Result<Head, String> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block == [0; BLOCK] {
            return Err(format!("it ends where {name} should begin"));
        }
        let head = Head::parse(&block)?;
        if head.name != name {
            return Err(format!("{:?} stands where {name} should", head.name));
        }
        Ok(head)
    }

    /// The content of a small file.
    pub(super) fn small(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, String> {
        let Head { size, .. } = self.head(name)?;
        if size > limit {
            return Err(format!("{name} has {size} bytes, more than {limit}"));
        }
        let mut bytes = Vec::new();
        self.content(size, &mut bytes, &mut |_| ()).map_err(|e| ended(&e))?;
        Ok(bytes)
    }

    /// Copies the content of the file whose header was read last; says its digest.
    pub(super) fn content(
        &mut self,
        size: u64,
        to: &mut dyn Write,
        moved: &mut dyn FnMut(u64),
    ) -> io::Result<Digest> {
        let digest = copy(&mut self.from, to, size, moved)?;
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..padding(size)];
        self.from.read_exact(rest)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is something behind a file"));
        }
        Ok(digest)
    }

    /// Checks that the archive ends here.
    pub(super) fn end(mut self) -> Result<(), String> {
        let mut end = END;
        self.fill(&mut end)?;
        let more = self.from.read(&mut [0]).map_err(|e| e.to_string())?;
        if end != END || more != 0 {
            return Err("there is something behind the last file".into());
        }
        Ok(())
    }

    fn fill(&mut self, block: &mut [u8]) -> Result<(), String> {
        self.from.read_exact(block).map_err(|e| ended(&e))
    }
}

/// What an error while reading means.
pub(super) fn ended(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early, so it was truncated".into(),
        _ => error.to_string(),
    }
}

/// Copies `size` bytes and hashes them.
fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    size: u64,
    moved: &mut dyn FnMut(u64),
) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    // The bound holds the cast.
    let mut buffer = vec![0; size.clamp(1, BUFFER as u64) as usize];
    let mut left = size;
    while left > 0 {
        let n = left.min(buffer.len() as u64) as usize;
        from.read_exact(&mut buffer[..n])?;
        hash.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        left -= n as u64;
        moved(n as u64);
    }
    Ok(Digest::of(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        writer.add("one", 3, &mut &b"abc"[..], &mut |_| ()).unwrap();
        writer.add("two", 512, &mut &[7; 512][..], &mut |_| ()).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut reader = Reader::new(bytes);
        let one = reader.small("one", 512)?;
        reader.small("two", 512)?;
        reader.end()?;
        Ok(one)
    }

    #[test]
    fn what_was_written_is_read_and_any_tar_program_reads_it_too() {
        let bytes = archive();
        assert_eq!(read(&bytes).unwrap(), b"abc");
        let mut tar = tar::Archive::new(bytes.as_slice());
        let names: Vec<_> =
            tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["one", "two"]);
    }

    #[test]
    fn every_byte_outside_the_contents_has_one_value_only() {
        let bytes = archive();
        let contents = |at: usize| (512..515).contains(&at) || (1536..2048).contains(&at);
        for at in (0..bytes.len()).filter(|at| !contents(*at)) {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(read(&other).is_err(), "byte {at} may be altered");
        }
    }

    #[test]
    fn an_archive_that_is_cut_or_goes_on_is_refused() {
        let bytes = archive();
        for n in 0..bytes.len() {
            assert!(read(&bytes[..n]).is_err(), "{n} bytes are enough");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(read(&longer).unwrap_err().contains("behind the last file"));
    }

    #[test]
    fn links_folders_and_paths_are_refused_by_name() {
        let head = |change: &dyn Fn(&mut Header)| {
            let mut header = Header::new_ustar();
            header.set_path("one").unwrap();
            header.set_size(0);
            change(&mut header);
            header.set_cksum();
            Reader::new(header.as_bytes().as_slice()).head("one").unwrap_err()
        };
        let link = |kind| {
            head(&|h| {
                h.set_entry_type(kind);
                h.set_link_name("/etc/passwd").unwrap();
            })
        };
        assert!(link(EntryType::Symlink).contains("is a link"));
        assert!(link(EntryType::Link).contains("is a link"));
        assert!(head(&|h| h.set_entry_type(EntryType::Directory)).contains("no ordinary file"));
        assert!(head(&|h| h.set_entry_type(EntryType::XHeader)).contains("no ordinary file"));
        let path = |name: &'static str| {
            head(&|h| {
                let field = &mut h.as_mut_bytes()[..100];
                field.fill(0);
                field[..name.len()].copy_from_slice(name.as_bytes());
                h.set_entry_type(EntryType::Regular);
            })
        };
        for name in ["/one", "../one", "a/one", "a/../../one"] {
            assert!(path(name).contains("is a path"), "{name}");
        }
        let two = Head { name: "two".into(), size: 0 }.encode().unwrap();
        assert!(Reader::new(two.as_slice()).head("one").unwrap_err().contains("stands where one should"));
        assert!(head(&|h| h.set_mode(0o4755)).contains("not as `bundle create` writes it"));
    }
}
