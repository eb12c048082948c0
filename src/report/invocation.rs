//! Which run it was that a report tells of.

use std::ffi::OsString;
use std::time::SystemTime;

use serde::Serialize;

use crate::timestamp;

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
    #[serde(serialize_with = "timestamp::seconds")]
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

#[cfg(test)]
mod tests {
    use super::*;

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
