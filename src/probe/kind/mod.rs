//! The kinds of checks.
//!
//! A kind is a struct whose fields are the keys that probe files and `--check` know, made with
//! [`keys!`], and its [`Probe`]. To add one: write both in a file here and add a line to [`kinds!`]
//! below; the command line, probe files and the schema know it then.

/// Defines the keys of a kind, to which those that every kind has are added, and `with texts` those
/// that say what a content has to have.
macro_rules! keys {
    ($(#[$meta:meta])* pub struct $name:ident with texts { $($fields:tt)* }) => {
        keys! {
            $(#[$meta])*
            pub struct $name {
                $($fields)*
                /// Texts that the content has to contain.
                #[serde(default)]
                pub contains: $crate::probe::value::Many<String>,
                /// Texts that the content must not contain.
                #[serde(default)]
                pub lacks: $crate::probe::value::Many<String>,
                /// Expressions that the content has to match.
                #[serde(default)]
                pub matches: $crate::probe::value::Many<$crate::probe::value::Pattern>,
            }
        }

        impl $name {
            /// What is asked of the content.
            fn texts(&self) -> $crate::probe::kind::texts::Texts<'_> {
                $crate::probe::kind::texts::Texts {
                    contains: &self.contains,
                    lacks: &self.lacks,
                    matches: &self.matches,
                }
            }
        }
    };
    ($(#[$meta:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $name {
            $($fields)*
            /// What the report calls the check.
            pub title: Option<String>,
            /// How long it is tried: 5 (seconds), "500ms", "1m".
            pub timeout: Option<$crate::probe::value::Span>,
            /// The families of distributions that it is for; all of them, if none is named.
            #[serde(default)]
            pub family: $crate::probe::value::Many<$crate::image::Family>,
            /// The phases of the packages' life after which it is made; those that leave them
            /// installed (install, reboot, upgrade), if none is named.
            #[serde(default)]
            pub after: $crate::probe::value::Many<$crate::probe::Phase>,
        }

        impl $crate::probe::kind::Keys for $name {
            fn title(&self) -> Option<String> {
                self.title.clone()
            }

            fn timeout(&self) -> Option<$crate::probe::value::Span> {
                self.timeout
            }

            fn families(&self) -> Vec<$crate::image::Family> {
                self.family.0.clone()
            }

            fn phases(&self) -> Vec<$crate::probe::Phase> {
                self.after.0.clone()
            }
        }
    };
}

mod account;
mod analyze;
mod command;
mod failed_units;
mod file;
mod http;
mod journal;
mod looking;
mod mount;
mod network;
mod owner;
mod package;
mod port;
mod process;
mod system;
mod texts;
mod unit;
mod unix_socket;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Phase;
use super::check::{Check, Probe};
use super::value::Span;
use super::words::{Parts, Words, WordsError};
use crate::image::Family;

pub use account::{GroupCheck, UserCheck};
pub use analyze::{SecurityCheck, VerifyCheck};
pub use command::CommandCheck;
pub use failed_units::FailedUnitsCheck;
pub use file::{FileCheck, FileType};
pub use http::{HttpCheck, Method, StatusClass};
pub use journal::{CoreDumpCheck, JournalCheck, Priority};
pub use mount::MountCheck;
pub use network::{NetworkCheck, TcpCheck};
pub use package::PackageCheck;
pub use port::{PortCheck, PortNumber};
pub use process::ProcessCheck;
pub use system::{DnsCheck, KernelParamCheck};
pub use unit::{Autostart, UnitCheck};
pub use unix_socket::UnixSocketCheck;

/// The keys that every kind has.
trait Keys {
    fn title(&self) -> Option<String>;

    fn timeout(&self) -> Option<Span>;

    fn families(&self) -> Vec<Family>;

    fn phases(&self) -> Vec<Phase>;
}

/// Makes a check of what is asked, if it makes sense.
fn into_check<T: Keys + Probe + Serialize + 'static>(
    asked: T,
    kind: &'static str,
    target_key: &str,
) -> Result<Check, CheckError> {
    asked.validate().map_err(|reason| CheckError {
        check: format!("{kind} {}", asked.target()),
        reason,
        nearest: None,
    })?;
    Ok(Check {
        kind,
        title: asked.title(),
        expected: expected(&asked, target_key),
        families: asked.families(),
        phases: asked.phases(),
        probe: Arc::new(asked),
    })
}

/// The keys that are set, in words: `status 200, method POST`.
fn expected(check: &impl Serialize, target_key: &str) -> Option<String> {
    let Ok(serde_json::Value::Object(keys)) = serde_json::to_value(check) else {
        return None;
    };
    let known = [target_key, "title", "timeout", "family", "after"];
    let words: Vec<String> = keys
        .into_iter()
        .filter(|(key, _)| !known.contains(&key.as_str()))
        .filter_map(|(key, value)| Some(format!("{key} {}", in_words(&value)?)))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn in_words(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::Null => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => {
            let words: Vec<String> = all.iter().filter_map(in_words).collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
        Value::Object(entries) => {
            let words: Vec<String> = entries
                .iter()
                .filter_map(|(key, value)| Some(format!("{key}={}", in_words(value)?)))
                .collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
    }
}

/// Why a check is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("check {check}: {reason}{}", nearest.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
pub struct CheckError {
    /// The check, as it was written.
    pub check: String,
    /// What is wrong with it.
    pub reason: String,
    /// A word that may have been meant.
    pub nearest: Option<String>,
}

/// The word of a list that is spelt most like this one.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let close = |known: &&str| {
        let edits = strsim::osa_distance(&word, known);
        edits <= (word.len() / 3).clamp(1, 3) || (word.len() >= 3 && known.contains(word.as_str()))
    };
    known
        .into_iter()
        .filter(close)
        .min_by_key(|known| strsim::osa_distance(&word, known))
}

/// The nearest of the words between backticks that serde offers for an unknown one, the first.
pub(super) fn nearest_offered(message: &str) -> Option<String> {
    let (_, about) = message.split_once("unknown ")?;
    let mut quoted = about.split('`').skip(1).step_by(2);
    let word = quoted.next()?;
    nearest(word, quoted).map(str::to_owned)
}

/// Makes one list of all kinds: the table that files have, and the reader for command lines.
macro_rules! kinds {
    ($($(#[$meta:meta])* $field:ident $kind:literal $name:ident $target:literal;)*) => {
        /// Checks of all kinds, as probe files list them: one array of tables for each kind.
        #[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Checks {
            $(
                $(#[$meta])*
                #[serde(default)]
                pub $field: Vec<$name>,
            )*
        }

        /// The kinds, and which of its keys each has as its target, if any.
        pub const KINDS: &[(&str, &str)] = &[$(($kind, $target)),*];

        impl Checks {
            /// The checks themselves, kind by kind.
            pub fn into_checks(self) -> Result<Vec<Check>, CheckError> {
                let mut checks = Vec::new();
                $(
                    for check in self.$field {
                        checks.push(into_check(check, $kind, $target)?);
                    }
                )*
                Ok(checks)
            }

            /// Adds all of the others'.
            pub fn extend(&mut self, other: Self) {
                $(self.$field.extend(other.$field);)*
            }

            fn add(&mut self, kind: &str, words: Words) -> Result<(), WordsError> {
                match kind {
                    $($kind => self.$field.push($name::deserialize(words)?),)*
                    _ => unreachable!("the kind was looked up"),
                }
                Ok(())
            }
        }
    };
}

kinds! {
    /// A unit is up and stays up.
    unit "unit" UnitCheck "name";
    /// An address answers.
    network "network" NetworkCheck "url";
    /// A web server answers as it should.
    http "http" HttpCheck "url";
    /// An address accepts connections.
    tcp "tcp" TcpCheck "address";
    /// A port is listened on.
    port "port" PortCheck "port";
    /// A Unix socket accepts connections.
    unix_socket "unix-socket" UnixSocketCheck "path";
    /// A file is as it should be.
    file "file" FileCheck "path";
    /// A command ends and writes as it should.
    command "command" CommandCheck "run";
    /// A process runs.
    process "process" ProcessCheck "name";
    /// There is a user.
    user "user" UserCheck "name";
    /// There is a group.
    group "group" GroupCheck "name";
    /// A package is installed.
    package "package" PackageCheck "name";
    /// Something is mounted.
    mount "mount" MountCheck "path";
    /// A kernel parameter has a value.
    kernel_param "kernel-param" KernelParamCheck "name";
    /// A name resolves.
    dns "dns" DnsCheck "name";
    /// The journal has no errors, or has or lacks some texts.
    journal "journal" JournalCheck "unit";
    /// No service has dumped core.
    core_dump "core-dump" CoreDumpCheck "";
    /// Unit files have no mistakes.
    verify "verify" VerifyCheck "unit";
    /// Services are not too exposed.
    security "security" SecurityCheck "unit";
    /// No unit of the whole system has failed.
    failed_units "failed-units" FailedUnitsCheck "";
}

impl Checks {
    /// Adds a check as a command line has it: `KIND:TARGET[,KEY=VALUE]...`.
    pub fn add_words(&mut self, text: &str) -> Result<(), CheckError> {
        let wrong = |reason: String| CheckError {
            check: format!("{text:?}"),
            nearest: nearest_offered(&reason),
            reason,
        };
        let parts = Parts::parse(text).map_err(wrong)?;
        let known = KINDS.iter().find(|(kind, _)| *kind == parts.kind);
        let Some((kind, target_key)) = known else {
            let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
            return Err(CheckError {
                check: format!("{text:?}"),
                reason: format!(
                    "{:?} is no kind of check; there are {}",
                    parts.kind,
                    kinds.join(", ")
                ),
                nearest: nearest(&parts.kind, kinds).map(str::to_owned),
            });
        };
        if let ("", Some(target)) = (*target_key, &parts.target) {
            return Err(wrong(format!(
                "{kind} takes no target, and so no {target:?}"
            )));
        }
        let mut words = Words::default();
        let keys = parts
            .target
            .map(|target| ((*target_key).to_owned(), target))
            .into_iter()
            .chain(parts.keys);
        for (key, value) in keys {
            words
                .add(&key, value)
                .map_err(|error| wrong(error.to_string()))?;
        }
        self.add(kind, words)
            .map_err(|error| wrong(error.to_string()))
    }

    /// Has every unit that does not say so itself be started by the package, or not.
    pub fn expect_autostart(&mut self, expected: Autostart) {
        for unit in &mut self.unit {
            unit.autostart.get_or_insert(expected);
        }
    }
}

#[cfg(test)]
mod tests;
