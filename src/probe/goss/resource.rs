//! The resources of goss → checks.

use serde_json::{Map, Value};
use toml::Table;

use super::keys::Keys;
use super::matcher::{matcher, numbers, range};
use super::system;
use crate::probe::value::Pattern;
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
    let mut keys = Keys::new(attributes);
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
        "process" => system::process(id, keys, checks)?,
        "user" => system::user(id, keys, checks)?,
        "group" => system::group(id, keys, checks)?,
        "package" => system::package(id, keys, checks)?,
        "mount" => system::mount(id, keys, checks)?,
        "kernel-param" => system::kernel_param(id, keys, checks)?,
        "dns" => system::dns(id, keys, checks)?,
        _ => return Err(Refusal::Section),
    }
    Ok(())
}

/// What is asked of files that are there.
const OF_FILES: &[&str] = &[
    "mode",
    "owner",
    "group",
    "linked-to",
    "sha256",
    "md5",
    "sha512",
    "filetype",
    "size",
    "contents",
    "contains",
];

fn file(id: &str, mut keys: Keys, checks: &mut Checks) -> Result<(), String> {
    let path = keys.target(id, "path")?;
    if path.starts_with('~') {
        return Err(format!("{path:?} is no absolute path"));
    }
    keys.set("path", path);
    keys.set("follow", false);
    let is_there = keys.take_presence("exists", OF_FILES)?;
    keys.set("exists", is_there);
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
    texts.extend(keys.take_texts("contains")?);
    let mut check: FileCheck = keys.make()?;
    (check.contains, check.lacks, check.matches) = texts.into_keys();
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
    if run != [id] {
        keys.call(id);
    }
    keys.set("run", run);
    let code = keys.take_number("exit-status")?;
    let code = code.ok_or_else(|| "\"exit-status\" is missing".to_owned())?;
    keys.set("exit-code", code);
    keys.take_timeout(Some(COMMAND_TIMEOUT))?;
    let stdout = keys.take_texts("stdout")?;
    let stderr = keys.take_texts("stderr")?;
    let mut check: CommandCheck = keys.make()?;
    (check.stdout, check.stdout_lacks, check.stdout_matches) = stdout.into_keys();
    (check.stderr, check.stderr_lacks, check.stderr_matches) = stderr.into_keys();
    checks.command.push(check);
    Ok(())
}

fn http(id: &str, mut keys: Keys, checks: &mut Checks) -> Result<(), String> {
    let url = keys.target(id, "url")?;
    keys.set("url", url);
    let status = match keys.take("status") {
        None => (1..=5).map(|class| format!("{class}xx")).collect(),
        Some(status) => numbers(&status)
            .map_err(|reason| format!("status: {reason}"))?
            .into_iter()
            .map(|(least, most)| {
                // There are no others.
                let least = if least == 0 { 100 } else { least };
                let most = if most == u64::MAX { 999 } else { most };
                if least == most {
                    least.to_string()
                } else {
                    format!("{least}-{most}")
                }
            })
            .collect::<Vec<String>>(),
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
    (check.contains, check.lacks, check.matches) = body.into_keys();
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
    let is_listening = keys.take_presence("listening", &["ip"])?;
    keys.set("listening", is_listening);
    let addresses = keys.take_strings("ip")?;
    if addresses.is_empty() {
        checks.port.push(keys.make()?);
        return Ok(());
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
    if !keys.take_required("reachable")? {
        return Err("reachable: false is not supported".to_owned());
    }
    checks.tcp.push(keys.make()?);
    Ok(())
}
