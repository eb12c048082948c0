//! The resources of goss → checks.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::Table;

use super::matcher::{Texts, all_of, any_of, matcher, plain, range};
use crate::probe::value::{Many, Pattern};
use crate::probe::{Checks, CommandCheck, FileCheck, HttpCheck};

/// How long goss lets a command run, in ms, if nothing is said.
const COMMAND_TIMEOUT: u64 = 10_000;

/// How long goss tries an address, in ms, if nothing is said.
const ADDRESS_TIMEOUT: u64 = 500;

/// Why there is no check that says the same.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is none for resources of the kind.
    Section,
    /// There is none for what this one asks.
    Attribute(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Attribute(reason)
    }
}

/// Adds what a resource asks for.
pub(super) fn translate(
    section: &str,
    id: &str,
    attributes: Map<String, Value>,
    checks: &mut Checks,
) -> Result<(), Refusal> {
    let mut keys = Keys {
        attributes,
        table: Table::new(),
    };
    // For people and other programs.
    keys.attributes.remove("meta");
    if let Some(title) = keys.take_text("title")? {
        keys.set("title", title);
    }
    match section {
        "file" => file(id, keys, checks)?,
        "command" => command(id, keys, checks)?,
        "http" => http(id, keys, checks)?,
        "port" => port(id, keys, checks)?,
        "service" => service(id, keys, checks)?,
        "addr" => address(id, keys, checks)?,
        _ => return Err(Refusal::Section),
    }
    Ok(())
}

/// A resource's attributes, and what they have become.
#[derive(Clone)]
struct Keys {
    attributes: Map<String, Value>,
    table: Table,
}

impl Keys {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.attributes
            .remove(name)
            .filter(|value| !value.is_null())
    }

    /// Takes what may be one value only.
    fn take_plain(&mut self, name: &str) -> Result<Option<Value>, String> {
        let value = self.take(name).map(plain).transpose();
        value.map_err(|reason| format!("{name}: {reason}"))
    }

    fn take_text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take_plain(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{name}: {other} is no text")),
        }
    }

    fn take_bool(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.take_plain(name)? {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(format!("{name}: {other} is neither true nor false")),
        }
    }

    fn take_texts(&mut self, name: &str) -> Result<Texts, String> {
        match self.take(name) {
            None => Ok(Texts::default()),
            Some(value) => Texts::read(&value).map_err(|reason| format!("{name}: {reason}")),
        }
    }

    fn take_strings(&mut self, name: &str) -> Result<Vec<String>, String> {
        let values = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(value) => all_of(value).map_err(|reason| format!("{name}: {reason}"))?,
        };
        let texts = values.into_iter().map(|value| match value {
            Value::String(text) => Ok(text),
            other => Err(format!("{name}: {other} is no text")),
        });
        texts.collect()
    }

    /// Takes a time in milliseconds.
    fn take_timeout(&mut self, default: Option<u64>) -> Result<(), String> {
        let given = match self.take_plain("timeout")? {
            None => None,
            // Nothing is said by it either.
            Some(value) if value.as_u64() == Some(0) => None,
            Some(value) => match value.as_u64() {
                Some(timeout) => Some(timeout),
                None => return Err(format!("timeout: {value} is no number of milliseconds")),
            },
        };
        if let Some(timeout) = given.or(default) {
            self.set("timeout", format!("{timeout}ms"));
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: impl Into<toml::Value>) {
        self.table.insert(name.to_owned(), value.into());
    }

    /// Sets what is the same here, under its name there if that is another.
    fn same(&mut self, name: &str, ours: &str) -> Result<(), String> {
        match self.take_plain(name)? {
            None => {}
            Some(Value::Bool(value)) => self.set(ours, value),
            Some(Value::String(text)) => self.set(ours, text),
            Some(other) => self.set(ours, other.to_string()),
        }
        Ok(())
    }

    /// The name of what is looked at, which may be beside a resource's own.
    fn target(&mut self, id: &str, name: &str) -> Result<String, String> {
        let Some(target) = self.take_text(name)? else {
            return Ok(id.to_owned());
        };
        if !self.table.contains_key("title") {
            self.set("title", id);
        }
        Ok(target)
    }

    /// Makes the check, if nothing is left.
    fn make<T: DeserializeOwned>(self) -> Result<T, String> {
        let left: Vec<String> = self
            .attributes
            .keys()
            .map(|name| format!("attribute {name:?} is not supported"))
            .collect();
        if !left.is_empty() {
            return Err(left.join(", "));
        }
        let made = T::deserialize(toml::Value::Table(self.table));
        made.map_err(|error| error.message().replace('\n', ", "))
    }
}

fn file(id: &str, mut keys: Keys, checks: &mut Checks) -> Result<(), String> {
    let path = keys.target(id, "path")?;
    if path.starts_with('~') {
        return Err(format!("{path:?} is no absolute path"));
    }
    keys.set("path", path);
    keys.set("follow", false);
    keys.same("exists", "exists")?;
    if let Some(mode) = keys.take_plain("mode")? {
        match mode {
            // goss compares texts of four digits at least.
            Value::String(mode) if mode.len() >= 4 => keys.set("mode", mode),
            other => return Err(format!("mode: {other} is not written as in \"0644\"")),
        }
    }
    keys.same("owner", "owner")?;
    keys.same("group", "group")?;
    keys.same("linked-to", "target")?;
    keys.same("sha256", "sha256")?;
    if let Some(kind) = keys.take_text("filetype")? {
        let kind = match kind.as_str() {
            "file" | "directory" | "symlink" | "socket" => &kind,
            "pipe" => "fifo",
            "block-device" => "block",
            "character-device" => "character",
            _ => return Err(format!("filetype: {kind:?} is not supported")),
        };
        keys.set("type", kind);
    }
    if let Some(size) = keys.take("size") {
        let (least, most) = range(&size).map_err(|reason| format!("size: {reason}"))?;
        let bound = |bound: u64| i64::try_from(bound).unwrap_or(i64::MAX);
        keys.set("min-size", bound(least));
        keys.set("max-size", bound(most));
    }
    let mut texts = keys.take_texts("contents")?;
    let older = keys.take_texts("contains")?;
    texts.contains.extend(older.contains);
    texts.lacks.extend(older.lacks);
    texts.matches.extend(older.matches);
    let mut check: FileCheck = keys.make()?;
    check.contains = Many(texts.contains);
    check.lacks = Many(texts.lacks);
    check.matches = Many(texts.matches);
    checks.file.push(check);
    Ok(())
}

fn command(id: &str, mut keys: Keys, checks: &mut Checks) -> Result<(), String> {
    let run = match keys.take("exec") {
        None => vec![id.to_owned()],
        Some(Value::String(line)) => vec![line],
        Some(Value::Array(words)) if words.len() > 1 => words
            .into_iter()
            .map(|word| match word {
                Value::String(word) => Ok(word),
                other => Err(format!("exec: {other} is no text")),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("exec: expected a line, or a list of two words or more".to_owned()),
    };
    if run != [id] && !keys.table.contains_key("title") {
        keys.set("title", id);
    }
    keys.set("run", run);
    match keys.take_plain("exit-status")? {
        None => return Err("\"exit-status\" is missing".to_owned()),
        Some(value) => {
            // Older versions took texts as well.
            let code = value
                .as_i64()
                .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
                .ok_or_else(|| format!("exit-status: {value} is no number"))?;
            keys.set("exit-code", code);
        }
    }
    keys.take_timeout(Some(COMMAND_TIMEOUT))?;
    let stdout = keys.take_texts("stdout")?;
    let stderr = keys.take_texts("stderr")?;
    let mut check: CommandCheck = keys.make()?;
    check.stdout = Many(stdout.contains);
    check.stdout_lacks = Many(stdout.lacks);
    check.stdout_matches = Many(stdout.matches);
    check.stderr = Many(stderr.contains);
    check.stderr_lacks = Many(stderr.lacks);
    check.stderr_matches = Many(stderr.matches);
    checks.command.push(check);
    Ok(())
}

fn http(id: &str, mut keys: Keys, checks: &mut Checks) -> Result<(), String> {
    let url = keys.target(id, "url")?;
    keys.set("url", url);
    let status = match keys.take("status") {
        None => (1..=5).map(|class| format!("{class}xx")).collect(),
        Some(status) => any_of(status)
            .map_err(|reason| format!("status: {reason}"))?
            .into_iter()
            .map(|value| match value.as_u64() {
                Some(status) => Ok(status.to_string()),
                None => Err(format!("status: {value} is no number")),
            })
            .collect::<Result<Vec<String>, String>>()?,
    };
    keys.set("status", status);
    let is_insecure = keys.take_bool("allow-insecure")?.unwrap_or(false);
    keys.set("verify-certificate", !is_insecure);
    let stays = keys.take_bool("no-follow-redirects")?.unwrap_or(false);
    keys.set("follow", !stays);
    keys.take_timeout(None)?;
    keys.same("method", "method")?;
    keys.same("request-body", "send")?;
    let mut request = Table::new();
    for line in keys.take_strings("request-headers")? {
        let (name, value) = header(&line).map_err(|reason| format!("request-headers: {reason}"))?;
        if request.insert(name.to_owned(), value.into()).is_some() {
            return Err(format!(
                "request-headers: more than one {name} is not supported"
            ));
        }
    }
    keys.set("request-header", request);
    let headers = match keys.take("headers") {
        None => Vec::new(),
        Some(Value::Array(lines)) => lines,
        Some(value) => match matcher(&value) {
            Ok((name, _)) => return Err(format!("headers: matcher {name:?} is not supported")),
            Err(_) => return Err("headers: expected a list".to_owned()),
        },
    };
    let mut wanted = Vec::new();
    for line in headers {
        let line = line
            .as_str()
            .ok_or_else(|| format!("headers: {line} is no text"))?;
        if line.starts_with(['!', '/', '\\']) {
            return Err(format!("headers: the pattern {line:?} is not supported"));
        }
        let (name, value) = header(line).map_err(|reason| format!("headers: {reason}"))?;
        let pattern = Pattern::whole(&format!(r"\A{}", regex::escape(value)), false)?;
        wanted.push((name.to_lowercase(), pattern));
    }
    let body = keys.take_texts("body")?;
    let mut check: HttpCheck = keys.make()?;
    for (name, pattern) in wanted {
        if check.header.insert(name.clone(), pattern).is_some() {
            return Err(format!("headers: more than one {name} is not supported"));
        }
    }
    check.contains = Many(body.contains);
    check.lacks = Many(body.lacks);
    check.matches = Many(body.matches);
    checks.http.push(check);
    Ok(())
}

/// Name and value of a header field.
fn header(line: &str) -> Result<(&str, &str), String> {
    let (name, value) = line
        .split_once(": ")
        .ok_or_else(|| format!("{line:?} is not NAME: VALUE"))?;
    Ok((name, value))
}

fn port(id: &str, mut keys: Keys, checks: &mut Checks) -> Result<(), String> {
    let target = keys.target(id, "port")?;
    let (network, number) = target.split_once(':').unwrap_or(("tcp", &target));
    let (transport, version) = match network {
        "tcp" => ("tcp", 4),
        "tcp6" => ("tcp", 6),
        "udp" => ("udp", 4),
        "udp6" => ("udp", 6),
        _ => return Err(format!("network {network:?} is not supported")),
    };
    keys.set("port", format!("{transport}/{number}"));
    keys.set("ip-version", version);
    let is_listening = keys.take_bool("listening")?;
    let is_listening = is_listening.ok_or_else(|| "\"listening\" is missing".to_owned())?;
    keys.set("listening", is_listening);
    let addresses = keys.take_strings("ip")?;
    if addresses.is_empty() {
        checks.port.push(keys.make()?);
        return Ok(());
    }
    if !is_listening {
        return Err("ip: nobody has to listen".to_owned());
    }
    // Each of them has to be listened on.
    for address in addresses {
        let mut one = keys.clone();
        one.set("address", address);
        checks.port.push(one.make()?);
    }
    Ok(())
}

fn service(id: &str, mut keys: Keys, checks: &mut Checks) -> Result<(), String> {
    let name = keys.target(id, "name")?;
    keys.set("name", name);
    // goss looks, and starts nothing.
    keys.set("start", false);
    let is_enabled = keys.take_bool("enabled")?;
    let is_running = keys.take_bool("running")?;
    if is_enabled.is_none() && is_running.is_none() {
        return Err("neither \"enabled\" nor \"running\" is asked".to_owned());
    }
    if let Some(is_enabled) = is_enabled {
        keys.set("enabled", is_enabled);
    }
    if let Some(is_running) = is_running {
        keys.set("active", is_running);
    }
    checks.unit.push(keys.make()?);
    Ok(())
}

fn address(id: &str, mut keys: Keys, checks: &mut Checks) -> Result<(), String> {
    let address = keys.target(id, "address")?;
    match address.strip_prefix("tcp://") {
        Some(address) => keys.set("address", address),
        None => return Err(format!("{address:?} is not supported, which is not tcp://")),
    }
    keys.take_timeout(Some(ADDRESS_TIMEOUT))?;
    match keys.take_bool("reachable")? {
        Some(true) => {}
        Some(false) => return Err("reachable: false is not supported".to_owned()),
        None => return Err("\"reachable\" is missing".to_owned()),
    }
    checks.tcp.push(keys.make()?);
    Ok(())
}
