//! How registries are reached: the options for it, and the files that are read without being named.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postroj::duration;
use postroj::image::credentials::AuthFiles;
use postroj::image::{Access, Certificates, Patience, Registries};

/// How registries are reached.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RegistryOptions {
    /// The credentials for registries, which `postroj login` and `podman login` write [default: those
    /// of podman, else those of docker]
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE", hide_env = true)]
    authfile: Option<PathBuf>,
    /// A directory with certificates for registries: authorities to trust (*.crt), and who we are
    /// (*.cert and *.key) [default: /etc/containers/certs.d/HOST:PORT, /etc/docker/certs.d/HOST:PORT]
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Insist on https and on valid certificates, or with --tls-verify=false do without [default: as
    /// registries.conf has it for the registry, else true]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    tls_verify: Option<bool>,
    /// How long a server may say nothing, or next to nothing, before it is asked again
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration::parse,
        env = "POSTROJ_STALL_TIMEOUT",
        hide = true
    )]
    stall_timeout: Option<Duration>,
}

impl RegistryOptions {
    /// What they mean, with these registries.
    pub(crate) fn access(&self, registries: Registries) -> Access {
        let credentials = match self.named() {
            Some(path) => AuthFiles {
                paths: vec![path],
                required: true,
            },
            None => AuthFiles {
                paths: auth_files(),
                required: false,
            },
        };
        let mut hosts = Vec::new();
        hosts.extend(config_home().map(|config| config.join("containers/certs.d")));
        hosts.extend(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from));
        Access {
            registries,
            credentials,
            certificates: Certificates {
                directory: self.cert_dir.clone(),
                hosts,
            },
            tls_verify: self.tls_verify,
            patience: self
                .stall_timeout
                .map_or_else(Patience::default, |stall| Patience { stall }),
        }
    }

    /// The file that `login` writes and `logout` clears.
    pub(crate) fn written(&self) -> PathBuf {
        self.named().unwrap_or_else(runtime_auth_file)
    }

    /// The file that the user has named.
    fn named(&self) -> Option<PathBuf> {
        self.authfile
            .clone()
            .or_else(|| env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from))
            .filter(|path| !path.as_os_str().is_empty())
    }
}

/// containers-auth.json(5), in its order, and what docker has.
fn auth_files() -> Vec<PathBuf> {
    let mut files = vec![runtime_auth_file()];
    files.extend(config_home().map(|config| config.join("containers/auth.json")));
    let docker = env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(home()?.join(".docker")));
    files.extend(docker.map(|docker| docker.join("config.json")));
    files
}

/// Where podman keeps credentials until the next boot.
fn runtime_auth_file() -> PathBuf {
    let named = env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let user = rustix::process::geteuid().as_raw().to_string();
    named
        .map_or_else(
            || Path::new("/run/containers").join(user),
            |path| Path::new(&path).join("containers"),
        )
        .join("auth.json")
}

fn config_home() -> Option<PathBuf> {
    let named = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    named
        .filter(|path| path.is_absolute())
        .or_else(|| Some(home()?.join(".config")))
}

fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| home.is_absolute())
}
