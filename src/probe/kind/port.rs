//! A port is listened on, and by which unit.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use super::looking::Looking;
use crate::machine::Guest;
use crate::probe::UnitName;
use crate::probe::check::{ProbeError, Scene};
use crate::probe::listeners::{Listener, Transport, all_listeners};
use crate::probe::retry::Look;
use crate::probe::value::Scalar;

keys! {
    /// A process of the container listens on a port.
    pub struct PortCheck {
        /// The port: 80, tcp/80 or udp/53.
        pub port: PortNumber,
        /// Whether somebody has to listen there; true if nothing is said.
        pub listening: Option<bool>,
        /// The unit that has to listen: a service, or the socket that is there for it.
        pub unit: Option<UnitName>,
        /// The name of the process that has to listen.
        pub process: Option<String>,
        /// The address that has to be listened on, such as 127.0.0.1, 0.0.0.0 or ::.
        pub address: Option<IpAddr>,
        /// The version of IP that has to be listened on, 4 or 6; a socket for both is of 6.
        pub ip_version: Option<u8>,
    }
}

/// A port of TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortNumber {
    transport: Transport,
    number: u16,
}

impl PortNumber {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no port; write 80, tcp/80 or udp/53");
        let (transport, number) = match text.split_once('/') {
            None => (Transport::Tcp, text),
            Some(("tcp", number)) => (Transport::Tcp, number),
            Some(("udp", number)) => (Transport::Udp, number),
            Some(_) => return Err(wrong()),
        };
        match number.parse() {
            Ok(number @ 1..) => Ok(Self { transport, number }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.transport, self.number)
    }
}

impl<'de> Deserialize<'de> for PortNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(deserializer)?.0;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl Serialize for PortNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for PortNumber {
    fn schema_name() -> Cow<'static, str> {
        "PortNumber".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": "^((tcp|udp)/)?[0-9]{1,5}$" }
        ] })
    }
}

/// A listener, and the units that it is there for.
struct Held {
    listener: Listener,
    units: Vec<String>,
}

impl fmt::Display for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.listener)?;
        match self.units.first() {
            Some(unit) => write!(formatter, " of {unit}"),
            None => Ok(()),
        }
    }
}

impl PortCheck {
    /// Who listens on the port.
    async fn held(&self, guest: &Guest) -> Result<Vec<Held>, ProbeError> {
        let mut all = all_listeners(guest.leader());
        all.retain(|listener| {
            listener.transport == self.port.transport && listener.address.port() == self.port.number
        });
        let is_systemds = |listener: &Listener| listener.is_of_init;
        let sockets = if all.iter().any(is_systemds) {
            guest.socket_units().await?
        } else {
            Vec::new()
        };
        let port = format!(":{}", self.port.number);
        let kind = match self.port.transport {
            Transport::Tcp => "Stream",
            Transport::Udp => "Datagram",
        };
        Ok(all
            .into_iter()
            .map(|listener| {
                let units = if listener.is_of_init {
                    sockets
                        .iter()
                        .filter(|socket| {
                            let mut listens = socket.listens.iter();
                            listens.any(|(how, what)| how == kind && what.ends_with(&port))
                        })
                        .flat_map(|socket| {
                            std::iter::once(&socket.name)
                                .chain(&socket.triggers)
                                .cloned()
                        })
                        .collect()
                } else {
                    listener.unit.clone().into_iter().collect()
                };
                Held { listener, units }
            })
            .collect())
    }
}

#[async_trait]
impl Looking for PortCheck {
    fn target(&self) -> String {
        self.port.to_string()
    }

    fn validate(&self) -> Result<(), String> {
        match self.ip_version {
            None | Some(4 | 6) => Ok(()),
            Some(other) => Err(format!("ip-version: there is no version {other}")),
        }
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        let held = self.held(scene.guest).await?;
        let words: Vec<String> = held.iter().map(ToString::to_string).collect();
        let seen = if words.is_empty() {
            "nobody listens there".to_owned()
        } else {
            words.join(", ")
        };
        let is_wanted = |held: &&Held| {
            let listener = &held.listener;
            let unit = self.unit.as_ref();
            let process = self.process.as_ref();
            unit.is_none_or(|unit| held.units.iter().any(|name| name == unit.as_str()))
                && process.is_none_or(|process| *process == listener.process)
                && self
                    .address
                    .is_none_or(|address| address == listener.address.ip())
                && self
                    .ip_version
                    .is_none_or(|version| (version == 6) == listener.address.is_ipv6())
        };
        let is_held = held.iter().any(|held| is_wanted(&held));
        Ok(if is_held == self.listening.unwrap_or(true) {
            Look::Holds(seen)
        } else {
            Look::NotYet(seen)
        })
    }
}
