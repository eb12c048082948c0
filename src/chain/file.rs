//! Files of chains: every mistake in one is told, with its line and field.

use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::hinted;
use super::node::{Entry, Format, Node, Value};
use super::{Chain, Stage};
use crate::image::{Catalogue, Reference, check};
use crate::machine::typed;
use crate::{duration, size};

/// The bytes that a file may have.
const SIZE: u64 = 1 << 20;

/// The keys of a file.
pub(super) const KEYS: [&str; 2] = ["env", "stages"];

/// The keys of a stage.
pub(super) const STAGE_KEYS: [&str; 13] = [
    "image",
    "command",
    "entrypoint",
    "hostname",
    "memory",
    "cpuset_cpus",
    "cpus",
    "networking",
    "privileged",
    "timeout",
    "env",
    "logs",
    "volumes",
];

/// Why there is no chain in a file.
#[derive(Debug, thiserror::Error)]
pub enum ChainFileError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says what cannot be.
    #[error("{}", .mistakes.iter().map(|mistake| format!("{}:{mistake}", .path.display())).collect::<Vec<_>>().join("\n"))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// All that is wrong with it, in the order of its lines.
        mistakes: Vec<Mistake>,
    },
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The field, as `stages[0].memory`; empty if it is the file as a whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.field.is_empty() { "" } else { ": " };
        let Self {
            line,
            field,
            message,
        } = self;
        write!(f, "{line}: {field}{separator}{message}")
    }
}

impl Chain {
    /// Reads a file: JSON if it ends in `.json`, TOML if in `.toml`, else YAML. Paths in it are those
    /// below its directory.
    pub fn load(path: &Path, catalogue: &Catalogue) -> Result<Self, ChainFileError> {
        let unread = |source| ChainFileError::Read {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unread)?;
        io::Read::read_to_string(&mut io::Read::take(file, SIZE + 1), &mut text).map_err(unread)?;
        if text.len() as u64 > SIZE {
            let reason = format!("it has more than {SIZE} bytes");
            return Err(unread(io::Error::other(reason)));
        }
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Format::Json,
            Some("toml") => Format::Toml,
            _ => Format::Yaml,
        };
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(format, &text, directory, catalogue).map_err(|mistakes| {
            ChainFileError::Invalid {
                path: path.to_owned(),
                mistakes,
            }
        })
    }

    /// Reads a text; gives all that is wrong with it.
    pub fn parse(
        format: Format,
        text: &str,
        directory: &Path,
        catalogue: &Catalogue,
    ) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader {
            directory,
            catalogue,
            mistakes: Vec::new(),
        };
        let read = Node::read(format, text);
        let chain = match read {
            Ok(node) => reader.chain(&node),
            Err((line, message)) => {
                reader.mistake(line, "", message);
                None
            }
        };
        let mut mistakes = reader.mistakes;
        mistakes.sort();
        match chain {
            Some(chain) if mistakes.is_empty() => Ok(chain),
            _ => Err(mistakes),
        }
    }
}

struct Reader<'a> {
    directory: &'a Path,
    catalogue: &'a Catalogue,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, line: usize, field: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake {
            line,
            field: field.to_owned(),
            message: message.into(),
        });
    }

    fn expected(&mut self, node: &Node, field: &str, what: &str) {
        self.mistake(
            node.line,
            field,
            format!("expected {what}, not {}", node.kind()),
        );
    }

    /// The entries of a table with known keys.
    fn table<'n>(&mut self, node: &'n Node, field: &str, known: &[&str]) -> Option<&'n [Entry]> {
        let Value::Table(entries) = &node.value else {
            let what = format!("a table with {}", known.join(", "));
            self.expected(node, field, &what);
            return None;
        };
        for entry in entries {
            if !known.contains(&entry.name.as_str()) {
                let near = known
                    .iter()
                    .map(|known| (strsim::osa_distance(&entry.name, known), *known))
                    .filter(|(distance, _)| *distance <= (entry.name.len() / 3).max(1))
                    .min();
                let hint = near.map(|(_, known)| format!("; did you mean {known}?"));
                let message = format!(
                    "there is no such field{}",
                    hint.unwrap_or_else(|| format!("; there are {}", known.join(", ")))
                );
                self.mistake(entry.line, &within(field, &entry.name), message);
            }
        }
        Some(entries)
    }

    fn chain(&mut self, node: &Node) -> Option<Chain> {
        let entries = self.table(node, "", &KEYS)?;
        let mut chain = Chain::default();
        for entry in entries {
            match entry.name.as_str() {
                "env" => chain.env = self.env(&entry.node, "env"),
                "stages" => match &entry.node.value {
                    Value::List(stages) if !stages.is_empty() => {
                        for (number, node) in stages.iter().enumerate() {
                            chain
                                .stages
                                .extend(self.stage(node, &format!("stages[{number}]")));
                        }
                    }
                    Value::List(_) => self.mistake(entry.line, "stages", "there is none"),
                    _ => self.expected(&entry.node, "stages", "a list of stages"),
                },
                _ => {}
            }
        }
        if !entries.iter().any(|entry| entry.name == "stages") {
            self.mistake(node.line, "stages", "it is missing");
        }
        Some(chain)
    }

    fn stage(&mut self, node: &Node, field: &str) -> Option<Stage> {
        let entries = self.table(node, field, &STAGE_KEYS)?;
        let mut image = None;
        let mut stage = Stage::of(Reference::Catalogue(String::new()));
        for Entry { name, node, .. } in entries {
            let at = within(field, name);
            // A field without a value is as one that is not there.
            if node.value == Value::Null && name != "image" {
                continue;
            }
            match name.as_str() {
                "image" => image = self.image(node, &at),
                "command" => stage.command = self.words(node, &at),
                "entrypoint" => stage.entrypoint = Some(self.words(node, &at)),
                "hostname" => self.text(node, &at, &mut stage.hostname, typed::hostname),
                "memory" => self.optional(node, &at, &mut stage.memory, size::parse),
                "cpuset_cpus" => {
                    self.optional(node, &at, &mut stage.cpuset_cpus, typed::processor_list);
                }
                "cpus" => self.optional(node, &at, &mut stage.cpus, typed::processor_time),
                "networking" => self.choice(node, &at, &mut stage.networking),
                "privileged" => self.choice(node, &at, &mut stage.privileged),
                "timeout" => self.text(node, &at, &mut stage.timeout, timeout),
                "env" => stage.env = self.env(node, &at),
                "logs" => self.choice(node, &at, &mut stage.logs),
                "volumes" => self.volumes(node, &at, &mut stage),
                _ => {}
            }
        }
        if !entries.iter().any(|entry| entry.name == "image") {
            self.mistake(node.line, &within(field, "image"), "it is missing");
        }
        stage.image = image?;
        Some(stage)
    }

    fn image(&mut self, node: &Node, field: &str) -> Option<Reference> {
        let mut found = None;
        let (directory, catalogue) = (self.directory, self.catalogue);
        self.optional(node, field, &mut found, |text| {
            let is_below = text.starts_with("./") || text.starts_with("../");
            let path = is_below.then(|| directory.join(text));
            let given = path.as_deref().and_then(Path::to_str).unwrap_or(text);
            // A path begins with a slash or a dot, and so has to do what it was joined to.
            let given = if is_below && !given.starts_with(['/', '.']) {
                format!("./{given}")
            } else {
                given.to_owned()
            };
            let image = Reference::load(&given).map_err(|error| error.to_string())?;
            let known = check(catalogue, &image);
            known
                .map(|()| image)
                .map_err(|error| hinted(&error, error.hint()))
        });
        found
    }

    /// A text or a number, read by `parse`.
    fn optional<T, E: Display>(
        &mut self,
        node: &Node,
        field: &str,
        into: &mut Option<T>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) {
        let (Value::Text(text) | Value::Number(text)) = &node.value else {
            self.expected(node, field, "a text");
            return;
        };
        match parse(text) {
            Ok(value) => *into = Some(value),
            Err(reason) => self.mistake(node.line, field, format!("{text:?}: {reason}")),
        }
    }

    fn text<T, E: Display>(
        &mut self,
        node: &Node,
        field: &str,
        into: &mut T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) {
        let mut found = None;
        self.optional(node, field, &mut found, parse);
        if let Some(found) = found {
            *into = found;
        }
    }

    fn choice(&mut self, node: &Node, field: &str, into: &mut bool) {
        match node.value {
            Value::Bool(choice) => *into = choice,
            _ => self.expected(node, field, "true or false"),
        }
    }

    /// A list of words, or a text that is split into words as a shell does, where nothing is expanded.
    fn words(&mut self, node: &Node, field: &str) -> Vec<String> {
        match &node.value {
            Value::Text(text) => shlex::split(text).unwrap_or_else(|| {
                self.mistake(node.line, field, "a quotation mark is not closed");
                Vec::new()
            }),
            Value::List(items) => {
                let mut words = Vec::new();
                for (number, item) in items.iter().enumerate() {
                    match &item.value {
                        Value::Text(text) | Value::Number(text) => words.push(text.clone()),
                        _ => self.expected(item, &format!("{field}[{number}]"), "a text"),
                    }
                }
                words
            }
            _ => {
                self.expected(node, field, "a list of words or a text");
                Vec::new()
            }
        }
    }

    /// A table, or a list of `NAME=VALUE`; gives the latter.
    fn env(&mut self, node: &Node, field: &str) -> Vec<String> {
        let mut env = Vec::new();
        match &node.value {
            Value::Null => {}
            Value::Table(entries) => {
                for Entry { line, name, node } in entries {
                    let at = within(field, name);
                    if name.is_empty() || name.contains('=') {
                        self.mistake(*line, &at, "that is no variable's name");
                        continue;
                    }
                    match &node.value {
                        Value::Text(value) | Value::Number(value) => {
                            env.push(format!("{name}={value}"));
                        }
                        Value::Bool(value) => env.push(format!("{name}={value}")),
                        _ => self.expected(node, &at, "a text"),
                    }
                }
            }
            Value::List(items) => {
                for (number, item) in items.iter().enumerate() {
                    let at = format!("{field}[{number}]");
                    match &item.value {
                        Value::Text(set) if set.find('=').is_some_and(|at| at > 0) => {
                            env.push(set.clone());
                        }
                        _ => self.mistake(item.line, &at, "expected NAME=VALUE"),
                    }
                }
            }
            _ => self.expected(node, field, "a table of variables"),
        }
        for set in &env {
            if set.contains('\0') {
                self.mistake(node.line, field, "a variable has no NUL in it");
                break;
            }
        }
        env
    }

    fn volumes(&mut self, node: &Node, field: &str, stage: &mut Stage) {
        let Value::List(items) = &node.value else {
            self.expected(node, field, "a list of SOURCE:TARGET");
            return;
        };
        let directory = self.directory;
        for (number, item) in items.iter().enumerate() {
            let mut mount = None;
            self.optional(item, &format!("{field}[{number}]"), &mut mount, |text| {
                typed::volume(directory, text)
            });
            stage.volumes.extend(mount);
        }
    }
}

fn within(field: &str, name: &str) -> String {
    if field.is_empty() {
        name.to_owned()
    } else {
        format!("{field}.{name}")
    }
}

/// How long a stage may take.
fn timeout(text: &str) -> Result<Duration, String> {
    let found = duration::parse(text)?;
    if found.is_zero() {
        return Err("no time at all".to_owned());
    }
    Ok(found)
}
