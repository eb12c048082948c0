//! References to images in registries, by the grammar of the
//! [distribution project](https://github.com/distribution/reference/blob/main/reference.go), on
//! which the [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md)
//! and docker agree.
//!
//! ```text
//! reference  = [domain "/"] path [":" tag] ["@" digest]
//! domain     = host [":" digits]
//! host       = component *("." component) | "[" IPv6 address "]"
//! component  = letters, digits and, not at its ends, "-"
//! path       = part *("/" part)
//! part       = alphanumeric *(separator alphanumeric)        lower case only
//! separator  = "." | "_" | "__" | "-"…
//! tag        = a word character, then up to 127 of those, "." and "-"
//! ```
//!
//! It is read by hand: the regular expression of the grammar takes longer to be compiled than all
//! else that is done for an image that is in the store.

use std::fmt;
use std::net::Ipv6Addr;

use super::ReferenceError;
use crate::image::digest::Digest;

/// The registry of a reference that names none.
const DEFAULT_DOMAIN: &str = "docker.io";

/// What that was called once.
const LEGACY_DOMAIN: &str = "index.docker.io";

/// The most that domain and path may have together.
const NAME_MAX: usize = 255;

const TAG_MAX: usize = 128;

/// An image in a registry, in full: `docker.io/library/debian:bookworm`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    /// The registry's host, with its port where it has one.
    pub registry: String,
    /// The repository below it.
    pub repository: String,
    /// The tag, where there is one.
    pub tag: Option<String>,
    /// The digest, where there is one; it then decides and the tag is a comment.
    pub digest: Option<Digest>,
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl OciReference {
    /// Reads a reference as docker does: without a host it is `docker.io`'s, without a namespace
    /// there it is in `library`, and without tag and digest it is `latest`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let malformed = |reason: &str| ReferenceError::Malformed {
            text: text.chars().take(300).collect(),
            reason: reason.to_owned(),
        };
        let bare = text.strip_prefix("docker://").unwrap_or(text);
        let (name, digest) = match bare.split_once('@') {
            Some((name, digest)) => {
                let digest =
                    Digest::parse(digest).map_err(|error| malformed(&error.to_string()))?;
                (name, Some(digest))
            }
            None => (bare, None),
        };
        // The colon of a port has a path behind it.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let (domain, path) = split_domain(name);
        if name.is_empty() || path.is_empty() {
            return Err(malformed("it names no repository"));
        }
        if !is_domain(domain) {
            return Err(malformed(
                "its registry is neither a host name nor an address",
            ));
        }
        if !path.split('/').all(is_part) {
            return Err(malformed(
                if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    "a repository's name is in lower case"
                } else {
                    "its repository's name has characters that cannot be in one"
                },
            ));
        }
        if !tag.is_none_or(is_tag) {
            return Err(malformed("its tag has characters that cannot be in one"));
        }
        let repository = match (domain, path.contains('/')) {
            (DEFAULT_DOMAIN, false) => format!("library/{path}"),
            _ => path.to_owned(),
        };
        if domain.len() + 1 + repository.len() > NAME_MAX {
            return Err(malformed("its name has more than 255 characters"));
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            registry: domain.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// The repository in full, as registries.conf names it: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// An image whose registry was left out: `debian:bookworm`, `foo/bar`. Which one is meant is for the
/// configuration to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShortName {
    /// The repository, as it was typed.
    pub path: String,
    /// The tag, where there is one.
    pub tag: Option<String>,
    /// The digest, where there is one.
    pub digest: Option<Digest>,
}

impl ShortName {
    /// Reads a reference that names no registry; none if it names one.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, ReferenceError> {
        let whole = OciReference::parse(text)?;
        let name = text.split(['@', ':']).next().unwrap_or(text);
        // A port has a colon too, and what has one of these is a host.
        let first = text.split('/').next().unwrap_or(text);
        let is_host = text.contains('/') && (first == "localhost" || first.contains(['.', ':']));
        if is_host || text.starts_with("docker://") {
            return Ok(None);
        }
        Ok(Some(Self {
            path: name.to_owned(),
            tag: whole.tag,
            digest: whole.digest,
        }))
    }

    /// The image of this name at a registry.
    pub fn at(&self, registry: &str) -> Result<OciReference, ReferenceError> {
        self.named(&format!("{registry}/{}", self.path))
    }

    /// The image with this tag or digest of a repository that is named in full.
    pub(in crate::image) fn named(&self, name: &str) -> Result<OciReference, ReferenceError> {
        let mut reference = OciReference::parse(name)?;
        reference.tag.clone_from(&self.tag);
        reference.digest = self.digest;
        Ok(reference)
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// What comes before the first slash is a host if it has a dot or a port, or is `localhost`. (docker
/// takes one in capitals for a host too; here that is the mistake that it mostly is.)
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((LEGACY_DOMAIN, path)) => (DEFAULT_DOMAIN, path),
        Some((first, path)) if first == "localhost" || first.contains(['.', ':']) => (first, path),
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => return address.parse::<Ipv6Addr>().is_ok(),
            Some((address, port)) => match port.strip_prefix(':') {
                Some(port) => return address.parse::<Ipv6Addr>().is_ok() && is_port(port),
                None => return false,
            },
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    port.is_none_or(is_port) && host.split('.').all(is_component)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

fn is_part(part: &str) -> bool {
    let is_alphanumeric = |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_well = part.starts_with(is_alphanumeric) && part.ends_with(is_alphanumeric);
    ends_well
        && part.split(is_alphanumeric).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use oci_spec::distribution;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_told_from_paths() {
        for (typed, whole) in [
            ("debian:bookworm", "docker.io/library/debian:bookworm"),
            ("debian", "docker.io/library/debian:latest"),
            ("foo/bar", "docker.io/foo/bar:latest"),
            ("index.docker.io/debian", "docker.io/library/debian:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("[::1]:5000/x/y:z", "[::1]:5000/x/y:z"),
            ("[fd00::1]/x", "[fd00::1]/x:latest"),
            ("HOST:5/x", "HOST:5/x:latest"),
            ("quay.io/a__b/c--d/e.f_g", "quay.io/a__b/c--d/e.f_g:latest"),
        ] {
            assert_eq!(
                OciReference::parse(typed).unwrap().to_string(),
                whole,
                "{typed}"
            );
        }
    }

    #[test]
    fn what_the_grammar_does_not_have_is_refused() {
        let long = format!("host.example/{}", "a".repeat(250));
        for text in [
            "",
            ":x",
            "/x",
            "x/",
            "a//b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "A",
            "A/x:y",
            "x:",
            "x:.",
            "x y",
            "host:port/x",
            "host.example:99999/x",
            "host.example:/x",
            "-h.example/x",
            "h..example/x",
            "[::1/x",
            "[::1]5/x",
            "[nonsense]/x",
            "x/Y",
            "ü/x",
            "x:ü",
            "x@",
            "x@sha256:",
            &long,
        ] {
            assert!(OciReference::parse(text).is_err(), "{text:?}");
        }
        let tag = "t".repeat(129);
        assert!(OciReference::parse(&format!("x:{tag}")).is_err());
        assert!(OciReference::parse(&format!("x:{}", &tag[1..])).is_ok());
    }

    proptest! {
        /// The crate has the grammar's regular expression.
        #[test]
        fn it_is_what_the_grammar_has(text in "([a-zA-Z0-9.-]{1,6}(:[0-9]{1,4})?/)?[a-z0-9A-Z._/-]{1,10}(:[a-zA-Z0-9_.-]{0,6})?") {
            let ours = OciReference::parse(&text).ok();
            let theirs = text.parse::<distribution::Reference>().ok().filter(|found| {
                // Its first part is taken for a host at first and then not, or the other way round:
                // no host has an underscore.
                found.to_string().parse::<distribution::Reference>().is_ok()
                    && !found.registry().contains('_')
            });
            prop_assert_eq!(ours.is_some(), theirs.is_some(), "{:?} {:?} {:?}", text, ours, theirs);
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                prop_assert_eq!(&ours.repository, theirs.repository());
                prop_assert_eq!(ours.registry.as_str(), theirs.registry());
                prop_assert_eq!(ours.tag.as_deref(), theirs.tag());
            }
        }
    }
}
