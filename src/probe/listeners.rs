//! What listens in a container: part of the evidence when a network check fails.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A TCP socket of a container that listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The address it is bound to.
    pub address: SocketAddr,
    /// The name of the process that holds it.
    pub process: String,
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.address, self.process)
    }
}

/// The TCP sockets that processes of the container listen on. `leader` is its init, in the host's
/// numbering. What cannot be read is left out.
pub fn listeners(leader: i32) -> Vec<Listener> {
    let owners = socket_owners(leader);
    let mut listeners: Vec<Listener> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{leader}/net/{table}")).ok())
        .flat_map(|table| parse(&table))
        .filter_map(|(address, inode)| {
            let process = owners.get(&inode)?.clone();
            Some(Listener { address, process })
        })
        .collect();
    listeners.sort();
    listeners.dedup();
    listeners
}

/// The listening sockets of a table of proc(5)'s `/proc/net/tcp`: address and inode.
fn parse(table: &str) -> Vec<(SocketAddr, u64)> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?.parse().ok()?;
            (state == LISTEN).then_some((parse_address(local)?, inode))
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

/// The sockets that the container's processes have open, by inode, with the process's name.
fn socket_owners(leader: i32) -> HashMap<u64, String> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(container) = namespace(&leader.to_string()) else {
        return HashMap::new();
    };
    let mut owners = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().into_string() else {
            continue;
        };
        let is_process = pid.bytes().all(|byte| byte.is_ascii_digit());
        if !is_process || namespace(&pid).as_ref() != Some(&container) {
            continue;
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            if let Some(inode) = socket_inode(&descriptor.path()) {
                // A socket that systemd holds for a service counts as the service's.
                let owner = owners.entry(inode).or_insert_with(String::new);
                if owner.is_empty() || owner == "systemd" {
                    name.trim_end().clone_into(owner);
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
        assert_eq!(parse(table), [("127.0.0.1:8000".parse().unwrap(), 12345)]);
        assert_eq!(
            parse_address("00000000000000000000000001000000:0050"),
            Some("[::1]:80".parse().unwrap())
        );
        assert_eq!(parse_address("junk"), None);
    }
}
