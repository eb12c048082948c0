//! Which packages are installed on which image.

use std::path::Path;
use std::str::FromStr;

use super::facts::{Facts, TemplateError};
use super::select::{is_pattern, matches};
use crate::image::Family;
use crate::install::{Package, PackageError};

/// A PACKAGE argument: a template, and the images that it is for.
///
/// `family=redhat,https://example.org/x-{version}.rpm`; conditions are `family=` and `image=`, and
/// all of them have to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRule {
    conditions: Vec<Condition>,
    template: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Family(Family),
    /// A name, an alias, or a pattern for them.
    Image(String),
}

/// Why a PACKAGE argument is wrong, or wrong for an image.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// No such family.
    #[error("{given}: the family is one of debian, redhat, suse, arch, not {word:?}")]
    Family {
        /// What was given.
        given: String,
        /// What was said to be one.
        word: String,
    },
    /// There are conditions, and no package.
    #[error("{0}: no package is named")]
    Empty(String),
    /// The family is asked for, and not known.
    #[error("{given}: the family of {image} is not known before it is pulled; name it with image=")]
    UnknownFamily {
        /// What was given.
        given: String,
        /// The image.
        image: String,
    },
    /// The template cannot be filled in.
    #[error("package {0}")]
    Template(#[from] TemplateError),
    /// What it says for an image is no package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// None is for this image.
    #[error("no package is for {0}")]
    None(String),
}

impl PackageRule {
    /// Reads a PACKAGE argument.
    pub fn parse(given: &str) -> Result<Self, RuleError> {
        let mut conditions = Vec::new();
        let mut rest = given;
        while let Some((condition, after)) = condition(rest, given)? {
            conditions.push(condition);
            rest = after;
        }
        if rest.is_empty() && !conditions.is_empty() {
            return Err(RuleError::Empty(given.to_owned()));
        }
        Ok(Self {
            conditions,
            template: rest.to_owned(),
        })
    }

    /// The same rule, with the path of a file that is not absolute taken from a directory.
    #[must_use]
    pub fn below(mut self, directory: &Path) -> Self {
        if let Ok(Package::File(path)) = Package::parse(&self.template) {
            self.template = directory.join(path).display().to_string();
        }
        self
    }

    /// Whether it is for an image.
    pub fn is_for(&self, facts: &Facts) -> Result<bool, RuleError> {
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Family(family) => {
                    let of_image = facts.family.ok_or_else(|| RuleError::UnknownFamily {
                        given: self.to_string(),
                        image: facts.names.first().unwrap_or(&facts.image).clone(),
                    })?;
                    of_image == *family
                }
                Condition::Image(pattern) => facts
                    .names
                    .iter()
                    .any(|name| name == pattern || is_pattern(pattern) && matches(pattern, name)),
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl FromStr for PackageRule {
    type Err = RuleError;

    fn from_str(given: &str) -> Result<Self, RuleError> {
        Self::parse(given)
    }
}

impl std::fmt::Display for PackageRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for condition in &self.conditions {
            match condition {
                Condition::Family(family) => write!(f, "family={family},")?,
                Condition::Image(pattern) => write!(f, "image={pattern},")?,
            }
        }
        f.write_str(&self.template)
    }
}

/// The condition that a text begins with, and what comes after it. A name with a `=` and no comma is
/// apt's way to ask for a version.
fn condition<'a>(text: &'a str, given: &str) -> Result<Option<(Condition, &'a str)>, RuleError> {
    let Some((condition, after)) = text.split_once(',') else {
        return Ok(None);
    };
    Ok(match condition.split_once('=') {
        Some(("family", word)) => {
            let families = [Family::Debian, Family::Redhat, Family::Suse, Family::Arch];
            let family = families
                .into_iter()
                .find(|family| family.to_string() == word)
                .ok_or_else(|| RuleError::Family {
                    given: given.to_owned(),
                    word: word.to_owned(),
                })?;
            Some((Condition::Family(family), after))
        }
        Some(("image", pattern)) => Some((Condition::Image(pattern.to_owned()), after)),
        _ => None,
    })
}

/// The packages for an image. That there is none for it, where there are some for others, is a
/// mistake: nothing would be tested there, and pass.
pub fn packages_for(rules: &[PackageRule], facts: &Facts) -> Result<Vec<Package>, RuleError> {
    let mut packages = Vec::new();
    for rule in rules {
        if rule.is_for(facts)? {
            packages.push(Package::parse(&facts.fill(&rule.template)?)?);
        }
    }
    if packages.is_empty() && !rules.is_empty() {
        let image = facts.names.last().unwrap_or(&facts.image);
        return Err(RuleError::None(image.clone()));
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Catalogue, Reference};

    fn on(name: &str, rules: &[&str]) -> Result<Vec<String>, String> {
        let catalogue = Catalogue::builtin().unwrap();
        let reference = Reference::Catalogue(name.to_owned());
        let facts = Facts::of(&catalogue, &reference, &"linux/amd64".parse().unwrap());
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| PackageRule::parse(rule).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        let packages = packages_for(&rules, &facts).map_err(|error| error.to_string())?;
        Ok(packages.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn one_run_covers_deb_and_rpm() {
        let rules = [
            "family=debian,./dist/x_{version}_{arch}.deb",
            "family=redhat,https://example.org/a,b/x-{version}.{arch}.rpm",
            "family=redhat,image=centos-*,epel-release",
        ];
        assert_eq!(on("debian-12", &rules).unwrap(), ["./dist/x_12_amd64.deb"]);
        assert_eq!(
            on("rockylinux-9", &rules).unwrap(),
            ["https://example.org/a,b/x-9.x86_64.rpm"]
        );
        assert_eq!(
            on("centos-stream-9", &rules).unwrap(),
            ["https://example.org/a,b/x-9.x86_64.rpm", "epel-release"]
        );
    }

    #[test]
    fn an_image_without_a_package_is_a_mistake() {
        assert_eq!(
            on("debian-12", &["family=suse,x"]),
            Err("no package is for debian-12".to_owned())
        );
        assert_eq!(on("debian-12", &[]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        assert_eq!(
            on("debian-12", &["family=gentoo,x"]).unwrap_err(),
            "family=gentoo,x: the family is one of debian, redhat, suse, arch, not \"gentoo\""
        );
        assert!(
            on("debian-12", &["image=x,"])
                .unwrap_err()
                .contains("no package")
        );
        // A version of apt's, not a condition.
        assert_eq!(on("debian-12", &["family=1.0"]).unwrap(), ["family=1.0"]);
    }

    #[test]
    fn a_family_that_is_not_known_is_not_guessed() {
        let facts = Facts {
            image: "x".to_owned(),
            names: vec!["docker.io/x/y:1".to_owned()],
            ..Facts::default()
        };
        let rule = PackageRule::parse("family=debian,x").unwrap();
        assert!(
            rule.is_for(&facts)
                .unwrap_err()
                .to_string()
                .contains("image=")
        );
        let rule = PackageRule::parse("image=docker.io/x/*,x").unwrap();
        assert!(rule.is_for(&facts).unwrap());
    }
}
