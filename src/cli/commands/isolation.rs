//! What keeps a container apart, as commands that boot one take it.

use postroj::machine::{Isolation, Network, Users};

/// What keeps the container apart from the host.
#[derive(Debug, clap::Args)]
pub(crate) struct Apart {
    /// The container's network: nat is one of its own, from which pasta leads out and nothing leads
    /// in; host is the host's; none is a loopback device and nothing else, as with --offline
    /// [default: nat where pasta is installed, else host]
    #[arg(
        long,
        value_name = "NETWORK",
        env = "POSTROJ_NETWORK",
        hide_env = true,
        hide_possible_values = true
    )]
    network: Option<NetworkName>,
    /// Whether the container's users are others than the host's of the same numbers: root in it is
    /// nobody outside [default: yes, where the host can do it]
    #[arg(long, value_name = "yes|no", hide_possible_values = true)]
    private_users: Option<PrivateUsers>,
}

/// A container's network, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum NetworkName {
    /// One of its own that leads out through pasta
    Nat,
    /// The host's
    Host,
    /// A loopback device and nothing else
    None,
}

/// Whether a container has users of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PrivateUsers {
    Yes,
    No,
}

impl Apart {
    /// What was typed → what was meant.
    pub(crate) fn isolation(&self, is_offline: bool) -> Isolation {
        Isolation {
            network: match self.network {
                _ if is_offline => Network::None,
                None => Network::Auto,
                Some(NetworkName::Nat) => Network::Nat,
                Some(NetworkName::Host) => Network::Host,
                Some(NetworkName::None) => Network::None,
            },
            users: match self.private_users {
                None => Users::WherePossible,
                Some(PrivateUsers::Yes) => Users::Private,
                Some(PrivateUsers::No) => Users::Host,
            },
        }
    }
}
