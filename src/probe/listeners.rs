//! What listens in a container: part of the evidence when a network check fails.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP, where to listen is to be bound and not connected.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A socket of a container that listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// What it is of.
    pub transport: Transport,
    /// The address it is bound to.
    pub address: SocketAddr,
    /// The name of the process that holds it.
    pub process: String,
    /// The unit that the process belongs to.
    pub unit: Option<String>,
    /// Whether only the container's init holds it, for a unit that it would start.
    pub is_of_init: bool,
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.transport == Transport::Udp {
            formatter.write_str("udp ")?;
        }
        write!(formatter, "{} {}", self.address, self.process)
    }
}

/// The TCP sockets that processes of the container listen on. `leader` is its init, in the host's
/// numbering. What cannot be read is left out.
pub fn listeners(leader: i32) -> Vec<Listener> {
    of_tables(leader, &[("tcp", Transport::Tcp), ("tcp6", Transport::Tcp)])
}

/// The TCP and UDP sockets that processes of the container listen on.
pub fn all_listeners(leader: i32) -> Vec<Listener> {
    of_tables(
        leader,
        &[
            ("tcp", Transport::Tcp),
            ("tcp6", Transport::Tcp),
            ("udp", Transport::Udp),
            ("udp6", Transport::Udp),
        ],
    )
}

fn of_tables(leader: i32, tables: &[(&str, Transport)]) -> Vec<Listener> {
    let owners = socket_owners(leader);
    let mut listeners = Vec::new();
    for (table, transport) in tables {
        let Ok(table) = fs::read_to_string(format!("/proc/{leader}/net/{table}")) else {
            continue;
        };
        for (address, inode) in parse(&table, *transport) {
            let Some(owner) = owners.get(&inode) else {
                continue;
            };
            listeners.push(Listener {
                transport: *transport,
                address,
                process: owner.process.clone(),
                unit: unit_of(leader, owner.id),
                is_of_init: owner.id == leader,
            });
        }
    }
    listeners.sort();
    listeners.dedup();
    listeners
}

/// The unit that a process of a container belongs to, by its place among the control groups below that
/// of the container's init, `…/init.scope`.
pub(super) fn unit_of(leader: i32, id: i32) -> Option<String> {
    let groups = |id: i32| fs::read_to_string(format!("/proc/{id}/cgroup")).ok();
    unit_among(&groups(leader)?, &groups(id)?)
}

/// The unit, by the control groups of init and of the process. On a host with several hierarchies the
/// container's systemd uses its own or the unified one, and is in a group of its making there.
fn unit_among(init: &str, groups: &str) -> Option<String> {
    ["name=systemd", ""].iter().find_map(|hierarchy| {
        let unit = unit_below(group_of(init, hierarchy)?, group_of(groups, hierarchy)?);
        unit.map(str::to_owned)
    })
}

/// The control group in a hierarchy; cgroups(7).
fn group_of<'a>(text: &'a str, hierarchy: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        (controllers == hierarchy).then_some(path)
    })
}

/// The first group on the way down that is no slice.
fn unit_below<'a>(init: &str, group: &'a str) -> Option<&'a str> {
    let root = init.strip_suffix("/init.scope")?;
    let below = group.strip_prefix(root)?;
    below
        .split('/')
        .find(|part| !part.is_empty() && part.strip_suffix(".slice").is_none())
}

/// The listening sockets of a table of proc(5)'s `/proc/net/tcp` or `udp`: address and inode.
fn parse(table: &str, transport: Transport) -> Vec<(SocketAddr, u64)> {
    // TCP_LISTEN, and what an unconnected UDP socket has: TCP_CLOSE.
    let listens = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?.parse().ok()?;
            (state == listens).then_some((parse_address(local)?, inode))
        })
        .collect()
}

/// `0100007F:1F40`: the address in words of the host's byte order, the port in plain hexadecimal.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let address: IpAddr = if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        Ipv4Addr::from(four).into()
    } else {
        Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).into()
    };
    Some(SocketAddr::new(address, port))
}

/// The processes of a container, by the host's numbering.
pub(super) fn processes(leader: i32) -> Vec<i32> {
    let namespace = |id: i32| fs::read_link(format!("/proc/{id}/ns/pid")).ok();
    let Some(container) = namespace(leader) else {
        return Vec::new();
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id| namespace(*id).as_ref() == Some(&container))
        .collect()
}

/// Who has a socket.
struct Owner {
    id: i32,
    process: String,
}

/// The sockets that the container's processes have open, by inode.
fn socket_owners(leader: i32) -> HashMap<u64, Owner> {
    let mut owners: HashMap<u64, Owner> = HashMap::new();
    for pid in processes(leader) {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            if let Some(inode) = socket_inode(&descriptor.path()) {
                // A socket that systemd holds for a service counts as the service's.
                let is_systemds = owners.get(&inode).is_none_or(|owner| owner.id == leader);
                if is_systemds {
                    let process = name.trim_end().to_owned();
                    owners.insert(inode, Owner { id: pid, process });
                }
            }
        }
    }
    owners
}

fn socket_inode(descriptor: &std::path::Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_proc_are_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0\n   1: 0100007F:1F40 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0 20 4 30 10 -1\n";
        assert_eq!(
            parse(table, Transport::Tcp),
            [("127.0.0.1:8000".parse().unwrap(), 12345)]
        );
        assert_eq!(
            parse_address("00000000000000000000000001000000:0050"),
            Some("[::1]:80".parse().unwrap())
        );
        assert_eq!(parse_address("junk"), None);
    }

    #[test]
    fn a_unit_is_found_by_its_control_group() {
        let unit = |group| unit_below("/a/payload/init.scope", group);
        assert_eq!(unit("/a/payload/init.scope"), Some("init.scope"));
        assert_eq!(
            unit("/a/payload/system.slice/nginx.service"),
            Some("nginx.service")
        );
        assert_eq!(
            unit("/a/payload/system.slice/system-x.slice/x@1.service/sub"),
            Some("x@1.service")
        );
        assert_eq!(unit("/b"), None);
        let own = "1:name=systemd:/s/init.scope\n0::/u\n";
        let process = "1:name=systemd:/s/system.slice/a.service\n0::/u\n";
        assert_eq!(unit_among(own, process).as_deref(), Some("a.service"));
        let unified = "1:name=systemd:/s\n0::/u/init.scope\n";
        let process = "1:name=systemd:/s\n0::/u/system.slice/b.service\n";
        assert_eq!(unit_among(unified, process).as_deref(), Some("b.service"));
    }
}
