//! A process runs.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use async_trait::async_trait;
use tokio::time::Instant;

use super::looking::Looking;
use super::owner::{Ids, is_wanted, named, users};
use crate::probe::check::{ProbeError, Scene};
use crate::probe::listeners::processes;
use crate::probe::retry::Look;
use crate::probe::value::{Pattern, Scalar};

/// What proc(5)'s `comm` has room for.
const COMM: usize = 15;

keys! {
    /// A process runs in the container.
    pub struct ProcessCheck {
        /// Its name: that of its program, or the one that it has given itself.
        pub name: String,
        /// The name that the kernel has for it, of at most 15 characters: what `ps -o comm` shows. Only
        /// those count that have it.
        pub comm: Option<String>,
        /// Whether it has to run; true if nothing is said.
        pub running: Option<bool>,
        /// How many of that name there have to be.
        pub count: Option<usize>,
        /// The user that each of them has to be of, by name or number.
        pub user: Option<Scalar>,
        /// An expression that the command line of those that count has to match.
        pub args: Option<Pattern>,
    }
}

impl ProcessCheck {
    /// Whether a process is one of those that are meant.
    fn is_meant(&self, id: i32) -> bool {
        let read = |file: &str| fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        // The name in it may hold anything, so the state is what follows the last parenthesis.
        let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim());
        if state.is_empty() || state.starts_with(['Z', 'X']) {
            return false;
        }
        let command_line = read("cmdline");
        let arguments: Vec<String> = command_line
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        let comm = String::from_utf8_lossy(&read("comm")).trim_end().to_owned();
        let program = fs::read_link(format!("/proc/{id}/exe"));
        let program = program.ok().and_then(|path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        });
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let line = arguments.join(" ");
        // A name that has been cut is that of several, which the command line tells apart.
        let is_cut = comm.len() == COMM && self.name.starts_with(&comm);
        let is_named = comm == self.name
            || (is_cut && line.contains(&self.name))
            || program.as_deref() == Some(&*self.name)
            || arguments.first().map(|first| base(first)).as_deref() == Some(&*self.name);
        is_named
            && self.comm.as_ref().is_none_or(|wanted| *wanted == comm)
            && self
                .args
                .as_ref()
                .is_none_or(|args| args.matches(line.trim_end()))
    }
}

#[async_trait]
impl Looking for ProcessCheck {
    fn target(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        if self.running == Some(false) && (self.count.is_some() || self.user.is_some()) {
            return Err("of a process that must not run nothing else can be asked".to_owned());
        }
        if self.name.is_empty() {
            return Err("a process has a name".to_owned());
        }
        Ok(())
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        let leader = scene.guest.leader();
        let found: Vec<i32> = processes(leader)
            .into_iter()
            .filter(|id| self.is_meant(*id))
            .collect();
        let seen = match found.len() {
            0 => "there is no such process".to_owned(),
            1 => "1 process".to_owned(),
            number => format!("{number} processes"),
        };
        let is_good = match self.count {
            Some(count) => found.len() == count,
            None => found.is_empty() != self.running.unwrap_or(true),
        };
        if !is_good {
            return Ok(Look::NotYet(seen));
        }
        if let Some(expected) = &self.user {
            let ids = Ids::of(leader);
            let names = users(scene.guest)?.into_iter();
            let names: HashMap<u32, String> = names.map(|user| (user.uid, user.name)).collect();
            for id in found {
                // Who has gone meanwhile is nobody's.
                let Ok(metadata) = fs::metadata(format!("/proc/{id}")) else {
                    continue;
                };
                let owner = ids.user(metadata.uid());
                if !is_wanted(owner, &names, &expected.0) {
                    let owner = named(owner, &names);
                    return Ok(Look::NotYet(format!(
                        "{seen}, of {owner}, not of {expected}"
                    )));
                }
            }
        }
        Ok(Look::Holds(seen))
    }
}
