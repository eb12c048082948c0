//! What a container's network comes to on this host, and the nameservers that it is told.
//!
//! A network of its own keeps a container's ports off the host's, and the host's services off the
//! container's `localhost`. What leads out of it is pasta (see `pasta`), which takes the first
//! default route of the host for each version of IP: where there is none, it has nothing to offer.
//!
//! A nameserver that listens on the host itself, as systemd-resolved does on 127.0.0.53, is out of
//! the container's reach. pasta answers in its place at [`FORWARD_4`] or [`FORWARD_6`], and asks the
//! first nameserver of that version of IP in the host's `resolv.conf`.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::isolation::Network;
use super::shape::Port;

/// The address that stands in for an IPv4 nameserver of the host; link-local, so nobody's.
const FORWARD_4: Ipv4Addr = Ipv4Addr::new(169, 254, 53, 53);

/// The same for IPv6; a unique local address (RFC 4193) that was made up for this.
const FORWARD_6: Ipv6Addr = Ipv6Addr::new(0xfd53, 0x706f, 0x7374, 0, 0, 0, 0, 0x53);

/// Where systemd-resolved has the nameservers that it asks itself; systemd-resolved.service(8).
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// pasta makes its end of the container's network with it.
const TUN: &str = "/dev/net/tun";

/// Where a container's packets go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Uplink {
    /// Wherever the host's go: it has the host's network.
    Host,
    /// Nowhere.
    Loopback,
    /// To pasta.
    Pasta(Pasta),
}

/// How pasta is to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pasta {
    /// Its path.
    pub(super) program: PathBuf,
    /// Where it answers in place of the host's first nameserver, for each version of IP.
    pub(super) forwarded: Vec<IpAddr>,
    /// The host's ports that lead in.
    pub(super) ports: Vec<Port>,
}

/// A container's network, arranged.
#[derive(Debug)]
pub(super) struct Arranged {
    pub(super) uplink: Uplink,
    /// The content of the container's `/etc/resolv.conf`.
    pub(super) resolv_conf: String,
    /// What the user should know.
    pub(super) note: Option<String>,
}

/// Finds out what this host can give; an error says what it lacks of what is insisted on.
pub(super) fn arrange(network: Network, ports: &[Port]) -> Result<Arranged, &'static str> {
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let arranged = |uplink, note| Arranged {
        uplink,
        resolv_conf: resolv_conf.clone(),
        note,
    };
    if !ports.is_empty() && matches!(network, Network::Host | Network::None) {
        return Err("ports lead into a network of its own only, and it has none");
    }
    match network {
        Network::Host => return Ok(arranged(Uplink::Host, None)),
        Network::None => return Ok(arranged(Uplink::Loopback, None)),
        Network::Auto | Network::Nat => {}
    }
    let program = match lacking() {
        Ok(program) => program,
        Err(what) if network == Network::Nat || !ports.is_empty() => return Err(what),
        Err(what) => {
            let note = format!(
                "{what}: the container shares the host's network (say so with --network host, or install pasta: {INSTALL_PASTA})"
            );
            return Ok(arranged(Uplink::Host, Some(note)));
        }
    };
    let routes = Routes::load();
    if routes == Routes::default() && !ports.is_empty() {
        return Err("this host has no default route, which pasta needs");
    }
    if routes == Routes::default() {
        let note = "this host has no default route: the container has its loopback device only";
        return Ok(arranged(Uplink::Loopback, Some(note.to_owned())));
    }
    let upstream = fs::read_to_string(UPSTREAM).unwrap_or_default();
    let (resolv_conf, forwarded) = nameservers(&resolv_conf, &upstream, routes, is_own);
    Ok(Arranged {
        uplink: Uplink::Pasta(Pasta {
            program,
            forwarded,
            ports: ports.to_vec(),
        }),
        resolv_conf,
        note: None,
    })
}

/// How pasta comes to a host.
pub const INSTALL_PASTA: &str =
    "apt-get install passt (Debian, Ubuntu), dnf install passt (Fedora and its kin)";

/// The path of pasta, or what stands in the way of using it.
fn lacking() -> Result<PathBuf, &'static str> {
    let program = find_pasta().ok_or("pasta is not installed")?;
    if Path::new(TUN).exists() {
        Ok(program)
    } else {
        Err("there is no /dev/net/tun, which pasta needs")
    }
}

/// The path of pasta, if a directory of `PATH` has it.
pub fn find_pasta() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join("pasta"))
        .find(|candidate| candidate.is_file())
}

/// Which versions of IP have a default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Routes {
    v4: bool,
    v6: bool,
}

impl Routes {
    fn load() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
    }

    /// Reads the kernel's tables; proc(5) has the first, `net/ipv6/route.c` the second.
    fn parse(v4: &str, v6: &str) -> Self {
        const UP: u32 = 0x1;
        const REJECT: u32 = 0x200;
        let is_usable = |flags: Option<&&str>| {
            flags
                .and_then(|flags| u32::from_str_radix(flags, 16).ok())
                .is_some_and(|flags| flags & UP != 0 && flags & REJECT == 0)
        };
        Self {
            v4: v4.lines().skip(1).any(|line| {
                let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                fields.get(1) == Some(&"00000000")
                    && fields.get(7) == Some(&"00000000")
                    && is_usable(fields.get(3))
            }),
            v6: v6.lines().any(|line| {
                let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                fields
                    .first()
                    .is_some_and(|to| to.bytes().all(|b| b == b'0'))
                    && fields.get(1) == Some(&"00")
                    && fields.last() != Some(&"lo")
                    && is_usable(fields.get(8))
            }),
        }
    }
}

/// Whether an address is this host's: only those can be bound to.
fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

/// The container's `resolv.conf`, and where pasta has to answer for the host's first nameservers.
///
/// Whatever else the host's file says is kept. A nameserver that the container can reach is kept
/// too, for it is asked by TCP as well, which older versions of pasta do not forward.
fn nameservers(
    conf: &str,
    upstream: &str,
    routes: Routes,
    is_own: impl Fn(IpAddr) -> bool,
) -> (String, Vec<IpAddr>) {
    let mut text = String::new();
    let mut forwarded = Vec::new();
    let (mut seen_4, mut seen_6, mut count) = (false, false, 0);
    let mut is_lost = false;
    for line in conf.lines() {
        let Some(address) = nameserver(line) else {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
            continue;
        };
        let (seen, has_route, stand_in) = match address {
            IpAddr::V4(_) => (&mut seen_4, routes.v4, IpAddr::V4(FORWARD_4)),
            IpAddr::V6(_) => (&mut seen_6, routes.v6, IpAddr::V6(FORWARD_6)),
        };
        let is_first = !std::mem::replace(seen, true);
        let told = if !is_own(address) {
            Some(address)
        } else if is_first && has_route {
            forwarded.push(stand_in);
            Some(stand_in)
        } else {
            is_lost = true;
            None
        };
        if let Some(told) = told {
            let _ = writeln!(text, "nameserver {told}");
            count += 1;
        }
    }
    if is_lost && count == 0 {
        // An IPv6-only host with systemd-resolved on 127.0.0.53: then those that it asks.
        for address in upstream.lines().filter_map(nameserver) {
            if !is_own(address) {
                let _ = writeln!(text, "nameserver {address}");
            }
        }
    }
    (text, forwarded)
}

/// The address in `nameserver 192.0.2.53`, without a zone; resolv.conf(5).
fn nameserver(line: &str) -> Option<IpAddr> {
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("nameserver") {
        return None;
    }
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Routes = Routes { v4: true, v6: true };
    const ONLY_6: Routes = Routes {
        v4: false,
        v6: true,
    };

    fn told(conf: &str, upstream: &str, routes: Routes) -> (String, Vec<IpAddr>) {
        nameservers(conf, upstream, routes, |address| address.is_loopback())
    }

    #[test]
    fn a_stub_is_forwarded_and_the_rest_is_kept() {
        let (text, forwarded) = told(
            "# made by hand\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.org\n",
            "",
            BOTH,
        );
        let expected = "# made by hand\nnameserver 169.254.53.53\noptions edns0 trust-ad\nsearch example.org\n";
        assert_eq!(text, expected);
        assert_eq!(forwarded, [IpAddr::V4(FORWARD_4)]);
    }

    #[test]
    fn nameservers_elsewhere_are_kept() {
        let conf = "nameserver 192.0.2.53\nnameserver 2001:db8::53\n";
        assert_eq!(told(conf, "", BOTH), (conf.to_owned(), Vec::new()));
    }

    #[test]
    fn a_stub_behind_another_is_left_out() {
        // pasta asks the first.
        let conf = "nameserver 192.0.2.53\nnameserver 127.0.0.1\n";
        let expected = ("nameserver 192.0.2.53\n".to_owned(), Vec::new());
        assert_eq!(told(conf, "", BOTH), expected);
    }

    #[test]
    fn a_host_without_ipv4_has_its_stub_replaced() {
        let upstream = "nameserver 2001:db8::53\nsearch .\n";
        let (text, forwarded) = told("nameserver 127.0.0.53\n", upstream, ONLY_6);
        assert_eq!(text, "nameserver 2001:db8::53\n");
        assert!(forwarded.is_empty());
        let (text, forwarded) = told("nameserver ::1\n", "", ONLY_6);
        assert_eq!(text, format!("nameserver {FORWARD_6}\n"));
        assert_eq!(forwarded, [IpAddr::V6(FORWARD_6)]);
    }

    #[test]
    fn default_routes_are_found() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let zeros = "0".repeat(32);
        let gateway = "fd000000000000000000000000000001";
        let v6 = format!(
            "{zeros} 00 {zeros} 00 {gateway} 00000400 00000001 00000000 00000003     eth0\n"
        );
        let none =
            format!("{zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\n");
        assert_eq!(Routes::parse(v4, &v6), BOTH);
        assert_eq!(Routes::parse("", &v6), ONLY_6);
        let local: Vec<&str> = v4
            .lines()
            .filter(|line| !line.contains("010200C0"))
            .collect();
        assert_eq!(Routes::parse(&local.join("\n"), &none), Routes::default());
    }
}
