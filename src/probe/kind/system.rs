//! What only the container itself can tell: kernel parameters of its namespaces, and names that its
//! resolver knows.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::looking::Looking;
use super::texts::quoted;
use crate::machine::{Command, ExitStatus, GuestError};
use crate::probe::Patience;
use crate::probe::check::{ProbeError, Scene};
use crate::probe::retry::Look;
use crate::probe::value::{Many, Scalar};

/// How long reading a file may take.
const LIMIT: Duration = Duration::from_secs(30);

const GETENT: &str = "/usr/bin/getent";

keys! {
    /// A kernel parameter, as the container has it.
    pub struct KernelParamCheck {
        /// Its name, as sysctl(8) takes it: `net.ipv4.ip_forward`.
        pub name: String,
        /// Its value; several are written with a space between them.
        pub value: Option<Scalar>,
    }
}

impl KernelParamCheck {
    /// Where it is; a name with slashes may have dots in its parts.
    fn path(&self) -> String {
        let name = if self.name.contains('/') {
            self.name.clone()
        } else {
            self.name.replace('.', "/")
        };
        format!("/proc/sys/{name}")
    }
}

#[async_trait]
impl Looking for KernelParamCheck {
    fn target(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        let parts: Vec<&str> = self.name.split(['.', '/']).collect();
        if self.name.contains("..") || parts.iter().any(|part| part.is_empty()) {
            return Err(format!("{:?} is no kernel parameter", self.name));
        }
        Ok(())
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        // What /proc/sys shows is of the namespaces of whoever reads it.
        let command = Command::new("/bin/cat", ["--".to_owned(), self.path()]);
        let streams = scene.guest.run_apart(&command, LIMIT).await?;
        if !streams.status.success() {
            return Ok(Look::NotYet(quoted(&streams.stderr)));
        }
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = words(&streams.stdout);
        Ok(match &self.value {
            Some(expected) if words(&expected.0) != found => {
                Look::NotYet(format!("it is {found:?}, not {:?}", expected.0))
            }
            _ => Look::Holds(found),
        })
    }
}

keys! {
    /// A name resolves in the container, with its own resolver.
    pub struct DnsCheck {
        /// The name.
        pub name: String,
        /// Whether it has to resolve; true if nothing is said.
        pub resolves: Option<bool>,
        /// Addresses that have to be among those found.
        #[serde(default)]
        pub addresses: Many<IpAddr>,
    }
}

#[async_trait]
impl Looking for DnsCheck {
    fn target(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        if self.resolves == Some(false) && !self.addresses.is_empty() {
            return Err("a name that must not resolve has no addresses".to_owned());
        }
        if self.name.is_empty() || self.name.contains(char::is_whitespace) {
            return Err(format!("{:?} is no name", self.name));
        }
        Ok(())
    }

    fn patience(&self, of_kinds: Patience) -> Duration {
        of_kinds.network
    }

    async fn look(&self, scene: Scene<'_>, deadline: Instant) -> Result<Look, ProbeError> {
        if !scene.guest.has_file(GETENT) {
            return Err(ProbeError::NoProgram("getent"));
        }
        let command = Command::new(GETENT, ["ahosts", "--", &self.name]);
        let left = deadline.saturating_duration_since(Instant::now());
        let streams = match scene.guest.run_apart(&command, left).await {
            Ok(streams) => streams,
            Err(GuestError::Timeout { .. }) => {
                return Ok(Look::Cut("no answer in time".to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        // getent(1): 2 is a name that was not found.
        if !matches!(streams.status, ExitStatus::Code(0 | 2)) {
            return Err(ProbeError::Program {
                program: "getent".to_owned(),
                reason: format!("{}, {}", streams.status, quoted(&streams.stderr)),
            });
        }
        let found: BTreeSet<IpAddr> = streams
            .stdout
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        let seen = if words.is_empty() {
            "it does not resolve".to_owned()
        } else {
            words.join(", ")
        };
        let has_all = self.addresses.iter().all(|address| found.contains(address));
        let is_good = found.is_empty() != self.resolves.unwrap_or(true) && has_all;
        Ok(if is_good {
            Look::Holds(seen)
        } else {
            Look::NotYet(seen)
        })
    }
}
