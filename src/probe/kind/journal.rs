//! What is in the journal, and what is not.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use rustix::fs::MemfdFlags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::texts::quoted;
use crate::machine::{Command, is_command_unit};
use crate::probe::check::{Probe, ProbeError, Scene, patience};
use crate::probe::retry::{Beside, Look, until};
use crate::probe::value::{Many, Pattern};
use crate::probe::{Outcome, UnitName};

const JOURNALCTL: &str = "/bin/journalctl";

/// How long one look at the journal may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How much of the journal is looked at, in bytes: some 60 000 entries.
const MOST: u64 = 64 << 20;

/// How many entries an observation shows.
const SHOWN: usize = 3;

keys! {
    /// The journal since the installation: without texts, there must be no errors in it.
    pub struct JournalCheck {
        /// The unit whose entries, and systemd's about it, are looked at; all, if none is named.
        pub unit: Option<UnitName>,
        /// The least severe entries that count: "err" if there are no texts to look for, else
        /// "debug".
        pub priority: Option<Priority>,
        /// Texts of which each has to be in some entry.
        #[serde(default)]
        pub contains: Many<String>,
        /// Expressions of which each has to match some entry.
        #[serde(default)]
        pub matches: Many<Pattern>,
        /// Texts that no entry may contain.
        #[serde(default)]
        pub lacks: Many<String>,
        /// Expressions for entries that do not count.
        #[serde(default)]
        pub except: Many<Pattern>,
        /// Whether what is older than the installation counts too; false if nothing is said.
        pub since_boot: Option<bool>,
    }
}

/// How severe an entry is; syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "syslog(3) has them")]
pub enum Priority {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

/// An entry of the journal, as `journalctl --output=json` writes it; systemd.journal-fields(7).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "MESSAGE", default)]
    message: serde_json::Value,
    /// The unit that an entry of systemd's is about.
    #[serde(rename = "UNIT", default)]
    about: serde_json::Value,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    identifier: serde_json::Value,
}

impl Entry {
    fn message(&self) -> String {
        match &self.message {
            serde_json::Value::String(text) => text.clone(),
            // What is not UTF-8 comes as an array of bytes.
            serde_json::Value::Array(bytes) => {
                let bytes = bytes.iter().filter_map(serde_json::Value::as_u64);
                let bytes: Vec<u8> = bytes.filter_map(|byte| byte.try_into().ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            _ => String::new(),
        }
    }

    /// Whether it is about one of postroj's own commands.
    fn is_ours(&self) -> bool {
        self.about.as_str().is_some_and(is_command_unit)
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = self.message();
        match self.identifier.as_str() {
            Some(identifier) => write!(formatter, "{identifier}: {}", quoted(&message)),
            None => formatter.write_str(&quoted(&message)),
        }
    }
}

/// The entries of the journal since the installation, or since the boot, that `filters` leave; all
/// that was written until now is among them.
pub(super) async fn entries(
    scene: Scene<'_>,
    since_boot: bool,
    filters: &[String],
) -> Result<Vec<Entry>, ProbeError> {
    if !scene.guest.has_file(JOURNALCTL) {
        return Err(ProbeError::NoProgram("journalctl"));
    }
    // What has been sent is not there until it has been written. It is best effort: without, the look
    // may come early.
    let _ = scene
        .guest
        .run(&Command::new(JOURNALCTL, ["--sync"]), LIMIT)
        .await?;
    let mut arguments: Vec<String> = ["--no-pager", "--quiet", "--all", "--output=json"]
        .map(str::to_owned)
        .to_vec();
    match scene.before.since().filter(|_| !since_boot) {
        Some(since) => {
            let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
            arguments.push(format!("--since=@{:.6}", since.as_secs_f64()));
        }
        None => arguments.push("--boot".to_owned()),
    }
    arguments.extend(filters.iter().cloned());
    // Of what a command writes to a pipe only the ends are kept.
    let unkept = |source: io::Error| ProbeError::Unreadable {
        what: "the journal".to_owned(),
        source,
    };
    let mut file = rustix::fs::memfd_create("journal", MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|error| unkept(error.into()))?;
    let copy = file.try_clone().map_err(unkept)?;
    let command = Command::new(JOURNALCTL, arguments);
    let output = scene.guest.run_into(&command, copy, MOST, LIMIT).await?;
    // Old versions say with 1 that there was nothing to show.
    let complained = !output.status.success() && !output.stderr.trim().is_empty();
    let is_cut = file.stream_position().map_err(unkept)? >= MOST;
    if complained || is_cut {
        let said = quoted(&output.stderr);
        return Err(ProbeError::Program {
            program: "journalctl".to_owned(),
            reason: if is_cut {
                format!("more than {} MiB", MOST >> 20)
            } else {
                format!("{}, {said}", output.status)
            },
        });
    }
    file.rewind().map_err(unkept)?;
    let mut entries = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(unkept)?;
        if let Ok(entry) = serde_json::from_slice::<Entry>(&line)
            && !entry.is_ours()
        {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Some entries, for people.
pub(super) fn shown(entries: &[&Entry]) -> String {
    let some: Vec<String> = entries
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    let more = entries.len().saturating_sub(SHOWN);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", some.join(", "))
}

impl JournalCheck {
    fn wants_entries(&self) -> bool {
        !self.contains.is_empty() || !self.matches.is_empty()
    }

    async fn look(&self, scene: Scene<'_>) -> Result<Look, ProbeError> {
        let has_texts = self.wants_entries() || !self.lacks.is_empty();
        let priority = match self.priority {
            Some(priority) => priority,
            None if has_texts => Priority::Debug,
            None => Priority::Err,
        };
        let mut filters = vec![format!("--priority={}", priority as u8)];
        if let Some(unit) = &self.unit {
            filters.push(format!("--unit={unit}"));
        }
        let mut found = entries(scene, self.since_boot == Some(true), &filters).await?;
        found.retain(|entry| {
            let message = entry.message();
            !self.except.iter().any(|except| except.matches(&message))
        });
        if !has_texts {
            let all: Vec<&Entry> = found.iter().collect();
            return Ok(match all.len() {
                0 => Look::Holds("no such entry".to_owned()),
                _ => Look::NotYet(shown(&all)),
            });
        }
        let messages: Vec<String> = found.iter().map(Entry::message).collect();
        let mut wrong = Vec::new();
        for text in self.contains.iter() {
            if !messages.iter().any(|message| message.contains(text)) {
                wrong.push(format!("no entry has {text:?}"));
            }
        }
        for pattern in self.matches.iter() {
            if !messages.iter().any(|message| pattern.matches(message)) {
                wrong.push(format!("no entry matches {pattern}"));
            }
        }
        for text in self.lacks.iter() {
            let with: Vec<&Entry> = found
                .iter()
                .filter(|entry| entry.message().contains(text))
                .collect();
            if !with.is_empty() {
                wrong.push(shown(&with));
            }
        }
        Ok(Look::at(&[format!("{} entries", found.len())], &wrong))
    }
}

#[async_trait]
impl Probe for JournalCheck {
    fn target(&self) -> String {
        match &self.unit {
            Some(unit) => unit.to_string(),
            None => "the system".to_owned(),
        }
    }

    fn is_last(&self) -> bool {
        !self.wants_entries()
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let patience = if self.wants_entries() {
            patience(self.timeout, scene.patience.check)
        } else {
            // What has been written does not go away.
            return Ok(match self.look(scene).await? {
                Look::Holds(seen) => Outcome::passed(seen),
                Look::NotYet(seen) | Look::Cut(seen) => Outcome::failed(seen),
            });
        };
        until(patience, Beside::Never, || self.look(scene)).await
    }
}

keys! {
    /// No process of a service has died in a way that leaves a core dump.
    pub struct CoreDumpCheck {
        /// Whether what is older than the installation counts too; false if nothing is said.
        pub since_boot: Option<bool>,
    }
}

/// The signals whose default action is a core dump, by number; signal(7). systemd tells of them so
/// where none could be written.
const DUMPING: [u8; 9] = [3, 4, 5, 6, 7, 8, 11, 24, 31];

/// What systemd-coredump says when it has stored one; `sd-messages.h`.
const COREDUMP_MESSAGE: &str = "fc2e22bc6ee647b6b90729ab34a250b1";

#[async_trait]
impl Probe for CoreDumpCheck {
    fn target(&self) -> String {
        "the system".to_owned()
    }

    fn is_last(&self) -> bool {
        true
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let mut filters = vec![
            "EXIT_CODE=dumped".to_owned(),
            "+".to_owned(),
            format!("MESSAGE_ID={COREDUMP_MESSAGE}"),
            "+".to_owned(),
            "EXIT_CODE=killed".to_owned(),
        ];
        filters.extend(DUMPING.map(|signal| format!("EXIT_STATUS={signal}")));
        let found = entries(scene, self.since_boot == Some(true), &filters).await?;
        let all: Vec<&Entry> = found.iter().collect();
        Ok(match all.len() {
            0 => Outcome::passed("no process of a service has dumped core"),
            _ => Outcome::failed(shown(&all)),
        })
    }
}
