//! What is known of an image before it is pulled, and templates that are filled in with it.

use std::fs;

use crate::image::catalogue::Entry;
use crate::image::{Catalogue, Family, Platform, Reference};

/// What is known of an image before it is pulled: all of it of a catalogue's image, what its
/// os-release(5) says of a directory, and nothing of others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The catalogue's name for it, or the part of a machine's name that is made of it.
    pub image: String,
    /// All names that it goes by.
    pub names: Vec<String>,
    /// Its family.
    pub family: Option<Family>,
    /// The distribution: what comes before the release in its name, or `ID`.
    pub distribution: Option<String>,
    /// The release's number, or `VERSION_ID`.
    pub version: Option<String>,
    /// The release's name, or `VERSION_CODENAME`.
    pub codename: Option<String>,
    /// The architecture as its package manager has it.
    pub arch: Option<String>,
}

/// Why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No such placeholder.
    #[error("{template}: {{{name}}} is no placeholder; they are {}", PLACEHOLDERS.join(", "))]
    Unknown {
        /// The template.
        template: String,
        /// The placeholder.
        name: String,
    },
    /// The placeholder does not end.
    #[error("{template}: a {{ without a }}; {{{{ and }}}} stand for the braces themselves")]
    Open {
        /// The template.
        template: String,
    },
    /// The image has no such thing, or it is not known before it is pulled.
    #[error("{template}: {image} has no {{{name}}} that is known before it is pulled")]
    Missing {
        /// The template.
        template: String,
        /// The placeholder.
        name: String,
        /// The image.
        image: String,
    },
}

/// What a template may have.
const PLACEHOLDERS: [&str; 6] = [
    "{image}",
    "{distribution}",
    "{version}",
    "{codename}",
    "{family}",
    "{arch}",
];

impl Facts {
    /// What is known of an image that is for `platform`.
    pub fn of(catalogue: &Catalogue, reference: &Reference, platform: &Platform) -> Self {
        let mut facts = match reference {
            Reference::Catalogue(name) => catalogue.find(name).map(Self::of_entry),
            Reference::Directory(path) => ["etc/os-release", "usr/lib/os-release"]
                .iter()
                .find_map(|file| fs::read_to_string(path.join(file)).ok())
                .map(|text| Self::of_os_release(&text)),
            _ => None,
        }
        .unwrap_or_default();
        if facts.image.is_empty() {
            facts.image = reference.machine_name();
        }
        facts.names.push(reference.to_string());
        facts.arch = facts
            .family
            .map(|family| arch(family, platform.architecture()));
        facts
    }

    fn of_entry(entry: &Entry) -> Self {
        let begins_with_digit = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit());
        let split = |name| str::rsplit_once(name, '-');
        let releases = || entry.names().filter_map(split).map(|(_, release)| release);
        let (distribution, own) = split(&entry.name).unwrap_or((&entry.name, ""));
        Self {
            image: entry.name.clone(),
            names: entry.names().map(str::to_owned).collect(),
            family: Some(entry.family),
            distribution: Some(distribution.to_owned()),
            version: releases().find(begins_with_digit).map(str::to_owned),
            codename: (!own.is_empty() && !begins_with_digit(&own)).then(|| own.to_owned()),
            arch: None,
        }
    }

    fn of_os_release(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name == key).then(|| value.trim_matches(['"', '\'']).to_owned())
            })
        };
        Self {
            family: Family::of_os_release(text),
            distribution: value("ID"),
            version: value("VERSION_ID"),
            codename: value("VERSION_CODENAME"),
            ..Self::default()
        }
    }

    /// Fills a template in.
    pub fn fill(&self, template: &str) -> Result<String, TemplateError> {
        let open = || TemplateError::Open {
            template: template.to_owned(),
        };
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                filled.push_str(&rest[..1]);
                rest = after;
                continue;
            }
            let (name, after) = rest
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .ok_or_else(open)?;
            filled.push_str(&self.value(name, template)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, name: &str, template: &str) -> Result<String, TemplateError> {
        let value = match name {
            "image" => Some(self.image.clone()),
            "distribution" => self.distribution.clone(),
            "version" => self.version.clone(),
            "codename" => self.codename.clone(),
            "family" => self.family.map(|family| family.to_string()),
            "arch" => self.arch.clone(),
            _ => {
                return Err(TemplateError::Unknown {
                    template: template.to_owned(),
                    name: name.to_owned(),
                });
            }
        };
        value.ok_or_else(|| TemplateError::Missing {
            template: template.to_owned(),
            name: name.to_owned(),
            image: self.names.first().unwrap_or(&self.image).clone(),
        })
    }
}

/// An architecture as the package managers of a family have it; OCI's names are Debian's.
fn arch(family: Family, architecture: &str) -> String {
    match (family, architecture) {
        (Family::Debian, "386") => "i386",
        (Family::Debian, "arm") => "armhf",
        (Family::Debian, "ppc64le") => "ppc64el",
        (Family::Debian, other) => other,
        (_, "amd64") => "x86_64",
        (_, "arm64") => "aarch64",
        (_, "386") => "i686",
        (_, "arm") => "armv7hl",
        (_, other) => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str) -> Facts {
        let catalogue = Catalogue::builtin().unwrap();
        let reference = Reference::Catalogue(name.to_owned());
        Facts::of(&catalogue, &reference, &"linux/amd64".parse().unwrap())
    }

    #[test]
    fn a_template_is_filled_in_for_each_image() {
        let template = "{distribution}-{version}_{arch}.{family}";
        let filled = |name| facts(name).fill(template).unwrap();
        assert_eq!(filled("debian-bookworm"), "debian-12_amd64.debian");
        assert_eq!(filled("debian-12"), "debian-12_amd64.debian");
        assert_eq!(filled("ubuntu-jammy"), "ubuntu-22.04_amd64.debian");
        assert_eq!(filled("rockylinux-9"), "rockylinux-9_x86_64.redhat");
        assert_eq!(filled("centos-8"), "centos-8_x86_64.redhat");
        assert_eq!(filled("opensuse-leap"), "opensuse-16.0_x86_64.suse");
        assert_eq!(facts("debian-sid").fill("{codename}").unwrap(), "sid");
        assert_eq!(
            facts("debian-12").fill("{image}{{x}}").unwrap(),
            "debian-bookworm{x}"
        );
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        let wrong =
            |name: &str, template: &str| facts(name).fill(template).unwrap_err().to_string();
        assert_eq!(
            wrong("debian-12", "x_{verison}.deb"),
            "x_{verison}.deb: {verison} is no placeholder; they are {image}, {distribution}, \
             {version}, {codename}, {family}, {arch}"
        );
        assert_eq!(
            wrong("debian-sid", "x_{version}.deb"),
            "x_{version}.deb: debian-sid has no {version} that is known before it is pulled"
        );
        assert!(wrong("fedora-43", "{codename}").contains("has no {codename}"));
        assert!(wrong("debian-12", "x_{version.deb").contains("without a }"));
        assert!(wrong("debian-12", "x}").contains("without a }"));
    }

    #[test]
    fn a_directory_says_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(
            directory.path().join("etc/os-release"),
            "ID=fedora\nVERSION_ID=\"43\"\n",
        )
        .unwrap();
        let reference = Reference::Directory(directory.path().to_owned());
        let catalogue = Catalogue::builtin().unwrap();
        let facts = Facts::of(&catalogue, &reference, &"linux/arm64".parse().unwrap());
        assert_eq!(
            facts.fill("{distribution}{version}.{arch}").unwrap(),
            "fedora43.aarch64"
        );
    }
}
