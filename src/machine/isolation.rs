//! What a container shares with the host, and how much of the host it may use.

use serde::{Deserialize, Serialize};

/// How a container is kept apart from the host and from other containers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Isolation {
    /// Its network.
    pub network: Network,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Network {
    /// The host's own.
    #[default]
    Host,
    /// Nothing but a loopback device of its own.
    None,
}
