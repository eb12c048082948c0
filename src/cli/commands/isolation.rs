//! What keeps a container apart, as commands that boot one take it.

use postroj::machine::{Isolation, Network, Users};

/// What keeps the container apart from the host.
#[derive(Debug, clap::Args)]
pub(crate) struct Apart {
    /// Whether the container's users are others than the host's of the same numbers: root in it is
    /// nobody outside [default: yes, where the host can do it]
    #[arg(long, value_name = "yes|no", hide_possible_values = true, hide = true)]
    private_users: Option<PrivateUsers>,
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
            network: if is_offline {
                Network::None
            } else {
                Network::Host
            },
            users: match self.private_users {
                None => Users::WherePossible,
                Some(PrivateUsers::Yes) => Users::Private,
                Some(PrivateUsers::No) => Users::Host,
            },
        }
    }
}
