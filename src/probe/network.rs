//! Whether an address answers, seen from inside a container.
//!
//! A socket belongs to the network namespace of the thread that made it. So each check runs on a
//! thread of its own, which enters the container's namespace first. The image needs no client.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use url::{Host, Url};

use super::retry::{Beside, Look, until};
use super::{Outcome, ProbeError, listeners};
use crate::http;

/// After so long another attempt is made beside one that has not come to an end.
const HANGING: Duration = Duration::from_secs(1);

/// Why a URL to check is wrong.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It is no URL.
    #[error("network address {given:?}: {reason}; write tcp://HOST:PORT or http://HOST:PORT/PATH")]
    Malformed {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A connection is enough.
    Tcp,
    /// HTTP, with or without TLS.
    Http,
}

/// An address to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkTarget {
    protocol: Protocol,
    url: Url,
    port: u16,
}

impl NetworkTarget {
    /// Reads `tcp://host:port`, `http://host[:port]/path` or `https://…`.
    pub fn parse(given: &str) -> Result<Self, NetworkError> {
        let malformed = |reason: &str| NetworkError::Malformed {
            given: given.to_owned(),
            reason: reason.to_owned(),
        };
        let url = Url::parse(given).map_err(|error| malformed(&error.to_string()))?;
        let protocol = match url.scheme() {
            "tcp" => Protocol::Tcp,
            "http" | "https" => Protocol::Http,
            scheme => return Err(malformed(&format!("{scheme} is not supported"))),
        };
        if url.host_str().is_none_or(str::is_empty) {
            return Err(malformed("it has no host"));
        }
        let port = url
            .port_or_known_default()
            .filter(|port| *port != 0)
            .ok_or_else(|| malformed("it has no port"))?;
        if protocol == Protocol::Tcp && !matches!(url.path(), "" | "/") {
            return Err(malformed("a TCP address has no path"));
        }
        Ok(Self {
            protocol,
            url,
            port,
        })
    }

    /// What is spoken there.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The address as a URL.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// What is seen of a name that is not looked up begins so; what an address says begins with the address.
const UNRESOLVED: &str = "cannot resolve";

/// What `gai_strerror(3)` has for `EAI_AGAIN`: that no nameserver has answered says nothing of the name.
const NO_ANSWER: &str = "Temporary failure in name resolution";

/// Whether a name was not looked up because no nameserver has answered. A server may say the same of its own.
fn is_unanswered(observation: &str) -> bool {
    observation.starts_with(UNRESOLVED) && observation.contains(NO_ANSWER)
}

/// What is said to an address that has been found, and made of its answer.
#[async_trait::async_trait]
pub(super) trait Talk: std::fmt::Debug + Send + Sync {
    /// Makes one attempt: what was seen if it went well, what was wrong otherwise.
    async fn talk(&self, target: &NetworkTarget, address: SocketAddr) -> Result<String, String>;
}

/// A connection is enough.
#[derive(Debug)]
pub(super) struct Connect;

#[async_trait::async_trait]
impl Talk for Connect {
    async fn talk(&self, _: &NetworkTarget, address: SocketAddr) -> Result<String, String> {
        match TcpStream::connect(address).await {
            Ok(_) => Ok(format!("{address} accepts connections")),
            Err(error) => Err(words(&error)),
        }
    }
}

impl std::fmt::Display for NetworkTarget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&http::shown(&self.url))
    }
}

/// Checks addresses from inside the network namespace of a container.
#[derive(Debug, Clone, Copy)]
pub struct Prober {
    leader: i32,
    patience: Duration,
}

impl Prober {
    /// A prober for the container whose init is the process `leader`, in the host's numbering. Its
    /// checks take at most `patience` each.
    pub fn new(leader: i32, patience: Duration) -> Self {
        Self { leader, patience }
    }

    /// Tries an address until it answers or the patience has run out. An error means that the
    /// namespace could not be entered, or that this host has no nameserver that works.
    pub(super) async fn check(
        &self,
        target: &NetworkTarget,
        talk: Arc<dyn Talk>,
    ) -> Result<Outcome, ProbeError> {
        let path = |pid: &str| format!("/proc/{pid}/ns/net");
        let of_container = path(&self.leader.to_string());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::open(&of_container, flags, Mode::empty());
        let namespace = namespace.map_err(std::io::Error::from)?;
        let is_shared = std::fs::read_link(&of_container)? == std::fs::read_link(path("self"))?;
        let check = Check {
            target: target.clone(),
            talk,
            owner: is_shared.then_some(self.leader),
            host: Handle::current(),
        };
        let patience = self.patience;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || {
                let checked = enter(&namespace).map(|runtime| {
                    let outcome = runtime.block_on(until_it_answers(&check, patience));
                    // A name may still be looked up, and would be waited for.
                    runtime.shutdown_background();
                    outcome
                });
                // Nobody waits any more: the run was cancelled.
                let _ = sender.send(checked);
            })?;
        let outcome = receiver.await.map_err(std::io::Error::other)??;
        if !outcome.passed && is_unanswered(&outcome.observation) {
            return Err(ProbeError::Resolver(outcome.observation));
        }
        Ok(outcome)
    }
}

/// A check on its way.
#[derive(Debug, Clone)]
struct Check {
    target: NetworkTarget,
    talk: Arc<dyn Talk>,
    /// The container's init, if the container shares the host's network: then what answers on
    /// `localhost` may be the host.
    owner: Option<i32>,
    /// Whose threads are in the host's network. They look names up: the nameservers that this
    /// process knows may be out of the container's reach.
    host: Handle,
}

/// Moves this thread into a namespace, and makes a runtime whose sockets and threads are there.
fn enter(namespace: &OwnedFd) -> std::io::Result<tokio::runtime::Runtime> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Makes attempts until one goes well. One that hangs is given until the end, and has others beside
/// it.
async fn until_it_answers(check: &Check, patience: Duration) -> Outcome {
    let made = until(patience, Beside::After(HANGING), || async {
        Ok::<_, Infallible>(match attempt(check).await {
            Ok(observation) => Look::Holds(observation),
            Err(observation) => Look::NotYet(observation),
        })
    });
    made.await.unwrap_or_else(|never| match never {})
}

/// Tries every address of the target's host at once; the first that answers well counts.
async fn attempt(check: &Check) -> Result<String, String> {
    let addresses = resolve(&check.target, &check.host).await?;
    let mut attempts: FuturesUnordered<_> = addresses
        .into_iter()
        .map(|address| async move {
            let spoken = check.talk.talk(&check.target, address).await;
            if spoken.is_ok() && !check.is_containers(address) {
                return Err(format!(
                    "{address}: answered by a process of the host, not of the container"
                ));
            }
            spoken.map_err(|error| format!("{address}: {error}"))
        })
        .collect();
    let mut errors = Vec::new();
    while let Some(result) = attempts.next().await {
        match result {
            Ok(observation) => return Ok(observation),
            Err(error) => errors.push(error),
        }
    }
    errors.sort();
    Err(errors.join(", "))
}

impl Check {
    /// Whether what answers at an address of this host is in the container.
    fn is_containers(&self, address: SocketAddr) -> bool {
        let Some(leader) = self.owner.filter(|_| address.ip().is_loopback()) else {
            return true;
        };
        listeners(leader)
            .iter()
            .any(|listener| listener.address.port() == address.port())
    }
}

async fn resolve(target: &NetworkTarget, host: &Handle) -> Result<Vec<SocketAddr>, String> {
    let at = |address: IpAddr| SocketAddr::new(address, target.port);
    match target.url.host() {
        Some(Host::Ipv4(address)) => Ok(vec![at(address.into())]),
        Some(Host::Ipv6(address)) => Ok(vec![at(address.into())]),
        Some(Host::Domain(name)) => match name.parse::<IpAddr>() {
            Ok(address) => Ok(vec![at(address)]),
            // RFC 6761: both loopback addresses, whatever a hosts file says.
            Err(_) if name.trim_end_matches('.').eq_ignore_ascii_case("localhost") => Ok(vec![
                at(Ipv6Addr::LOCALHOST.into()),
                at(Ipv4Addr::LOCALHOST.into()),
            ]),
            Err(_) => {
                let (wanted, port) = (name.to_owned(), target.port);
                let look = async move {
                    let found = tokio::net::lookup_host((wanted, port)).await?;
                    Ok::<Vec<_>, std::io::Error>(found.collect())
                };
                let found = host.spawn(look).await.map_err(std::io::Error::other);
                let found = found
                    .flatten()
                    .map_err(|error| format!("{UNRESOLVED} {name}: {error}"))?;
                if found.is_empty() {
                    return Err(format!("{UNRESOLVED} {name}"));
                }
                Ok(found)
            }
        },
        None => Err("no host".to_owned()),
    }
}

/// A failure to connect in the fewest words.
pub(super) fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::TimedOut => "timed out".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let target = |given| NetworkTarget::parse(given).unwrap();
        assert_eq!(target("tcp://localhost:6379").port, 6379);
        assert_eq!(target("http://localhost").port, 80);
        assert_eq!(target("https://[::1]/x?y").port, 443);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for given in [
            "localhost:80",
            "tcp://localhost",
            "udp://a:1",
            "tcp://:80",
            "tcp://a:1/x",
            "http://",
            "tcp://a:0",
            "tcp://a:99999",
            "",
        ] {
            assert!(NetworkTarget::parse(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn what_a_server_says_is_no_word_of_our_nameservers() {
        let lookup = format!("failed to lookup address information: {NO_ANSWER}");
        let unresolved = format!("{UNRESOLVED} a.example: {lookup} (tried for 2 s)");
        assert!(is_unanswered(&unresolved));
        let said = format!("127.0.0.1:80: status 500, not 200; it said {lookup:?}");
        assert!(!is_unanswered(&said));
        assert!(!is_unanswered(
            "cannot resolve a.example: Name or service not known"
        ));
    }

    #[tokio::test]
    async fn localhost_is_both_loopback_addresses() {
        let target = NetworkTarget::parse("http://localhost:81").unwrap();
        let found = resolve(&target, &Handle::current()).await.unwrap();
        assert_eq!(
            found,
            ["[::1]:81".parse().unwrap(), "127.0.0.1:81".parse().unwrap()]
        );
    }
}
