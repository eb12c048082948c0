//! Which images are meant.

use std::collections::HashSet;

use crate::image::catalogue::Entry;
use crate::image::{Catalogue, Reference, ReferenceError};

/// The images of a run, and those that were passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The images, in the order in which they were named.
    pub images: Vec<Selected>,
    /// The names of the images that a pattern or `all` stands for and that cannot work, and why.
    pub left_out: Vec<(String, String)>,
}

/// An image that was named, or that a pattern stands for.
pub type Selected = Reference;

/// Why an IMAGE argument stands for nothing.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// It means nothing.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No name of the catalogue is like that.
    #[error("no image of the catalogue is like {pattern:?}")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// Names that may be meant.
        nearest: Vec<String>,
    },
    /// All that are like that cannot work.
    #[error("no image that can work is like {pattern:?}; {name}: {reason}")]
    Unsupported {
        /// The pattern.
        pattern: String,
        /// The first of them.
        name: String,
        /// Why it cannot work.
        reason: String,
    },
}

/// Tells which images are meant: each of `given` is an image, a list with commas between the items,
/// or a pattern for the names and aliases of the catalogue; a path and what has a `://` are taken
/// whole. With `all`, the whole catalogue comes after them. What is named twice, by an alias say, is
/// there once, where it was first.
pub fn select(
    catalogue: &Catalogue,
    given: &[String],
    all: bool,
) -> Result<Selection, SelectionError> {
    let mut selection = Selection::default();
    let mut seen = HashSet::new();
    for item in given.iter().flat_map(|text| split(text)) {
        if is_pattern(item) && !is_path(item) {
            let alike = |entry: &&Entry| entry.names().any(|name| matches(item, name));
            let alike: Vec<&Entry> = catalogue.iter().filter(alike).collect();
            if let Some(error) = nothing(catalogue, item, &alike) {
                return Err(error);
            }
            selection.add(alike.into_iter(), &mut seen);
        } else {
            let reference = Reference::load(item)?;
            let key = match &reference {
                Reference::Catalogue(name) => match catalogue.find(name) {
                    Some(entry) => Reference::Catalogue(entry.name.clone()),
                    None => reference.clone(),
                },
                other => other.clone(),
            };
            if seen.insert(key) {
                selection.images.push(reference);
            }
        }
    }
    if all {
        selection.add(catalogue.iter(), &mut seen);
    }
    Ok(selection)
}

impl Selection {
    fn add<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>, seen: &mut HashSet<Reference>) {
        for entry in entries {
            let reference = Reference::Catalogue(entry.name.clone());
            if !seen.insert(reference.clone()) {
                continue;
            }
            match &entry.unsupported {
                Some(reason) => self.left_out.push((entry.name.clone(), reason.clone())),
                None => self.images.push(reference),
            }
        }
    }
}

/// Why a pattern that these are like stands for nothing, if so.
fn nothing(catalogue: &Catalogue, pattern: &str, alike: &[&Entry]) -> Option<SelectionError> {
    let pattern = pattern.to_owned();
    if alike.is_empty() {
        let nearest = nearest(catalogue, &pattern);
        return Some(SelectionError::NoMatch { pattern, nearest });
    }
    let reasons: Option<Vec<&String>> = alike.iter().map(|e| e.unsupported.as_ref()).collect();
    let reason = (*reasons?.first()?).clone();
    Some(SelectionError::Unsupported {
        pattern,
        name: alike[0].name.clone(),
        reason,
    })
}

/// What may be meant by a pattern that no name is like: names, or patterns for the distributions that
/// are spelt like its beginning.
fn nearest(catalogue: &Catalogue, pattern: &str) -> Vec<String> {
    let plain = pattern.replace(['*', '?'], "");
    let plain = plain.trim_matches('-');
    let found = catalogue.nearest(plain);
    if !found.is_empty() {
        return found.into_iter().map(str::to_owned).collect();
    }
    let stem = plain.split('-').next().unwrap_or(plain);
    let mut distributions: Vec<&str> = catalogue
        .iter()
        .filter_map(|entry| entry.name.split('-').next())
        .filter(|known| strsim::osa_distance(stem, known) <= (stem.len() / 3).max(1))
        .collect();
    distributions.dedup();
    let patterns = distributions.into_iter();
    patterns.map(|known| format!("{known}-*")).collect()
}

/// The items of a list; paths and addresses may have commas of their own.
fn split(text: &str) -> Vec<&str> {
    if is_path(text) || text.contains("://") {
        vec![text]
    } else {
        text.split(',').map(str::trim).collect()
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.'])
}

/// Whether a text stands for names that are like it: no name has one of these, nor has a registry's
/// image.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?']) && !text.contains("://")
}

/// Whether a name is like a pattern: `*` stands for any characters, `?` for one.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // The last star, and how much of the name it stands for.
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, upto)) = star else {
                    return false;
                };
                star = Some((at, upto + 1));
                p = at + 1;
                n = upto + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(given: &[&str], all: bool) -> Result<Vec<String>, SelectionError> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        let selection = select(&Catalogue::builtin().unwrap(), &given, all)?;
        Ok(selection.images.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn patterns_are_like_the_shells() {
        assert!(matches("debian-*", "debian-12"));
        assert!(matches("*-1?", "debian-12"));
        assert!(matches("*a*b*", "xaxxbx"));
        assert!(matches("*aab", "aaaab"));
        assert!(!matches("debian", "debian-12"));
        assert!(!matches("*-1?", "debian-1"));
        assert!(!matches("a*b", "abc"));
    }

    #[test]
    fn each_image_is_there_once_where_it_was_first() {
        assert_eq!(
            names(
                &["debian-12,fedora-43", "debian-b*", "debian-bookworm"],
                false
            )
            .unwrap(),
            ["debian-12", "fedora-43", "debian-buster", "debian-bullseye"]
        );
        // By an alias; the names are shown.
        assert_eq!(names(&["rocky-*"], false).unwrap()[0], "rockylinux-8");
        assert_eq!(
            names(&["debian:12,quay.io/x/y:1"], false).unwrap(),
            ["debian:12", "quay.io/x/y:1"]
        );
        // A path has commas of its own.
        let directory = tempfile::Builder::new().prefix("a,b*").tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(names(&[path], false).unwrap(), [path]);
    }

    #[test]
    fn all_of_them_are_those_that_can_work() {
        let catalogue = Catalogue::builtin().unwrap();
        let selection = select(&catalogue, &[], true).unwrap();
        let (can, cannot): (Vec<_>, Vec<_>) = catalogue
            .iter()
            .partition(|entry| entry.unsupported.is_none());
        assert_eq!(selection.images.len(), can.len());
        assert_eq!(selection.left_out.len(), cannot.len());
    }

    #[test]
    fn a_pattern_that_stands_for_nothing_is_a_mistake() {
        let Err(SelectionError::NoMatch { nearest, .. }) = names(&["debain-*"], false) else {
            panic!("it stands for nothing");
        };
        assert_eq!(nearest, ["debian-*"]);
        let Err(SelectionError::NoMatch { nearest, .. }) = names(&["*bookwurm*"], false) else {
            panic!("it stands for nothing");
        };
        assert!(nearest.is_empty(), "{nearest:?}");
        let error = names(&["amazonlinux-2022*"], false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("amazonlinux-2022: a preview"), "{error}");
    }
}
