//! Extended headers: records of the form `LENGTH KEY=VALUE\n`, as pax(1) of POSIX has them.

use super::entry::is_wanted_xattr;

const XATTRS_MAX: usize = 64;
const XATTR_BYTES_MAX: usize = 16 << 10;
/// More than any file needs that is not made to be a nuisance.
pub(super) const REGIONS_MAX: usize = 1 << 16;

/// What the extended header of an entry says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<PaxSparse>,
}

/// What GNU tar writes of a sparse file, in one of three ways.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PaxSparse {
    /// 1 has its map in front of the content.
    pub(super) major: u64,
    pub(super) name: Option<Vec<u8>>,
    /// The apparent size.
    pub(super) size: Option<u64>,
    /// Offsets and lengths in turn.
    pub(super) map: Vec<u64>,
}

/// Splits an extended header into its records.
fn records(mut body: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), String>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let Some((key, value, rest)) = record(body) else {
            body = &[];
            return Some(Err("malformed extended header".to_owned()));
        };
        body = rest;
        Some(Ok((key, value)))
    })
}

fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = body.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&body[..digits])?).ok()?;
    let text = body.get(digits + 1..length)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&text[..equals], &text[equals + 1..]);
    (!key.is_empty()).then_some((key, value, &body[length..]))
}

/// Reads decimal digits and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Pax {
    /// Reads the extended header of one entry.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let mut pax = Self::default();
        for record in records(body) {
            let (key, value) = record?;
            let numeric = || {
                number(value).ok_or_else(|| {
                    let key = key.escape_ascii();
                    format!("malformed extended header: {key} is no number")
                })
            };
            match key {
                b"path" => pax.path = Some(value.to_owned()),
                b"linkpath" => pax.link = Some(value.to_owned()),
                b"size" => pax.size = Some(numeric()?),
                b"uid" => pax.uid = Some(numeric()?),
                b"gid" => pax.gid = Some(numeric()?),
                b"mtime" => pax.mtime = Some(time(value)?),
                b"GNU.sparse.major" => pax.sparse().major = numeric()?,
                b"GNU.sparse.minor" | b"GNU.sparse.numblocks" => {
                    numeric()?;
                    pax.sparse();
                }
                b"GNU.sparse.name" => pax.sparse().name = Some(value.to_owned()),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    pax.sparse().size = Some(numeric()?);
                }
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    let at = numeric()?;
                    let map = &mut pax.sparse().map;
                    if map.len() % 2 != usize::from(key == b"GNU.sparse.numbytes") {
                        return Err("malformed map of a sparse file".to_owned());
                    }
                    map.push(at);
                    few(map.len())?;
                }
                b"GNU.sparse.map" => {
                    let map = &mut pax.sparse().map;
                    map.clear();
                    for text in value.split(|byte| *byte == b',') {
                        map.push(number(text).ok_or("malformed map of a sparse file")?);
                        few(map.len())?;
                    }
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(format!("{} is not known", key.escape_ascii()));
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        pax.xattr(name, value)?;
                    }
                }
            }
        }
        Ok(pax)
    }

    /// Looks at a header for all entries that follow, which must not say anything about them:
    /// readers differ in what they make of it.
    pub(super) fn check_global(body: &[u8]) -> Result<(), String> {
        let pax = Self::read(body)?;
        if pax == Self::default() {
            Ok(())
        } else {
            Err("a global extended header that changes entries".to_owned())
        }
    }

    fn sparse(&mut self) -> &mut PaxSparse {
        self.sparse.get_or_insert_default()
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        if !is_wanted_xattr(name) {
            return Ok(());
        }
        self.xattrs.retain(|(known, _)| known != name);
        self.xattrs.push((name.to_owned(), value.to_owned()));
        let bytes: usize = self
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if self.xattrs.len() > XATTRS_MAX || bytes > XATTR_BYTES_MAX {
            return Err("too many or too large extended attributes".to_owned());
        }
        Ok(())
    }
}

/// Holds the numbers of a map to two for each region.
pub(super) fn few(numbers: usize) -> Result<(), String> {
    if numbers > 2 * REGIONS_MAX {
        return Err(format!("a sparse file of more than {REGIONS_MAX} regions"));
    }
    Ok(())
}

/// Reads `[-]SECONDS[.FRACTION]`.
fn time(value: &[u8]) -> Result<(i64, u32), String> {
    let wrong = || "malformed extended header: mtime is no time".to_owned();
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty()
        || !digits
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
    {
        return Err(wrong());
    }
    if whole.starts_with('-') {
        return Ok((0, 0));
    }
    // Too many digits are too late a time, which is clamped.
    let seconds = whole.parse().unwrap_or(i64::MAX);
    let nanoseconds = format!("{fraction:0<9}")[..9]
        .parse()
        .map_err(|_| wrong())?;
    Ok((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_by_their_lengths() {
        let body = b"23 path=new\nline=\xff and\n16 linkpath=x y\n12 size=017\n";
        let pax = Pax::read(body).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"new\nline=\xff and"[..]));
        assert_eq!(pax.link.as_deref(), Some(&b"x y"[..]));
        assert_eq!(pax.size, Some(17));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"10 path=x",
            b"8 path=x\n",
            b"10 path=x\n\n",
            b"-10 path=x\n",
            b"+10 path=x\n",
            b"99999999999999999999999 path=x\n",
            b"5 =x\n",
            b"8 pathx\n",
            b"11 size=-1\n",
            b"9 size=\n",
            b"\0\0\0\0",
        ] {
            assert!(Pax::read(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(Pax::check_global(b"18 comment=fedcba\n").is_ok());
        assert!(Pax::check_global(b"10 path=x\n").is_err());
    }

    #[test]
    fn times_are_read_and_clamped() {
        assert_eq!(time(b"12.5").unwrap(), (12, 500_000_000));
        assert_eq!(time(b"12").unwrap(), (12, 0));
        assert_eq!(time(b"12.1234567891").unwrap(), (12, 123_456_789));
        assert_eq!(time(b"-1").unwrap(), (0, 0));
        assert_eq!(time(b"9223372036854775808").unwrap().0, i64::MAX);
        for bad in [&b""[..], b"x", b".", b"-", b"1.x", b"\xff"] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }
}
