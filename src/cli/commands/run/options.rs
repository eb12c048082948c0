//! What is said of a container that runs one command, whoever waits for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postroj::image::Reference;
use postroj::machine::{
    Device, Disk, Isolation, Limits, Mount, Network, Port, Shape, System, Users, typed,
};
use postroj::run::Run as Planned;
use postroj::{duration, size};

use super::parse;
use crate::cli::commands::boot::BootProfile;
use crate::cli::commands::getting::{Getting, Pulling};
use crate::cli::commands::isolation::{NetworkName, PrivateUsers, disk};
use crate::cli::config::Settings;
use crate::cli::error::CommandError;

/// What `run` and `task create` take alike.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(in crate::cli::commands) struct Options {
    /// The image: a name of `postroj list-images`, a registry's NAME:TAG or `docker://NAME`, the URL or
    /// the path (with a /) of a root-filesystem tarball, or a directory
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The command, or the arguments of the image's entry point [default: the image's own]
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
    /// Let the command read what postroj reads from standard input; of a task, what `postroj task attach`
    /// reads
    #[arg(long, short)]
    pub(in crate::cli::commands) interactive: bool,
    /// Give the command a terminal of its own
    #[arg(long, short)]
    pub(in crate::cli::commands) tty: bool,
    /// Run an init in the container, as is done in any case
    #[arg(long)]
    init: bool,
    /// The container is to be postroj-NAME [default: a name made from the image's]
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    name: Option<String>,
    /// Set a variable in the command's environment; without a value, to the one that it has here
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = parse::variable)]
    env: Vec<String>,
    /// Set the variables that FILE has, one a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Show a file or directory of this host at a path of the container
    #[arg(long, short, value_name = "SOURCE:TARGET[:ro]", value_parser = |text: &str| typed::volume(Path::new(""), text))]
    volume: Vec<Mount>,
    /// Mount something: type=bind,source=PATH,target=PATH[,readonly] or type=tmpfs,target=PATH[,tmpfs-size=SIZE]
    #[arg(long, value_name = "OPTIONS", value_parser = parse::mount)]
    mount: Vec<Mount>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "TARGET[:OPTIONS]", value_parser = parse::tmpfs)]
    tmpfs: Vec<Mount>,
    /// Where the command starts [default: where the image says]
    #[arg(long, short, value_name = "PATH", value_parser = typed::directory)]
    workdir: Option<String>,
    /// As whom the command runs, by names of the image or numbers [default: as the image says]
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Run the command by this program, not by the image's entry point; by none if it is empty
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// The container's host name [default: its own name]
    #[arg(long, short = 'h', value_name = "NAME", value_parser = typed::hostname)]
    hostname: Option<String>,
    /// The container's network: nat is one of its own, from which pasta leads out; host is this host's;
    /// none is a loopback device and nothing else [default: nat where pasta is installed, else host]
    #[arg(long, value_name = "NETWORK", hide_possible_values = true)]
    network: Option<NetworkName>,
    /// Let a port of this host lead to one of the container's
    #[arg(long, short, value_name = "[ADDRESS:]HOST:CONTAINER[/udp]", value_parser = parse::port)]
    publish: Vec<Port>,
    /// Let the container know a name by itself
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = parse::host)]
    add_host: Vec<(String, IpAddr)>,
    /// Ask this nameserver [default: this host's]
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// The memory of the container's processes and of what they write in memory, as 512m or 2g; who
    /// wants more is killed [default: no limit]
    #[arg(long, short, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
    /// The memory and what of it may be moved to swap, together [default: as much as --memory]
    #[arg(long, value_name = "SIZE", value_parser = size::parse, requires = "memory")]
    memory_swap: Option<u64>,
    /// How many processors' time the container gets, as 2 or 0.5 [default: no limit]
    #[arg(long, value_name = "NUMBER", value_parser = typed::processor_time)]
    cpus: Option<u64>,
    /// The container's share of processors that others want as well; everybody has 1024
    #[arg(long, short, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(2..=262_144))]
    cpu_shares: Option<u64>,
    /// The processors that the command runs on, as 0-2,5
    #[arg(long, value_name = "LIST", value_parser = typed::processor_list)]
    cpuset_cpus: Option<String>,
    /// How many processes and threads the container has at a time; 0 or -1: as many as it likes
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().pids,
        value_parser = parse::pids, allow_hyphen_values = true)]
    pids_limit: u64,
    /// How much the container may write: memory:SIZE, disk:SIZE, or SIZE in either [default: half of
    /// the memory, in memory]
    #[arg(long, value_name = "SIZE", value_parser = disk)]
    disk: Option<Disk>,
    /// Give the container a capability of capabilities(7), or ALL
    #[arg(long, value_name = "NAME", value_parser = parse::capability)]
    cap_add: Vec<String>,
    /// Take a capability from the command, or ALL
    #[arg(long, value_name = "NAME", value_parser = parse::capability)]
    cap_drop: Vec<String>,
    /// Let the container do what root of this host may: every capability and system call, as the host's
    /// users
    #[arg(long)]
    privileged: bool,
    /// Whether the container's users are others than the host's of the same numbers [default: yes,
    /// where the host can do it]
    #[arg(long, value_name = "yes|no", hide_possible_values = true)]
    private_users: Option<PrivateUsers>,
    /// Let nothing be written to the container's root
    #[arg(long)]
    read_only: bool,
    /// Let the container use a device of this host
    #[arg(long, value_name = "SOURCE[:TARGET]", value_parser = parse::device)]
    device: Vec<Device>,
    /// Say something about the container, which `postroj machines --json` shows
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = parse::label)]
    label: Vec<(String, String)>,
    /// Boot the image's system first, and run the command as a service of it: trimmed, if nothing else is
    /// said, or full, with all that the image would start
    #[arg(
        long,
        value_name = "PROFILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "trimmed",
        hide_possible_values = true
    )]
    boot: Option<BootProfile>,
    /// How long the boot may take
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "60", requires = "boot")]
    boot_timeout: Duration,
    /// End the command when it has taken so long [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(in crate::cli::commands) timeout: Option<Duration>,
    /// How long the command may take to end after it was asked to, before it is killed
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10")]
    pub(in crate::cli::commands) stop_timeout: Duration,
    #[command(flatten)]
    pulling: Pulling,
    #[command(flatten)]
    pub(in crate::cli::commands) getting: Getting,
    /// Tell more; twice for debugging. The short form of other commands is --volume's here
    #[arg(long, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

impl Options {
    /// What was typed → what was meant.
    pub(in crate::cli::commands) fn plan(
        self,
        settings: &Settings,
    ) -> Result<Planned, CommandError> {
        // Read from where global options are; and every container has an init.
        let _ = (self.verbose, self.init, self.help);
        let mut env = Vec::new();
        for file in &self.env_file {
            env.extend(parse::env_file(file)?);
        }
        env.extend(self.env.into_iter().filter(|set| !set.is_empty()));
        let shape = Shape {
            hostname: self.hostname,
            mounts: [self.volume, self.mount, self.tmpfs].concat(),
            read_only: self.read_only,
            privileged: self.privileged,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            devices: self.device,
            hosts: self.add_host,
            nameservers: self.dns,
            ports: self.publish,
            labels: self.label.into_iter().collect::<BTreeMap<_, _>>(),
        };
        let users = self.private_users.map_or(Users::WherePossible, Into::into);
        if users == Users::Private && shape.needs_hosts_users() {
            return Err(CommandError::usage(
                "--private-users yes would take the effect from --privileged, --device or a capability of --cap-add",
            ));
        }
        if self
            .memory_swap
            .is_some_and(|both| Some(both) < self.memory)
        {
            return Err(CommandError::usage(
                "--memory-swap is memory and swap together: it cannot be less than --memory",
            ));
        }
        let policy = self.pulling.policy();
        let pull = self.getting.pull_options(policy, settings)?;
        Ok(Planned {
            image: Reference::load(&self.image).map_err(CommandError::usage)?,
            pull,
            command: self.command,
            entrypoint: self.entrypoint.map(|program| {
                let program = Some(program).filter(|program| !program.is_empty());
                program.into_iter().collect()
            }),
            env,
            working_dir: self.workdir,
            user: self.user,
            terminal: self.tty.then(postroj::machine::terminal_size),
            name: self.name,
            system: self.boot.map(|profile| System {
                profile: profile.into(),
                timeout: self.boot_timeout,
            }),
            isolation: Isolation {
                network: self.network.map_or(Network::Auto, Into::into),
                users,
                limits: Limits {
                    memory: self.memory,
                    memory_swap: self.memory_swap,
                    processor: self.cpus,
                    shares: self.cpu_shares,
                    processors: self.cpuset_cpus,
                    pids: self.pids_limit,
                    disk: self.disk.unwrap_or_default(),
                    ..Limits::default()
                },
            },
            shape,
        })
    }
}
