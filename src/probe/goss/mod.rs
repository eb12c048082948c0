//! Files of [goss](https://goss.rocks), read as checks.
//!
//! What goss asks is asked in the same sense or, where nothing here means the same, refused by its
//! name: nothing is left out in silence. Unlike goss, which looks once, a check is tried until its time
//! is over.

mod keys;
mod matcher;
mod resource;
mod system;

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::{Map, Value};

use super::{CheckError, Checks};
use crate::yaml;

/// How deep files may take others in.
const DEPTH: usize = 10;

/// How many files may be read in all.
const FILES: usize = 100;

/// The bytes that a file may have.
const SIZE: u64 = 1 << 20;

/// Why a goss file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GossError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no goss file.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// It asks for what there is no check for, or for what cannot be.
    #[error("{}", .0.join("\n"))]
    Resources(
        /// Each with the file, the resource and the reason.
        Vec<String>,
    ),
    /// One of its checks contradicts itself.
    #[error("{}: {source}", path.display())]
    Check {
        /// Which file.
        path: PathBuf,
        /// The check and what is wrong with it.
        source: CheckError,
    },
}

/// What was found in goss files so far.
#[derive(Default)]
struct Reader {
    checks: Checks,
    notes: Vec<String>,
    problems: Vec<String>,
    files: usize,
}

/// Whether a file is one of goss, by its name.
pub(super) fn is_goss(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Reads a file, and those that it takes in; gives the checks, and what has to be said beside them.
pub(super) fn load(path: &Path) -> Result<(Checks, Vec<String>), GossError> {
    let mut reader = Reader::default();
    reader.read(path, 0)?;
    if !reader.problems.is_empty() {
        return Err(GossError::Resources(reader.problems));
    }
    let checks = reader.checks.clone().into_checks();
    checks.map_err(|source| GossError::Check {
        path: path.to_owned(),
        source,
    })?;
    Ok((reader.checks, reader.notes))
}

impl Reader {
    fn read(&mut self, path: &Path, depth: usize) -> Result<(), GossError> {
        let invalid = |message: String| GossError::Invalid {
            path: path.to_owned(),
            message,
        };
        self.files += 1;
        if depth > DEPTH || self.files > FILES {
            return Err(invalid(format!(
                "gossfile: more than {DEPTH} levels or {FILES} files"
            )));
        }
        let unread = |source| GossError::Read {
            path: path.to_owned(),
            source,
        };
        // A pipe has no length.
        let mut text = String::new();
        let file = fs::File::open(path).map_err(unread)?;
        io::Read::read_to_string(&mut io::Read::take(file, SIZE + 1), &mut text).map_err(unread)?;
        if text.len() as u64 > SIZE {
            return Err(invalid(format!("it has more than {SIZE} bytes")));
        }
        for (section, resources) in parse(&text).map_err(invalid)? {
            let Value::Object(resources) = resources else {
                if !resources.is_null() {
                    self.problem(path, &format!("{section}: it is no table of resources"));
                }
                continue;
            };
            for (id, attributes) in resources {
                self.resource(path, &section, &id, attributes, depth)?;
            }
        }
        Ok(())
    }

    fn resource(
        &mut self,
        path: &Path,
        section: &str,
        id: &str,
        attributes: Value,
        depth: usize,
    ) -> Result<(), GossError> {
        let mut attributes = match attributes {
            Value::Object(attributes) => attributes,
            Value::Null => Map::new(),
            _ => {
                self.problem(
                    path,
                    &format!("{section}: {id:?}: it is no table of attributes"),
                );
                return Ok(());
            }
        };
        match attributes.remove("skip") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => {
                let note = format!(
                    "{}: {section}: {id:?} is skipped, as it says",
                    path.display()
                );
                self.notes.push(note);
                return Ok(());
            }
            Some(_) => self.problem(
                path,
                &format!("{section}: {id:?}: skip: expected true or false"),
            ),
        }
        if section == "gossfile" {
            let included = match attributes.remove("file") {
                Some(Value::String(file)) => file,
                _ => id.to_owned(),
            };
            if let Some((attribute, _)) = attributes.iter().next() {
                let problem =
                    format!("{section}: {id:?}: attribute {attribute:?} is not supported");
                self.problem(path, &problem);
                return Ok(());
            }
            if included.contains(['*', '?', '[']) {
                self.problem(
                    path,
                    &format!("{section}: {id:?}: wildcards are not supported"),
                );
                return Ok(());
            }
            let beside = path.parent().unwrap_or(Path::new(""));
            return self.read(&beside.join(included), depth + 1);
        }
        if let Err(reason) = resource::translate(section, id, attributes, &mut self.checks) {
            let problem = match reason {
                resource::Refusal::Section => format!("resource {section:?} is not supported"),
                resource::Refusal::Attribute(reason) => format!("{section}: {id:?}: {reason}"),
            };
            self.problem(path, &problem);
        }
        Ok(())
    }

    fn problem(&mut self, path: &Path, problem: &str) {
        let problem = format!("{}: {problem}", path.display());
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Reads YAML, and with it JSON, as what JSON can say.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.contains("{{") {
        return Err("templates ({{ … }}) are not supported".to_owned());
    }
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    match yaml::read(text) {
        Ok(Value::Object(sections)) => Ok(sections),
        Ok(_) => Err("it is no table of resources".to_owned()),
        Err(error) => Err(error.to_string().replace('\n', " ")),
    }
}

#[cfg(test)]
mod tests;
