//! Platforms, as OCI and Go name them: `linux/amd64`, `linux/arm/v7`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, an architecture and, where that says more, its variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no platform of the form OS/ARCH[/VARIANT], such as linux/amd64")]
pub struct PlatformError(String);

impl Platform {
    /// That of this machine.
    pub fn native() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture(std::env::consts::ARCH).to_owned(),
            variant: None,
        }
    }

    /// The architecture, as OCI and Go name it.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// One without a variant, if the parts can be of one.
    pub(super) fn from_parts(os: &str, architecture: &str) -> Option<Self> {
        format!("{os}/{architecture}").parse().ok()
    }

    /// The operating system and the architecture.
    pub(super) fn parts(&self) -> (&str, &str) {
        (&self.os, &self.architecture)
    }

    /// What says more than the architecture, where there is something.
    pub(super) fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How well what has this operating system, architecture and variant fits: the less the better,
    /// and not at all if none. Of several variants where none was asked for, the one that all
    /// machines of the architecture have fits best.
    pub(super) fn distance(&self, os: &str, arch: &str, variant: &str) -> Option<u8> {
        if (os, architecture(arch)) != self.parts() {
            return None;
        }
        match (&self.variant, variant) {
            (Some(wanted), variant) => (wanted == variant).then_some(0),
            (None, "") => Some(0),
            (None, variant) => Some(if self.usual_variant() == variant {
                1
            } else {
                2
            }),
        }
    }

    fn usual_variant(&self) -> &'static str {
        match &*self.architecture {
            "amd64" => "v1",
            "arm64" => "v8",
            "arm" => "v7",
            _ => "",
        }
    }

    /// Whether what is made for it can run on this machine: it is this machine's, one that its
    /// processor has besides, or one that an emulator is registered for (`binfmt_misc` of the kernel).
    pub fn runs_here(&self) -> bool {
        let own = Self::native();
        let native = matches!(
            (&*own.architecture, &*self.architecture),
            ("amd64", "386") | ("arm64", "arm")
        );
        self.os == own.os
            && (self.architecture == own.architecture || native || self.has_emulator())
    }

    fn has_emulator(&self) -> bool {
        let name = match &*self.architecture {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            "386" => "i386",
            other => other,
        };
        // Names with a path in them are none of an architecture.
        let path = Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{name}"));
        std::fs::read_to_string(path).is_ok_and(|text| text.starts_with("enabled"))
    }
}

/// The name that Go, and so OCI, has for an architecture.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" => "386",
        other => other,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        let (os, arch, variant) = match parts.as_slice() {
            [os, arch] => (os, arch, None),
            [os, arch, variant] => (os, arch, Some(*variant)),
            _ => return Err(PlatformError(text.to_owned())),
        };
        if !parts.iter().all(is_word) {
            return Err(PlatformError(text.to_owned()));
        }
        Ok(Self {
            os: (*os).to_owned(),
            architecture: architecture(arch).to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;

    fn try_from(text: String) -> Result<Self, PlatformError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_and_written() {
        for (text, whole) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/aarch64", "linux/arm64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), whole);
        }
        for bad in [
            "",
            "amd64",
            "linux/",
            "linux/../x",
            "linux/a/b/c",
            "Linux/amd64",
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
        assert!(Platform::native().runs_here());
        assert!(!"windows/amd64".parse::<Platform>().unwrap().runs_here());
    }

    #[test]
    fn a_variant_is_taken_exactly_or_the_usual_one() {
        let any: Platform = "linux/arm".parse().unwrap();
        let six: Platform = "linux/arm/v6".parse().unwrap();
        assert_eq!(any.distance("linux", "arm", "v7"), Some(1));
        assert_eq!(any.distance("linux", "arm", "v6"), Some(2));
        assert_eq!(any.distance("linux", "arm", ""), Some(0));
        assert_eq!(any.distance("linux", "arm64", ""), None);
        assert_eq!(six.distance("linux", "arm", "v6"), Some(0));
        assert_eq!(six.distance("linux", "arm", ""), None);
    }
}
