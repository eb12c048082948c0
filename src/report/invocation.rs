//! Which run it was that a report tells of.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// What a report says of the run as a whole, so that it can be told apart and repeated.
#[derive(Debug, Clone, Serialize)]
pub struct Invocation {
    /// postroj's version.
    pub version: &'static str,
    /// The host's name.
    pub host: String,
    /// The release of the host's kernel: `6.1.0-40-amd64`.
    pub kernel: String,
    /// When it began; written in UTC (RFC 3339).
    #[serde(serialize_with = "utc")]
    pub started: SystemTime,
    /// The command line without the program, and without the credentials in its URLs.
    pub arguments: Vec<String>,
}

impl Invocation {
    /// A run of this process that began at `started`, with these arguments.
    pub fn new(arguments: impl IntoIterator<Item = OsString>, started: SystemTime) -> Self {
        let system = rustix::system::uname();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            host: system.nodename().to_string_lossy().into_owned(),
            kernel: system.release().to_string_lossy().into_owned(),
            started,
            arguments: arguments
                .into_iter()
                .map(|argument| without_credentials(&argument.to_string_lossy()))
                .collect(),
        }
    }

    /// The command line, in one line.
    pub(super) fn command(&self) -> String {
        let mut words = vec!["postroj".to_owned()];
        words.extend(self.arguments.iter().map(|argument| quoted(argument)));
        words.join(" ")
    }
}

/// A word of a command line as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+*?".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A text without the user and the password of any URL in it (RFC 3986, section 3.2.1). It may hold
/// several, and be no URL itself: `family=redhat,https://user:password@example.org/x.rpm`.
fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        // A password may hold what ends an authority, if it is not encoded as it should be: better
        // too much is left out than a part of it shown.
        let end = after
            .find(|c: char| c.is_whitespace() || c == ',')
            .unwrap_or(after.len());
        let authority = after.find(['/', '?', '#']).unwrap_or(after.len());
        let credentials = after[..authority.min(end)]
            .rfind('@')
            .or_else(|| after[..end].split("://").next().and_then(unencoded));
        rest = credentials.map_or(after, |at| &after[at + 1..]);
    }
    clean.push_str(rest);
    clean
}

/// Where the credentials end that hold a slash: `user:pass/word@host`.
fn unencoded(text: &str) -> Option<usize> {
    let at = text.rfind('@')?;
    let colon = text.find(':')?;
    let slash = text.find(['/', '?', '#'])?;
    // `host:80/path@x` has a port there.
    let port = text.get(colon + 1..slash)?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    (colon < slash && slash < at && !is_port).then_some(at)
}

/// A time in UTC, to the second: `2026-11-24T13:50:50Z` (RFC 3339).
pub(super) fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let (days, second) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date so many days after 1970-01-01, in the Gregorian calendar. Counted from 1 March of the
/// year 0, so that a leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let era = days / DAYS_OF_400_YEARS;
    let day = days % DAYS_OF_400_YEARS;
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let day_of_month = day - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, day_of_month)
}

fn utc<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_everywhere() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(1_709_251_200), "2024-03-01T00:00:00Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(at(1_795_528_250), "2026-11-24T13:50:50Z");
    }

    #[test]
    fn credentials_are_in_no_report() {
        for (given, shown) in [
            ("https://u:p@example.org/x.deb", "https://example.org/x.deb"),
            (
                "family=redhat,https://u:p@a/x,http://v@b/y",
                "family=redhat,https://a/x,http://b/y",
            ),
            ("--package=https://u:p@q@h", "--package=https://h"),
            ("http://u:pa/ss@h/x", "http://h/x"),
            ("http://h:80/a@b", "http://h:80/a@b"),
            ("tcp://localhost:80", "tcp://localhost:80"),
            ("docker.io/debian@sha256:00", "docker.io/debian@sha256:00"),
            ("ä://ö@ü", "ä://ü"),
            ("://", "://"),
        ] {
            assert_eq!(without_credentials(given), shown);
        }
    }

    #[test]
    fn a_command_line_can_be_typed_again() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("--image=debian-12"), "--image=debian-12");
    }
}
