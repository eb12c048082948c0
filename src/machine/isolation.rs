//! What a container shares with the host, and how much of the host it may use.

use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// How a container is kept apart from the host and from other containers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Isolation {
    /// Its network.
    pub network: Network,
    /// Its users and groups.
    pub users: Users,
    /// How much of the host it may use.
    pub limits: Limits,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Network {
    /// [`Network::Nat`] where the host has what that needs, [`Network::Host`] elsewhere.
    #[default]
    Auto,
    /// One of its own, from which pasta leads out and nothing leads in.
    Nat,
    /// The host's own.
    Host,
    /// Nothing but a loopback device of its own.
    None,
}

/// The users and groups of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Users {
    /// Of its own where the host can do it and it costs no package anything, else the host's.
    #[default]
    WherePossible,
    /// Of its own, or there is no container.
    Private,
    /// The host's: root in it is root.
    Host,
}
