//! Probe files: checks that are declared once and used by name or path.
//!
//! ```toml
//! description = "a web server"      # optional, one line
//!
//! [[unit]]
//! name = "nginx.service"
//! enabled = true
//!
//! [[http]]
//! url = "http://localhost/"
//! status = 200
//! timeout = "10s"
//! ```
//!
//! There is one array of tables for each kind of check; its keys are those that `--check` takes.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, Deserializer};

use super::kind::nearest_offered;
use super::{CheckError, Checks, GossError, goss};

/// Why a probe file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFileError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says what cannot be.
    #[error("{}:{line}: {message}{}", file.display(), nearest.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The mistake, in one line.
        message: String,
        /// A word that may have been meant.
        nearest: Option<String>,
    },
    /// One of its checks contradicts itself.
    #[error("{}: {source}", file.display())]
    Check {
        /// Which file.
        file: PathBuf,
        /// The check and what is wrong with it.
        source: CheckError,
    },
    /// It is a file of goss that cannot be taken.
    #[error(transparent)]
    Goss(#[from] GossError),
    /// No probe of that name is built in.
    #[error("there is no built-in probe {name:?}; there are {}; a file is written with a / or its ending, .toml or .yaml", BUILTIN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
}

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../probes/", $name, ".toml")))),*]
    };
}

/// Name and content of what is compiled in.
const BUILTIN: &[(&str, &str)] = files!["hostnamectl" "pkgprobe"];

/// Checks that were declared in a file.
#[derive(Debug, Clone, Default)]
pub struct ProbeFile {
    /// What it is for.
    pub description: Option<String>,
    /// The checks.
    pub checks: Checks,
    /// What has been left out because the file says so.
    pub notes: Vec<String>,
}

impl ProbeFile {
    /// Reads a file, or what is built in under a name: a word with neither a `/` nor a `.`. One that
    /// ends in `.yaml`, `.yml` or `.json` is a file of goss.
    pub fn load(given: &str) -> Result<Self, ProbeFileError> {
        if given.contains(['/', '.']) {
            let path = Path::new(given);
            if goss::is_goss(path) {
                let (checks, notes) = goss::load(path)?;
                return Ok(Self {
                    description: None,
                    checks,
                    notes,
                });
            }
            let text = std::fs::read_to_string(path).map_err(|source| ProbeFileError::Read {
                path: path.to_owned(),
                source,
            })?;
            return Self::parse(path, &text);
        }
        let found = BUILTIN.iter().find(|(name, _)| *name == given);
        let (name, text) = found.ok_or_else(|| ProbeFileError::Unknown {
            name: given.to_owned(),
        })?;
        Self::parse(Path::new(&format!("probes/{name}.toml")), text)
    }

    /// The JSON schema of files.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Checks).to_value();
        schema["title"] = "A probe file of postroj".into();
        schema["properties"]["description"] = serde_json::json!({
            "type": "string",
            "description": "What the checks are for, in one line."
        });
        schema
    }

    /// Reads the text of a file, whose name is for errors only.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ProbeFileError> {
        let invalid = |span: Option<std::ops::Range<usize>>, message: &str| {
            let start = span.map_or(0, |span| span.start);
            let before = text.as_bytes().get(..start).unwrap_or_default();
            ProbeFileError::Invalid {
                file: file.to_owned(),
                line: before.split(|byte| *byte == b'\n').count(),
                nearest: nearest_offered(message),
                message: message.replace('\n', ", "),
            }
        };
        let wrong = |error: &toml::de::Error| invalid(error.span(), error.message());
        let mut table = DeTable::parse(text).map_err(|error| wrong(&error))?;
        let description = match table.get_mut().remove("description") {
            None => None,
            Some(value) => match value.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => return Err(invalid(Some(value.span()), "description: expected a text")),
            },
        };
        let checks =
            Checks::deserialize(Deserializer::from(table)).map_err(|error| wrong(&error))?;
        // What its checks say by themselves is told with the file that says it.
        checks
            .clone()
            .into_checks()
            .map_err(|source| ProbeFileError::Check {
                file: file.to_owned(),
                source,
            })?;
        Ok(Self {
            description,
            checks,
            notes: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        ProbeFile::parse(Path::new("x.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_built_in_can_be_read() {
        for (name, _) in BUILTIN {
            let file = ProbeFile::load(name).unwrap();
            assert!(file.description.is_some(), "{name}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        assert_eq!(
            error("[[unit]]\nname = \"a\"\nenabeld = true\n"),
            "x.toml:3: unknown field `enabeld`, expected one of `name`, `active`, `start`, \
             `exists`, `enabled`, `autostart`, `settle`, `restarts`, `result`, `sub-state`, `property`, \
             `title`, `timeout`, `family`, `after`; did you mean `enabled`?"
        );
        assert!(error("[[htp]]\n").ends_with("did you mean `http`?"));
        assert!(error("\n[[http]]\nurl = 'x'\n").starts_with("x.toml:3: "));
        assert!(error("description = 1\n").starts_with("x.toml:1: "));
        assert_eq!(
            error("[[file]]\npath = 'x'\n"),
            "x.toml: check file x: \"x\" is no absolute path"
        );
    }

    #[test]
    fn a_name_that_nobody_knows_is_refused() {
        let error = ProbeFile::load("nosuch").unwrap_err().to_string();
        assert!(error.contains("hostnamectl, pkgprobe"), "{error}");
    }
}
