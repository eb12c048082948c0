//! Reading an archive: headers, what extends them, and the bytes in between.
//!
//! What GNU tar and others read differently is refused, so that nobody sees other files in a layer
//! than we do: two extended headers for one entry, content where the kind of entry has none, a
//! global header that changes entries. A size in an extended header counts for the entry itself
//! and never for the headers between.

use std::io::{self, BufRead, Read};

use tar::{EntryType, Header};

use super::LayerError;
use super::pax::{Pax, few, number};

const BLOCK: usize = 512;
/// What headers may take between two entries: names, extended headers, the map of a sparse file.
const HEADERS_MAX: u64 = 1 << 20;

/// Where the content of a sparse file belongs: offsets and lengths, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) size: u64,
    pub(super) regions: Vec<(u64, u64)>,
}

/// An entry with all that is said about it; its content is read from the archive.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) header: Header,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) pax: Pax,
    /// The bytes of content in the archive.
    pub(super) size: u64,
    pub(super) sparse: Option<Sparse>,
}

/// An archive, of which one entry at a time can be read.
pub(super) struct Archive<R> {
    reader: R,
    /// What is left of the content of the current entry.
    left: u64,
    padding: u64,
    /// What headers may still take.
    budget: u64,
}

/// The headers that say more about the entry that follows.
#[derive(Default)]
struct Extension {
    pax: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

fn broken(reason: impl Into<String>) -> LayerError {
    LayerError::Archive {
        source: io::Error::new(io::ErrorKind::InvalidData, reason.into()),
    }
}

impl<R: BufRead> Archive<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            left: 0,
            padding: 0,
            budget: HEADERS_MAX,
        }
    }

    /// The next entry; none at the end marks, or where the archive ends between two entries.
    pub(super) fn next(&mut self) -> Result<Option<Member>, LayerError> {
        self.skip(self.left + self.padding)?;
        (self.left, self.padding) = (0, 0);
        self.budget = HEADERS_MAX;
        let mut extension = Extension::default();
        let mut extended = false;
        loop {
            let Some(header) = self.header()? else {
                return if extended {
                    Err(broken("it ends after an extended header"))
                } else {
                    Ok(None)
                };
            };
            let slot = match header.entry_type() {
                EntryType::XGlobalHeader => {
                    let body = self.body(&header)?;
                    Pax::check_global(&body).map_err(broken)?;
                    continue;
                }
                EntryType::XHeader => &mut extension.pax,
                EntryType::GNULongName => &mut extension.path,
                EntryType::GNULongLink => &mut extension.link,
                _ => return self.member(header, extension).map(Some),
            };
            if slot.is_some() {
                return Err(broken("two extended headers of one kind for one entry"));
            }
            extended = true;
            *slot = Some(self.body(&header)?);
        }
    }

    /// A header whose checksum holds.
    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let stated = header
            .cksum()
            .map_err(|_| broken("a header has no checksum"))?;
        let sum = |add: fn(u8) -> i64| -> i64 {
            let bytes = block.iter().enumerate();
            bytes
                .map(|(at, byte)| {
                    add(if (148..156).contains(&at) {
                        b' '
                    } else {
                        *byte
                    })
                })
                .sum()
        };
        // Some old writers took bytes for signed.
        let stated = i64::from(stated);
        if stated != sum(i64::from) && stated != sum(|byte| i64::from(byte.cast_signed())) {
            return Err(broken("a header has a wrong checksum"));
        }
        Ok(Some(header))
    }

    /// The next block; none where the archive ends just before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        self.spend(BLOCK as u64)?;
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(broken("it ends within a header")),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(LayerError::Archive { source }),
            }
        }
        Ok(Some(block))
    }

    fn spend(&mut self, bytes: u64) -> Result<(), LayerError> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(LayerError::TooLarge {
                limit: format!("{HEADERS_MAX} bytes of headers for one entry"),
            }),
        }
    }

    /// What a header that extends another carries; its own size counts, whatever was said before.
    fn body(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        let size = size(header).map_err(broken)?;
        self.spend(size)?;
        let mut body = vec![0; usize::try_from(size).unwrap_or_default()];
        self.reader
            .read_exact(&mut body)
            .map_err(|source| LayerError::Archive { source })?;
        self.skip(padding(size))?;
        if matches!(
            header.entry_type(),
            EntryType::GNULongName | EntryType::GNULongLink
        ) {
            while body.last() == Some(&0) {
                body.pop();
            }
        }
        Ok(body)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), LayerError> {
        while bytes > 0 {
            let chunk = match self.reader.fill_buf() {
                Ok([]) => return Err(broken("it ends within an entry")),
                Ok(chunk) => chunk.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(LayerError::Archive { source }),
            };
            let length = usize::try_from(bytes).unwrap_or(chunk).min(chunk);
            self.reader.consume(length);
            bytes -= length as u64;
        }
        Ok(())
    }

    fn member(&mut self, header: Header, extension: Extension) -> Result<Member, LayerError> {
        let pax = extension.pax.as_deref().map(Pax::read).transpose();
        let path = match &pax {
            Ok(Some(pax)) => pax
                .sparse
                .as_ref()
                .and_then(|sparse| sparse.name.clone())
                .or_else(|| pax.path.clone()),
            _ => None,
        };
        let path = path
            .or(extension.path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let refuse = |reason: String| LayerError::refused(&path, reason);
        let pax = pax.map_err(&refuse)?.unwrap_or_default();
        let link = pax
            .link
            .clone()
            .or(extension.link)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();

        self.left = content_size(&header, &pax, &path).map_err(&refuse)?;
        self.padding = padding(self.left);
        let sparse = match (header.entry_type(), &pax.sparse) {
            (EntryType::GNUSparse, None) => {
                let (size, map) = self.gnu_map(&header, &path)?;
                Some(sparse(size, &map, self.left).map_err(&refuse)?)
            }
            (EntryType::Regular | EntryType::Continuous, Some(described)) => {
                let size = described.size.or(pax.size);
                let size = size.ok_or_else(|| refuse("a sparse file without a size".to_owned()))?;
                let map = match described.major {
                    0 => described.map.clone(),
                    1 => self.map_in_content(&path)?,
                    major => return Err(refuse(format!("a sparse file of version {major}"))),
                };
                Some(sparse(size, &map, self.left).map_err(&refuse)?)
            }
            (_, Some(_)) => {
                return Err(refuse(
                    "the map of a sparse file for something else".to_owned(),
                ));
            }
            (_, None) => None,
        };
        Ok(Member {
            size: self.left,
            header,
            path,
            link,
            pax,
            sparse,
        })
    }

    /// The map of an old GNU sparse file: four regions in the header, more in blocks that follow.
    fn gnu_map(&mut self, header: &Header, path: &[u8]) -> Result<(u64, Vec<u64>), LayerError> {
        let refuse = |reason: String| LayerError::refused(path, reason);
        let gnu = header
            .as_gnu()
            .ok_or_else(|| refuse("a sparse file without a GNU header".to_owned()))?;
        let size = gnu.real_size().map_err(|error| refuse(error.to_string()))?;
        let mut map = Vec::new();
        let mut add = |regions: &[tar::GnuSparseHeader]| -> Result<(), LayerError> {
            for region in regions {
                if region.is_empty() {
                    continue;
                }
                let numbers = region
                    .offset()
                    .and_then(|offset| Ok([offset, region.length()?]))
                    .map_err(|error| refuse(error.to_string()))?;
                map.extend(numbers);
                few(map.len()).map_err(refuse)?;
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let Some(block) = self.block()? else {
                return Err(broken("it ends within the map of a sparse file"));
            };
            let mut extended = tar::GnuExtSparseHeader::new();
            extended.as_mut_bytes().copy_from_slice(&block);
            add(&extended.sparse)?;
            more = extended.is_extended();
        }
        Ok((size, map))
    }

    /// The map of a sparse file of version 1: numbers in lines, padded to a block.
    fn map_in_content(&mut self, path: &[u8]) -> Result<Vec<u64>, LayerError> {
        let malformed = || LayerError::refused(path, "malformed map of a sparse file");
        let mut text: Vec<u8> = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        let mut wanted = None;
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            if self.left < BLOCK as u64 {
                return Err(malformed());
            }
            let block = self.block()?.ok_or_else(malformed)?;
            self.left -= BLOCK as u64;
            for byte in block {
                if wanted.is_some_and(|wanted| numbers.len() == wanted) {
                    break;
                }
                if byte != b'\n' {
                    text.push(byte);
                    continue;
                }
                let found = number(&text).ok_or_else(malformed)?;
                text.clear();
                if wanted.is_some() {
                    numbers.push(found);
                } else {
                    let count = usize::try_from(found)
                        .ok()
                        .and_then(|count| count.checked_mul(2))
                        .ok_or_else(malformed)?;
                    few(count).map_err(|reason| LayerError::refused(path, reason))?;
                    wanted = Some(count);
                }
            }
        }
        Ok(numbers)
    }
}

/// The content of the current entry. It ends early where the archive does.
impl<R: BufRead> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let length = chunk.len().min(buffer.len());
        buffer[..length].copy_from_slice(&chunk[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Archive<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let chunk = self.reader.fill_buf()?;
        let length = usize::try_from(self.left).unwrap_or(chunk.len());
        Ok(&chunk[..length.min(chunk.len())])
    }

    fn consume(&mut self, length: usize) {
        self.left -= length as u64;
        self.reader.consume(length);
    }
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn size(header: &Header) -> Result<u64, String> {
    let size = header
        .entry_size()
        .map_err(|error| format!("no valid size: {error}"))?;
    if size > u64::MAX >> 2 {
        return Err("a size that no file can have".to_owned());
    }
    Ok(size)
}

/// How many bytes of content follow, where all readers agree on it.
fn content_size(header: &Header, pax: &Pax, path: &[u8]) -> Result<u64, String> {
    let own = size(header)?;
    let stated = pax.size.unwrap_or(own);
    let kind = header.entry_type();
    match kind {
        EntryType::Regular | EntryType::Continuous if !path.ends_with(b"/") => {
            if stated > u64::MAX >> 2 {
                return Err("a size that no file can have".to_owned());
            }
            Ok(stated)
        }
        EntryType::GNUSparse if pax.size.is_none_or(|size| size == own) => Ok(own),
        EntryType::GNUSparse => Err("two sizes".to_owned()),
        // Old writers put the size of the file there, and everybody passes it over.
        EntryType::Link if pax.size.is_none_or(|size| size == 0) => Ok(0),
        _ if stated == 0 && own == 0 => Ok(0),
        _ => Err("content where there can be none".to_owned()),
    }
}

/// A map whose regions follow each other and hold all of the content.
fn sparse(size: u64, map: &[u64], content: u64) -> Result<Sparse, String> {
    let wrong = || "malformed map of a sparse file".to_owned();
    let (pairs, rest) = map.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong());
    }
    let (mut end, mut sum) = (0_u64, 0_u64);
    let mut regions = Vec::with_capacity(pairs.len());
    for [offset, length] in pairs {
        if *offset < end {
            return Err(wrong());
        }
        end = offset.checked_add(*length).ok_or_else(wrong)?;
        // No overflow: the regions do not overlap.
        sum += length;
        if *length > 0 {
            regions.push((*offset, *length));
        }
    }
    if end > size || sum != content {
        return Err(wrong());
    }
    Ok(Sparse { size, regions })
}
