//! Questions about all of a container's units, and about all that a unit has.

use std::collections::{BTreeMap, BTreeSet};

use zbus::Variant;

use super::{Guest, GuestError, asked};
use crate::machine::bus::AllPropertiesProxy;

/// The properties of a unit by their D-Bus names, as `systemctl show` words them.
pub type Properties = BTreeMap<String, String>;

/// A socket unit that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketUnit {
    /// Its name.
    pub name: String,
    /// What it listens on: `Stream` or `Datagram` and the like, and the address.
    pub listens: Vec<(String, String)>,
    /// The units that it starts.
    pub triggers: Vec<String>,
}

impl Guest {
    /// All properties of a unit, those of its type included.
    pub async fn properties(&self, name: &str) -> Result<Properties, GuestError> {
        let raw = self.raw_properties(name).await?;
        let worded = raw.into_iter().map(|(name, value)| (name, words(&value)));
        Ok(worded.collect())
    }

    async fn raw_properties(
        &self,
        name: &str,
    ) -> Result<std::collections::HashMap<String, zbus::OwnedVariant>, GuestError> {
        let link = self.live_link().await?;
        let path = asked(&format!("load {name}"), link.manager.load_unit(name).await)?;
        let action = format!("tell the properties of {name}");
        let proxy = AllPropertiesProxy::builder(&link.bus)
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No);
        let proxy = asked(&action, proxy.build().await)?;
        asked(&action, proxy.get_all("").await)
    }

    /// The units that have failed, without postroj's own commands.
    pub async fn failed_units(&self) -> Result<Vec<String>, GuestError> {
        let mut names = self.units(&["failed"], &[]).await?;
        names.retain(|name| !super::is_command_unit(name));
        Ok(names)
    }

    /// The names of the units in any of the states, or in any, that match any of the patterns.
    async fn units(&self, states: &[&str], patterns: &[&str]) -> Result<Vec<String>, GuestError> {
        let manager = self.live_link().await?.manager;
        let listed = manager.list_units_by_patterns(states, patterns).await;
        let mut names: Vec<String> = asked("list units", listed)?
            .into_iter()
            .map(|unit| unit.0)
            .collect();
        names.sort();
        Ok(names)
    }

    /// The matches of journalctl(1) for what a unit has said, and systemd about it, in this boot.
    ///
    /// The journal knows a process's unit only if it has looked before that was gone: what the unit's
    /// last processes have said is found by their numbers too.
    pub async fn journal_matches(&self, name: &str) -> Result<Vec<String>, GuestError> {
        let raw = self.raw_properties(name).await?;
        let mut groups = vec![
            vec![format!("_SYSTEMD_UNIT={name}")],
            vec![format!("UNIT={name}"), "_PID=1".to_owned()],
            vec![format!("OBJECT_SYSTEMD_UNIT={name}"), "_UID=0".to_owned()],
            vec![format!("COREDUMP_UNIT={name}"), "_UID=0".to_owned()],
        ];
        let invocation = raw.get("InvocationID").map(|value| hexadecimal(value));
        let invocation = invocation.filter(|id| !id.is_empty());
        groups.extend(invocation.map(|id| vec![format!("_SYSTEMD_INVOCATION_ID={id}")]));
        let mut processes = BTreeSet::new();
        for (name, value) in &raw {
            if name == "ExecMainPID" {
                processes.insert(words(value));
            } else if name.starts_with("Exec") {
                processes.extend(process_of_commands(value));
            }
        }
        processes.remove("0");
        groups.extend(processes.iter().map(|id| vec![format!("_PID={id}")]));
        Ok(groups.join(&"+".to_owned()))
    }

    /// The files that units come from, by their paths in the container, without the names that only
    /// stand for other units.
    pub async fn unit_files(&self) -> Result<Vec<String>, GuestError> {
        let manager = self.live_link().await?.manager;
        let mut files = asked("list unit files", manager.list_unit_files().await)?;
        files.retain(|(_, state)| !matches!(state.as_str(), "alias" | "masked" | "masked-runtime"));
        Ok(files.into_iter().map(|(path, _)| path).collect())
    }

    /// The socket units that listen, or whose service has taken over.
    pub async fn socket_units(&self) -> Result<Vec<SocketUnit>, GuestError> {
        let mut found = Vec::new();
        for name in self.units(&["active"], &["*.socket"]).await? {
            let raw = self.raw_properties(&name).await?;
            let triggers = raw
                .get("Triggers")
                .map(|value| words(value))
                .unwrap_or_default();
            found.push(SocketUnit {
                listens: raw
                    .get("Listen")
                    .map(|value| pairs(value))
                    .unwrap_or_default(),
                triggers: triggers.split(' ').map(str::to_owned).collect(),
                name,
            });
        }
        Ok(found)
    }
}

/// A value as `systemctl show` has it, as far as that is simple.
fn words(value: &Variant<'_>) -> String {
    match value {
        Variant::Str(text) => text.to_string(),
        Variant::ObjectPath(path) => path.to_string(),
        Variant::Bool(true) => "yes".to_owned(),
        Variant::Bool(false) => "no".to_owned(),
        Variant::U8(number) => number.to_string(),
        Variant::U16(number) => number.to_string(),
        Variant::U32(number) => number.to_string(),
        // What systemd means by no limit.
        Variant::U64(u64::MAX) => "infinity".to_owned(),
        Variant::U64(number) => number.to_string(),
        Variant::I16(number) => number.to_string(),
        Variant::I32(number) => number.to_string(),
        Variant::I64(number) => number.to_string(),
        Variant::F64(number) => number.to_string(),
        Variant::Variant(inner) => words(inner),
        Variant::Array(array) => {
            let all: Vec<String> = array.iter().map(words).collect();
            all.join(" ")
        }
        Variant::Structure(fields) => {
            let all: Vec<String> = fields.fields().iter().map(words).collect();
            all.join(" ")
        }
        other => other.to_string(),
    }
}

/// Bytes as systemd writes an identifier.
fn hexadecimal(value: &Variant<'_>) -> String {
    let Variant::Array(bytes) = value else {
        return String::new();
    };
    let byte = |byte: &Variant<'_>| match byte {
        Variant::U8(byte) => format!("{byte:02x}"),
        _ => String::new(),
    };
    bytes.iter().map(byte).collect()
}

/// The processes that have run the commands of a unit, such as `ExecStartPre=`: the eighth thing that is
/// said of each; org.freedesktop.systemd1(5).
fn process_of_commands(value: &Variant<'_>) -> Vec<String> {
    let Variant::Array(commands) = value else {
        return Vec::new();
    };
    let process = |command: &Variant<'_>| match command {
        Variant::Structure(fields) => match fields.fields().get(7) {
            Some(Variant::U32(process)) => Some(process.to_string()),
            _ => None,
        },
        _ => None,
    };
    commands.iter().filter_map(process).collect()
}

/// The pairs of texts of an array.
fn pairs(value: &Variant<'_>) -> Vec<(String, String)> {
    let Variant::Array(array) = value else {
        return Vec::new();
    };
    let pair = |item: &Variant<'_>| match item {
        Variant::Structure(fields) => {
            let fields = fields.fields();
            Some((words(fields.first()?), words(fields.get(1)?)))
        }
        _ => None,
    };
    array.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_systemctl_has_them() {
        assert_eq!(words(&Variant::from(true)), "yes");
        assert_eq!(words(&Variant::from(u64::MAX)), "infinity");
        assert_eq!(words(&Variant::from(vec!["a", "b"])), "a b");
        let listens = Variant::from(vec![("Stream", "[::]:80")]);
        assert_eq!(
            pairs(&listens),
            [("Stream".to_owned(), "[::]:80".to_owned())]
        );
    }
}
