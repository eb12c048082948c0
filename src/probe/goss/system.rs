//! The resources of goss that are about the system itself → checks.

use super::keys::Keys;
use super::matcher::{bounds, element_patterns, text_patterns};
use crate::probe::value::Many;
use crate::probe::{Checks, KernelParamCheck, PackageCheck};

type Translated = Result<(), String>;

/// A process goes by the name that the kernel has for it.
pub(super) fn process(id: &str, mut keys: Keys, checks: &mut Checks) -> Translated {
    let name = keys.target(id, "comm")?;
    keys.set("comm", name.clone());
    keys.set("name", name);
    let is_running = keys.take_required("running")?;
    keys.set("running", is_running);
    checks.process.push(keys.make()?);
    Ok(())
}

pub(super) fn user(id: &str, mut keys: Keys, checks: &mut Checks) -> Translated {
    let name = keys.target(id, "username")?;
    keys.set("name", name);
    let others = ["uid", "gid", "groups", "home", "shell"];
    let is_there = keys.take_presence("exists", &others)?;
    keys.set("exists", is_there);
    for number in ["uid", "gid"] {
        if let Some(value) = keys.take_number(number)? {
            keys.set(number, value);
        }
    }
    for text in ["home", "shell"] {
        if let Some(value) = keys.take_text(text)? {
            keys.set(text, value);
        }
    }
    let groups = keys.take_elements("groups")?;
    if groups.are_all {
        keys.set("other-groups", false);
    }
    keys.set("groups", groups.texts);
    checks.user.push(keys.make()?);
    Ok(())
}

pub(super) fn group(id: &str, mut keys: Keys, checks: &mut Checks) -> Translated {
    let name = keys.target(id, "groupname")?;
    keys.set("name", name);
    let is_there = keys.take_presence("exists", &["gid"])?;
    keys.set("exists", is_there);
    if let Some(number) = keys.take_number("gid")? {
        keys.set("gid", number);
    }
    checks.group.push(keys.make()?);
    Ok(())
}

/// A version is compared with all that the database has of it.
pub(super) fn package(id: &str, mut keys: Keys, checks: &mut Checks) -> Translated {
    let name = keys.target(id, "name")?;
    keys.set("name", name);
    let is_there = keys.take_presence("installed", &["versions"])?;
    keys.set("installed", is_there);
    let versions = match keys.take("versions") {
        None => Vec::new(),
        Some(value) => element_patterns(&value).map_err(|reason| format!("versions: {reason}"))?,
    };
    let mut check: PackageCheck = keys.make()?;
    check.version_matches = Many(versions);
    checks.package.push(check);
    Ok(())
}

pub(super) fn mount(id: &str, mut keys: Keys, checks: &mut Checks) -> Translated {
    let path = keys.target(id, "mountpoint")?;
    keys.set("path", path);
    let others = ["opts", "vfs-opts", "source", "filesystem", "usage"];
    let is_there = keys.take_presence("exists", &others)?;
    keys.set("mounted", is_there);
    // What it calls those of the VFS are those of the file system.
    for (name, ours) in [("opts", "vfs-options"), ("vfs-opts", "fs-options")] {
        let options = keys.take_strings(name)?;
        keys.set(ours, options);
    }
    for (name, ours) in [("source", "source"), ("filesystem", "type")] {
        if let Some(value) = keys.take_text(name)? {
            keys.set(ours, value);
        }
    }
    if let Some(usage) = keys.take("usage") {
        let (least, most) = bounds(&usage).map_err(|reason| format!("usage: {reason}"))?;
        if least.is_some() {
            return Err("usage: that so much is used is not supported".to_owned());
        }
        if let Some(most) = most {
            keys.set("max-usage", most);
        }
    }
    keys.take_timeout(None)?;
    checks.mount.push(keys.make()?);
    Ok(())
}

pub(super) fn kernel_param(id: &str, mut keys: Keys, checks: &mut Checks) -> Translated {
    let name = keys.target(id, "name")?;
    keys.set("name", name);
    let Some(value) = keys.take("value") else {
        return Err("\"value\" is missing".to_owned());
    };
    let mut patterns = Vec::new();
    match (value.as_str(), bounds(&value)) {
        (Some(text), _) => keys.set("value", text),
        (None, Ok((least, most))) => {
            for (key, bound) in [("min", least), ("max", most)] {
                if let Some(bound) = bound {
                    keys.set(key, bound);
                }
            }
        }
        (None, Err(_)) => {
            patterns = text_patterns(&value).map_err(|reason| format!("value: {reason}"))?;
        }
    }
    let mut check: KernelParamCheck = keys.make()?;
    check.matches = Many(patterns);
    checks.kernel_param.push(check);
    Ok(())
}

pub(super) fn dns(id: &str, mut keys: Keys, checks: &mut Checks) -> Translated {
    let name = keys.target(id, "resolve")?;
    if let Some((kind, _)) = name.split_once(':')
        && !kind.is_empty()
        && kind.bytes().all(|byte| byte.is_ascii_uppercase())
    {
        return Err(format!("records of the type {kind} are not supported"));
    }
    keys.set("name", name);
    // Its name before 0.4.
    if let Some(older) = keys.take("resolveable") {
        keys.attributes.entry("resolvable").or_insert(older);
    }
    let resolves = keys.take_presence("resolvable", &["addrs"])?;
    keys.set("resolves", resolves);
    // It is for the server that is asked, and the system's own has its own time.
    keys.attributes.remove("timeout");
    let addresses = keys.take_elements("addrs")?;
    if addresses.are_all {
        keys.set("other-addresses", false);
    }
    keys.set("addresses", addresses.texts);
    checks.dns.push(keys.make()?);
    Ok(())
}
