//! Decompression with bounds.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Condvar, Mutex, PoisonError};

/// How the bytes of an archive are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, of one or more members.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
}

/// xz needs 65 MiB at its highest preset.
const XZ_MEMORY: u64 = 70 << 20;
/// 2^25: 32 MiB, more than what writes images takes.
const ZSTD_WINDOW_LOG: u32 = 25;
/// 2^23: 8 MiB, what every reader has to take. Several layers are inflated at once, but only one
/// with a larger window.
const ZSTD_USUAL_LOG: u32 = 23;
const BUFFER: usize = 128 << 10;

impl Compression {
    /// Tells the compression by the first bytes.
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
        })
    }
}

/// A reader of the uncompressed bytes; a declared compression that is not the real one is an error.
pub(in crate::image) fn inflate<R: Read>(
    compressed: R,
    declared: Option<Compression>,
) -> io::Result<Inflate<R>> {
    let (found, large, input) = sniff(compressed)?;
    let compression = declared.unwrap_or(found);
    if compression != found {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("declared to be {compression} and is {found}"),
        ));
    }
    Ok(match compression {
        Compression::Plain => Inflate::Plain(input),
        Compression::Gzip => Inflate::Gzip(Members::First(Box::new(
            flate2::bufread::GzDecoder::new(input),
        ))),
        Compression::Zstd => {
            let turn = large.then(Turn::take);
            let log = if large {
                ZSTD_WINDOW_LOG
            } else {
                ZSTD_USUAL_LOG
            };
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(log)?;
            Inflate::Zstd(Box::new(decoder), turn)
        }
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY,
                liblzma::stream::CONCATENATED,
            )?;
            Inflate::Xz(Box::new(liblzma::bufread::XzDecoder::new_stream(
                input, stream,
            )))
        }
    })
}

/// Tells the compression by the first six bytes, however few of them come at a time.
fn sniff<R: Read>(mut compressed: R) -> io::Result<(Compression, bool, Input<R>)> {
    let mut start = Vec::new();
    compressed.by_ref().take(6).read_to_end(&mut start)?;
    if start.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "there is nothing in it",
        ));
    }
    let found = Compression::sniff(&start);
    let large = found == Compression::Zstd && wants_large_window(&start);
    let whole = io::Cursor::new(start).chain(compressed);
    Ok((found, large, BufReader::with_capacity(BUFFER, whole)))
}

/// Whether a zstd frame has a window of more than the usual 8 MiB, or does not tell it in its first
/// six bytes ([RFC 8878](https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1), 3.1.1.1).
fn wants_large_window(start: &[u8]) -> bool {
    let [_, _, _, _, descriptor, window] = start else {
        return false;
    };
    let single_segment = descriptor & 0x20 != 0;
    let (exponent, mantissa) = (u32::from(window >> 3), u64::from(window & 7));
    let base = 1_u64 << (10 + exponent);
    single_segment || base + base / 8 * mantissa > 1 << ZSTD_USUAL_LOG
}

/// The right to use a large window, which one thread at a time has.
pub(in crate::image) struct Turn(());

static TAKEN: Mutex<bool> = Mutex::new(false);
static GIVEN_BACK: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let free = GIVEN_BACK.wait_while(taken, |taken| *taken);
        *free.unwrap_or_else(PoisonError::into_inner) = true;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = false;
        GIVEN_BACK.notify_one();
    }
}

/// The compressed bytes, the first of which have been looked at.
type Input<R> = BufReader<io::Chain<io::Cursor<Vec<u8>>, R>>;

/// The uncompressed bytes.
pub(in crate::image) enum Inflate<R: Read> {
    Plain(Input<R>),
    Gzip(Members<Input<R>>),
    Zstd(
        Box<zstd::stream::read::Decoder<'static, Input<R>>>,
        #[expect(dead_code, reason = "it is given back with the decoder")] Option<Turn>,
    ),
    Xz(Box<liblzma::bufread::XzDecoder<Input<R>>>),
}

impl<R: Read> Inflate<R> {
    /// The reader of the compressed bytes.
    pub(super) fn into_inner(self) -> R {
        let input = match self {
            Self::Plain(reader) => reader,
            Self::Gzip(members) => members.into_inner(),
            Self::Zstd(decoder, _) => decoder.finish(),
            Self::Xz(decoder) => decoder.into_inner(),
        };
        input.into_inner().into_inner().1
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(members) => members.read(buffer),
            Self::Zstd(decoder, _) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
        }
    }
}

/// The members of a gzip file, one after the other, with zeros allowed at its end.
pub(in crate::image) enum Members<R: BufRead> {
    First(Box<flate2::bufread::GzDecoder<R>>),
    Padding(R),
    /// Only while one state is turned into the next.
    Between,
}

impl<R: BufRead> Members<R> {
    fn into_inner(self) -> R {
        match self {
            Self::First(decoder) => decoder.into_inner(),
            Self::Padding(input) => input,
            Self::Between => unreachable!("no read leaves this state behind"),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self {
                Self::First(decoder) => {
                    let length = decoder.read(buffer)?;
                    if length > 0 {
                        return Ok(length);
                    }
                    let Self::First(decoder) = std::mem::replace(self, Self::Between) else {
                        unreachable!("just seen to be a member")
                    };
                    let mut input = decoder.into_inner();
                    let next = input.fill_buf().map(|bytes| bytes.first().copied());
                    *self = match next {
                        Ok(Some(0x1f)) => {
                            Self::First(Box::new(flate2::bufread::GzDecoder::new(input)))
                        }
                        _ => Self::Padding(input),
                    };
                    next?;
                }
                Self::Padding(input) => {
                    let bytes = input.fill_buf()?;
                    if bytes.is_empty() {
                        return Ok(0);
                    }
                    if bytes.iter().any(|byte| *byte != 0) {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "something that is not gzip follows the gzip data",
                        ));
                    }
                    let length = bytes.len();
                    input.consume(length);
                }
                Self::Between => unreachable!("no read leaves this state behind"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], declared: Option<Compression>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        inflate(bytes, declared)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn each_compression_is_told_and_undone() {
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(b"hello").unwrap();
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for bytes in [
            b"hello".to_vec(),
            gzip(b"hello"),
            zstd,
            xz.finish().unwrap(),
        ] {
            assert_eq!(read(&bytes, None).unwrap(), b"hello");
        }
    }

    #[test]
    fn a_wrong_declaration_is_refused() {
        let error = read(&gzip(b"hello"), Some(Compression::Plain)).unwrap_err();
        assert_eq!(error.to_string(), "declared to be uncompressed and is gzip");
        assert!(read(b"hello", Some(Compression::Gzip)).is_err());
    }

    #[test]
    fn gzip_members_follow_each_other_and_zeros_may_follow_them() {
        let mut two = gzip(b"one ");
        two.extend(gzip(b"two"));
        assert_eq!(read(&two, None).unwrap(), b"one two");
        two.extend([0; 100]);
        assert_eq!(read(&two, None).unwrap(), b"one two");
        two.push(7);
        assert!(read(&two, None).is_err());
    }

    #[test]
    fn truncation_is_an_error() {
        let whole = gzip(&[7; 1000]);
        for cut in [whole.len() - 1, whole.len() - 9, 5] {
            assert!(read(&whole[..cut], None).is_err(), "{cut}");
        }
        assert!(read(&[], None).is_err());
    }
}
