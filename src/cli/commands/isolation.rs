//! What keeps a container apart, as commands that boot one take it.

use postroj::machine::{Disk, Isolation, Limits, Network, Users, typed};

use postroj::size;

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
    /// The memory of the container's processes and of what is written in memory, as 512M or 2G; who
    /// wants more is killed [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
    /// How many processors' time the container gets, as 2 or 0.5 [default: no limit]
    #[arg(long, value_name = "NUMBER", value_parser = typed::processor_time)]
    cpus: Option<u64>,
    /// How many processes and threads the container has at a time
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().pids)]
    pids: u64,
    /// How much the container may write: memory:SIZE keeps it in memory, disk:SIZE puts it on the
    /// disk, and SIZE does either, as it is up to half of the memory or more [default: half of the
    /// memory, in memory]
    #[arg(long, value_name = "SIZE", value_parser = disk)]
    disk: Option<Disk>,
}

/// A container's network, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NetworkName {
    /// One of its own that leads out through pasta
    Nat,
    /// The host's
    Host,
    /// A loopback device and nothing else
    None,
}

impl From<NetworkName> for Network {
    fn from(name: NetworkName) -> Self {
        match name {
            NetworkName::Nat => Self::Nat,
            NetworkName::Host => Self::Host,
            NetworkName::None => Self::None,
        }
    }
}

/// Whether a container has users of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PrivateUsers {
    Yes,
    No,
}

impl From<PrivateUsers> for Users {
    fn from(answer: PrivateUsers) -> Self {
        match answer {
            PrivateUsers::Yes => Self::Private,
            PrivateUsers::No => Self::Host,
        }
    }
}

impl Apart {
    /// What was typed → what was meant.
    pub(crate) fn isolation(&self, is_offline: bool) -> Isolation {
        Isolation {
            network: match self.network {
                _ if is_offline => Network::None,
                network => network.map_or(Network::Auto, Into::into),
            },
            users: self.private_users.map_or(Users::WherePossible, Into::into),
            limits: Limits {
                memory: self.memory,
                processor: self.cpus,
                pids: self.pids,
                disk: self.disk.unwrap_or_default(),
                ..Limits::default()
            },
        }
    }
}

/// `SIZE`, `memory:SIZE` or `disk:SIZE`.
pub(crate) fn disk(text: &str) -> Result<Disk, String> {
    Ok(match text.split_once(':') {
        None => Disk::Anywhere(size::parse(text)?),
        Some(("memory", size)) => Disk::Memory(size::parse(size)?),
        Some(("disk", size)) => Disk::Disk(size::parse(size)?),
        Some((place, _)) => return Err(format!("{place:?} is neither memory nor disk")),
    })
}
