//! Writing the content of a file, and taking its digest on the way.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::image::digest::{Digest, Hasher};

/// What stays a hole of a file that had holes.
const HOLE: usize = 4096;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// How the content comes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'a> {
    /// All of it, so many bytes.
    Dense(u64),
    /// All of it, so many bytes; blocks of zeros are to be holes.
    Holes(u64),
    /// Only these regions, offset and length, of a file of so many bytes.
    Regions(u64, &'a [(u64, u64)]),
}

/// Content on its way to a file.
pub(super) struct Source<'a> {
    pub(super) content: &'a mut dyn BufRead,
    pub(super) shape: Shape<'a>,
    pub(super) cancel: &'a AtomicBool,
}

impl Source<'_> {
    /// Fills an empty file; gives the digest of its content, holes included.
    pub(super) fn write_to(&mut self, file: &mut File) -> io::Result<Digest> {
        let mut hasher = Hasher::new();
        match self.shape {
            Shape::Dense(size) => self.pass(size, |chunk| {
                hasher.update(chunk);
                file.write_all(chunk)
            })?,
            Shape::Holes(size) => {
                file.set_len(size)?;
                let mut at = 0;
                self.pass(size, |chunk| {
                    hasher.update(chunk);
                    for block in chunk.chunks(HOLE) {
                        if block.iter().any(|byte| *byte != 0) {
                            file.write_all_at(block, at)?;
                        }
                        at += block.len() as u64;
                    }
                    Ok(())
                })?;
            }
            Shape::Regions(size, regions) => {
                file.set_len(size)?;
                let mut end = 0;
                for (offset, length) in regions {
                    self.zeros(&mut hasher, offset - end)?;
                    let mut at = *offset;
                    self.pass(*length, |chunk| {
                        hasher.update(chunk);
                        file.write_all_at(chunk, at)?;
                        at += chunk.len() as u64;
                        Ok(())
                    })?;
                    end = at;
                }
                self.zeros(&mut hasher, size - end)?;
            }
        }
        Ok(hasher.finish())
    }

    /// Takes so many bytes of the content.
    fn pass(
        &mut self,
        mut left: u64,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while left > 0 {
            self.go_on()?;
            let chunk = match self.content.fill_buf() {
                Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let length = usize::try_from(left)
                .unwrap_or(chunk.len())
                .min(chunk.len());
            take(&chunk[..length])?;
            self.content.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    fn zeros(&self, hasher: &mut Hasher, mut left: u64) -> io::Result<()> {
        while left > 0 {
            self.go_on()?;
            let length = usize::try_from(left)
                .unwrap_or(ZEROS.len())
                .min(ZEROS.len());
            hasher.update(&ZEROS[..length]);
            left -= length as u64;
        }
        Ok(())
    }

    fn go_on(&self) -> io::Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        Ok(())
    }
}
