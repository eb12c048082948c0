//! How an imported image is called.

use std::fmt;

use crate::image::reference::OciReference;

/// The name of an imported image: that of an image in a registry, mostly in `localhost`, which no
/// registry is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportName(OciReference);

/// Why it is not known how an image is to be called, or which one is meant.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// A bare word would be a name of the catalogue.
    #[error("{name:?} is a name of the catalogue's kind, which no imported image can have")]
    Bare {
        /// What was given.
        name: String,
    },
    /// It is no name.
    #[error("{name:?} is no name for an image: {reason}")]
    Malformed {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No name was given, and it has none or several.
    #[error("a name is needed: {}", none_or_several(names))]
    Needed {
        /// The names that it has.
        names: Vec<String>,
    },
    /// There are several images, and none of them has the name.
    #[error("it holds several images, and {wanted} is none of them: {}", names.join(", "))]
    Several {
        /// What was given.
        wanted: String,
        /// What they are called.
        names: Vec<String>,
    },
    /// There is no image.
    #[error("it holds no image")]
    Nothing,
}

impl NameError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bare { name } => Some(format!("--name localhost/{name}")),
            Self::Needed { names } if names.is_empty() => {
                Some("--name localhost/NAME, or localhost/NAME:TAG".to_owned())
            }
            Self::Needed { .. } | Self::Several { .. } => {
                Some("--name with one of these takes that one".to_owned())
            }
            Self::Malformed { .. } | Self::Nothing => None,
        }
    }
}

fn none_or_several(names: &[String]) -> String {
    match names {
        [] => "it has none".to_owned(),
        names => format!("it has {}", names.join(", ")),
    }
}

impl ImportName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let malformed = |reason: String| NameError::Malformed {
            name: text.chars().take(300).collect(),
            reason,
        };
        if !text.contains(['/', ':', '@']) {
            return Err(NameError::Bare {
                name: text.chars().take(300).collect(),
            });
        }
        let local = ["/", "./", "../", "http://", "https://", "file://"];
        if local.iter().any(|start| text.starts_with(start)) {
            return Err(malformed("it would name a file".to_owned()));
        }
        let reference = OciReference::parse(text).map_err(|error| malformed(error.to_string()))?;
        if reference.digest.is_some() {
            return Err(malformed("it has a digest".to_owned()));
        }
        Ok(Self(reference))
    }

    pub(in crate::image) fn reference(&self) -> &OciReference {
        &self.0
    }
}

impl fmt::Display for ImportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of several images is meant, and how it is to be called: each has the names that are listed.
///
/// Of several, one is meant by its own name or tag.
pub(super) fn choose(
    images: &[Vec<String>],
    wanted: Option<ImportName>,
) -> Result<(usize, ImportName), NameError> {
    let all = || -> Vec<String> {
        let mut names: Vec<String> = images.iter().flatten().cloned().collect();
        names.dedup();
        names
    };
    match (images, wanted) {
        ([], _) => Err(NameError::Nothing),
        ([_], Some(name)) => Ok((0, name)),
        ([names], None) => {
            // A tag alone is no name, and one name may be noted twice.
            let mut full: Vec<ImportName> = names
                .iter()
                .filter_map(|name| ImportName::parse(name).ok())
                .collect();
            full.dedup();
            match full.pop() {
                Some(name) if full.is_empty() => Ok((0, name)),
                _ => Err(NameError::Needed {
                    names: names.clone(),
                }),
            }
        }
        (_, None) => Err(NameError::Needed { names: all() }),
        (images, Some(wanted)) => {
            let is_wanted = |name: &String| {
                ImportName::parse(name).is_ok_and(|name| name == wanted)
                    || wanted.0.tag.as_ref() == Some(name)
            };
            match images.iter().position(|names| names.iter().any(is_wanted)) {
                Some(at) => Ok((at, wanted)),
                None => Err(NameError::Several {
                    wanted: wanted.to_string(),
                    names: all(),
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ImportName {
        ImportName::parse(text).unwrap()
    }

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn names_are_those_of_registries() {
        assert_eq!(name("localhost/x").to_string(), "localhost/x:latest");
        assert_eq!(name("debian:12").to_string(), "docker.io/library/debian:12");
        for bad in [
            "",
            "x",
            "./x:y",
            "/x",
            "http://x/y",
            "x/y@sha256:z",
            "X/y:z",
        ] {
            assert!(ImportName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_image_has_its_own_name_or_the_given_one() {
        let choose = |own: &[&str], wanted: Option<&str>| {
            choose(&[names(own)], wanted.map(name)).map(|(_, name)| name.to_string())
        };
        assert_eq!(choose(&["a/b:1"], None).unwrap(), "docker.io/a/b:1");
        assert_eq!(choose(&["a/b:1", "1"], None).unwrap(), "docker.io/a/b:1");
        assert_eq!(choose(&["1"], Some("c/d")).unwrap(), "docker.io/c/d:latest");
        for none in [&["1"][..], &[], &["a/b:1", "a/b:2"]] {
            assert!(choose(none, None).is_err(), "{none:?}");
        }
    }

    #[test]
    fn of_several_one_is_meant_by_its_name() {
        let images = [names(&["localhost/a:1"]), names(&["2"]), names(&[])];
        let choose = |wanted: Option<&str>| choose(&images, wanted.map(name));
        assert_eq!(choose(Some("localhost/a:1")).unwrap().0, 0);
        assert_eq!(choose(Some("localhost/b:2")).unwrap().0, 1);
        assert!(choose(Some("localhost/b:3")).is_err());
        assert!(choose(None).is_err());
    }
}
