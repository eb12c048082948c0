//! A network for postroj to run in: two network namespaces with a cable between them. One is the
//! host's; in the other, next door, are a web server and a nameserver.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::tool;

/// The web server's addresses, next door.
pub(crate) const SERVER_4: &str = "198.51.100.1";
pub(crate) const SERVER_6: &str = "2001:db8:64::1";

/// Which versions of IP the host has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

/// The two namespaces; gone when dropped.
pub(crate) struct Net {
    host: String,
    door: String,
}

impl Net {
    pub(crate) fn new(versions: Versions) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", std::process::id());
        let net = Self {
            host: format!("postroj-tests-host-{id}"),
            door: format!("postroj-tests-door-{id}"),
        };
        for namespace in [&net.host, &net.door] {
            tool("ip", &["netns", "add", namespace]);
            tool("ip", &["-n", namespace, "link", "set", "lo", "up"]);
        }
        let (host, door) = (net.host.as_str(), net.door.as_str());
        tool(
            "ip",
            &[
                "-n", host, "link", "add", "uplink", "type", "veth", "peer", "name", "uplink",
                "netns", door,
            ],
        );
        for (namespace, v4, v6) in [
            (host, "198.51.100.2/24", "2001:db8:64::2/64"),
            (door, "198.51.100.1/24", "2001:db8:64::1/64"),
        ] {
            let ip = |arguments: &[&str]| {
                tool("ip", &[&["-n", namespace], arguments].concat());
            };
            if versions.v4 {
                ip(&["address", "add", v4, "dev", "uplink"]);
            }
            if versions.v6 {
                ip(&["address", "add", v6, "dev", "uplink", "nodad"]);
            }
            ip(&["link", "set", "uplink", "up"]);
        }
        if versions.v4 {
            tool(
                "ip",
                &["-n", host, "route", "add", "default", "via", SERVER_4],
            );
        }
        if versions.v6 {
            tool(
                "ip",
                &["-n", host, "-6", "route", "add", "default", "via", SERVER_6],
            );
        }
        net
    }

    /// What runs a command on the host with `resolv_conf` for its `/etc/resolv.conf`.
    pub(crate) fn wrapper(&self, scratch: &Path, resolv_conf: &str) -> Vec<String> {
        let file = scratch.join("resolv.conf");
        std::fs::write(&file, resolv_conf).expect("write resolv.conf");
        let file = file.to_str().expect("UTF-8");
        let namespace = format!("--net=/run/netns/{}", self.host);
        let script = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
        [
            "nsenter", &namespace, "unshare", "--mount", "sh", "-c", script, file,
        ]
        .map(str::to_owned)
        .into()
    }

    /// Makes something in the host's namespace.
    pub(crate) fn on_host<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        inside(&self.host, make)
    }

    /// A web server next door, on port 80 of every address: it answers all with status 200.
    pub(crate) fn serve_web(&self) {
        serve_web(inside(&self.door, || {
            TcpListener::bind("[::]:80").expect("bind port 80 next door")
        }));
    }

    /// A nameserver at an address of the host.
    pub(crate) fn serve_names_on_host(&self, address: &str) {
        serve_names(inside(&self.host, || bind_53(address)));
    }

    /// A nameserver at an address next door.
    pub(crate) fn serve_names(&self, address: &str) {
        serve_names(inside(&self.door, || bind_53(address)));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in [&self.host, &self.door] {
            let mut command = std::process::Command::new("ip");
            command.args(["netns", "delete", namespace]).status().ok();
        }
    }
}

/// Runs `make` on a thread that has entered the namespace: what it opens stays there.
fn inside<T: Send>(namespace: &str, make: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(Path::new("/run/netns").join(namespace)).expect("the namespace");
    thread::scope(|threads| {
        let entered = threads.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("enter the namespace");
            make()
        });
        entered
            .join()
            .expect("the thread that entered the namespace")
    })
}

/// Answers whatever comes with status 200, on a thread of its own, until the tests end.
pub(crate) fn serve_web(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let mut request = [0; 4096];
                // One packet holds a request of these tests.
                let _length = stream.read(&mut request).unwrap_or(0);
                stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhere",
                    )
                    .ok();
            });
        }
    });
}

fn bind_53(address: &str) -> UdpSocket {
    let address: IpAddr = address.parse().expect("an address");
    UdpSocket::bind(SocketAddr::new(address, 53)).expect("bind port 53")
}

/// Answers each question for an address of `service.example` with the web server's, on a thread of
/// its own, until the tests end; RFC 1035.
fn serve_names(socket: UdpSocket) {
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            socket.send_to(&answer(&packet[..length]), from).ok();
        }
    });
}

fn answer(query: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"\x07service\x07example\0";
    let question = &query[12..];
    let end = question.iter().position(|byte| *byte == 0).expect("a name") + 1;
    let kind = question[end + 1];
    let data: Option<Vec<u8>> = match kind {
        _ if question[..end] != *NAME => None,
        1 => Some(octets(SERVER_4)),
        28 => Some(octets(SERVER_6)),
        _ => Some(Vec::new()),
    };
    let (code, data) = match data {
        // There is no such name.
        None => (3, Vec::new()),
        Some(data) => (0, data),
    };
    let mut answer = query[..2].to_vec();
    answer.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::from(!data.is_empty()),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(&question[..end + 4]);
    if !data.is_empty() {
        let length = u8::try_from(data.len()).expect("short");
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, length]);
        answer.extend(data);
    }
    answer
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().expect("an address") {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}
