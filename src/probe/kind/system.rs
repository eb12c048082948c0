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
use crate::probe::value::{Many, Pattern, Scalar};

/// How long reading a file may take.
const LIMIT: Duration = Duration::from_secs(30);

const CAT: &str = "/bin/cat";

const GETENT: &str = "/usr/bin/getent";

keys! {
    /// A kernel parameter, as the container has it.
    pub struct KernelParamCheck {
        /// Its name, as sysctl(8) takes it: `net.ipv4.ip_forward`.
        pub name: String,
        /// Its value; several are written with a space between them.
        pub value: Option<Scalar>,
        /// The least number that it may be.
        pub min: Option<u64>,
        /// The greatest number that it may be.
        pub max: Option<u64>,
        /// Expressions that it has to match.
        #[serde(default)]
        pub matches: Many<Pattern>,
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
        if let (Some(least), Some(most)) = (self.min, self.max)
            && least > most
        {
            return Err(format!("no number is at least {least} and at most {most}"));
        }
        Ok(())
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        // What /proc/sys shows is of the namespaces of whoever reads it.
        if !scene.guest.has_file(CAT) {
            return Err(ProbeError::NoProgram("cat"));
        }
        let command = Command::new(CAT, ["--".to_owned(), self.path()]);
        let streams = scene.guest.run_apart(&command, LIMIT).await?;
        if !streams.status.success() {
            return Ok(Look::NotYet(quoted(&streams.stderr)));
        }
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = words(&streams.stdout);
        let mut wrong = Vec::new();
        if let Some(expected) = &self.value
            && words(&expected.0) != found
        {
            wrong.push(format!("it is {found:?}, not {:?}", expected.0));
        }
        if self.min.or(self.max).is_some() {
            match found.parse::<u64>() {
                Ok(number) => {
                    let is_small = self.min.is_some_and(|least| number < least);
                    let is_large = self.max.is_some_and(|most| number > most);
                    if is_small || is_large {
                        wrong.push(format!("it is {number}"));
                    }
                }
                Err(_) => wrong.push(format!("it is {found:?}, which is no whole number")),
            }
        }
        let text = streams.stdout.trim_end();
        let unmatched = self.matches.iter().filter(|pattern| !pattern.matches(text));
        wrong.extend(
            unmatched.map(|pattern| format!("it is {found:?}, which does not match {pattern}")),
        );
        Ok(Look::at(&[found], &wrong))
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
        /// Whether others may be found too; true if nothing is said.
        pub other_addresses: Option<bool>,
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
        if self.addresses.is_empty() && self.other_addresses.is_some() {
            return Err("other-addresses: than which, \"addresses\" has to say".to_owned());
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
        let has_others = found
            .iter()
            .any(|address| !self.addresses.contains(address));
        let is_good = found.is_empty() != self.resolves.unwrap_or(true)
            && has_all
            && !(has_others && self.other_addresses == Some(false));
        Ok(if is_good {
            Look::Holds(seen)
        } else {
            Look::NotYet(seen)
        })
    }
}
