//! The connection to the container's bus, which may have to be made anew: a package may restart the
//! bus, and PID 1 with it, while it is installed or when its service runs.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::proxy::CacheProperties;

use super::{Guest, GuestError, asked, connect_bus};
use crate::machine::bus::ManagerProxy;
use crate::machine::rootfs::Rootfs;

/// How long the container's systemd may take to answer; D-Bus' own default is 25 s.
const CALL_PATIENCE: Duration = Duration::from_secs(25);

/// How many signals may wait to be looked at. A queue that is full holds up every answer.
const QUEUE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How long a bus that has gone may take to come back once nothing is done in the container that
/// could bring it back.
pub(super) const BACK_PATIENCE: Duration = Duration::from_secs(10);

/// How long one attempt to connect anew may take: a socket may be there, and nobody behind it.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The pause between such attempts. Nothing tells when a bus is back: what would is the bus.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// How many units may be pinned. For each, systemd has a match rule of its own on the bus, of which
/// dbus-daemon lets it have 512 (dbus-daemon(1)'s `max_match_rules_per_connection`); refused one more, systemd
/// leaves the bus for good.
const MOST_PINNED: usize = 400;

/// A connection, and the systemd at its other end.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) bus: Connection,
    pub(super) manager: ManagerProxy<'static>,
    pub(super) pinned: Pinned,
    /// How long systemd took to be on the bus, from when we were.
    pub(super) arrival: Duration,
}

impl Link {
    /// Connects to the system bus of the container whose root is `root`.
    pub(super) async fn open(root: &Rootfs) -> Result<Self, GuestError> {
        let stream = connect_bus(root).map_err(GuestError::NoBus)?;
        let bus = Builder::unix_stream(stream)
            // Who we are there, whatever that is here.
            .user_id(0)
            .method_timeout(CALL_PATIENCE)
            .max_queued(QUEUE)
            .build()
            .await
            .map_err(|error| GuestError::NoBus(io::Error::other(error)))?;
        // The one property that is asked for is asked for once: no need for all of them.
        let manager = ManagerProxy::builder(&bus).cache_properties(CacheProperties::No);
        let manager = asked("answer", manager.build().await)?;
        let on_bus = Instant::now();
        // The bus keeps the first question until there is somebody to answer it.
        asked("tell its changes", manager.subscribe().await)?;
        Ok(Self {
            bus,
            manager,
            pinned: Pinned::default(),
            arrival: on_bus.elapsed(),
        })
    }
}

/// The units that systemd keeps for a connection. It lets go of them when the connection ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Pinned(Arc<Mutex<HashSet<String>>>);

impl Pinned {
    /// Counts a unit; gives whether it is a new one.
    pub(super) fn add(&self, name: &str) -> Result<bool, GuestError> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) {
            return Ok(false);
        }
        if names.len() == MOST_PINNED {
            return Err(GuestError::ManyUnits(MOST_PINNED));
        }
        Ok(names.insert(name.to_owned()))
    }
}

impl Guest {
    /// The connection as it is now.
    pub(super) fn link(&self) -> Link {
        let link = self.link.lock();
        link.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection that is not known to be broken.
    pub(super) async fn live_link(&self) -> Result<Link, GuestError> {
        let link = self.link();
        if link.bus.is_closed() {
            return self.reconnect(|| false).await;
        }
        Ok(link)
    }

    /// Connects anew to a bus that has gone, as soon as it is back. It is given up some time after
    /// nothing is done any more that could bring it back.
    pub(super) async fn reconnect(&self, goes_on: impl Fn() -> bool) -> Result<Link, GuestError> {
        // One does it for all.
        let _turn = self.reconnecting.lock().await;
        let link = self.link();
        if !link.bus.is_closed() {
            return Ok(link);
        }
        tracing::debug!("the container's bus has gone");
        let mut given_up: Option<Instant> = None;
        loop {
            let error = match timeout(ATTEMPT, Link::open(&self.root)).await {
                Ok(Ok(link)) => {
                    let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
                    *current = link.clone();
                    return Ok(link);
                }
                Ok(Err(GuestError::NoBus(error))) => error,
                // It is there, and PID 1 is not on it yet.
                Ok(Err(error)) => io::Error::other(error),
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            if !goes_on() {
                let at = *given_up.get_or_insert_with(|| Instant::now() + BACK_PATIENCE);
                if at <= Instant::now() {
                    return Err(GuestError::BusGone(error));
                }
            }
            sleep(PAUSE).await;
        }
    }
}

impl Guest {
    /// Whether the container's systemd answers, within some seconds, who connects to it anew.
    pub async fn answers(&self) -> bool {
        matches!(
            timeout(BACK_PATIENCE, Link::open(&self.root)).await,
            Ok(Ok(_))
        )
    }
}

impl GuestError {
    /// Whether it says that the bus or systemd has not answered. They may do so again.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::BusGone(_) | Self::BusGoneMeanwhile { .. } | Self::NoBus(_) => true,
            Self::Bus { source, .. } => self.is_lost_connection() || is_io_error(source),
            _ => false,
        }
    }

    /// Whether it says that the connection has broken, or that nobody is at its other end.
    pub(crate) fn is_lost_connection(&self) -> bool {
        const GONE: [&str; 4] = [
            "org.freedesktop.DBus.Error.NoReply",
            "org.freedesktop.DBus.Error.Disconnected",
            "org.freedesktop.DBus.Error.ServiceUnknown",
            "org.freedesktop.DBus.Error.NameHasNoOwner",
        ];
        let Self::Bus { source, .. } = self else {
            return false;
        };
        match source {
            zbus::Error::InputOutput(error) => error.kind() != io::ErrorKind::TimedOut,
            zbus::Error::MethodError(name, ..) => GONE.contains(&name.as_str()),
            zbus::Error::FDO(error) => match &**error {
                zbus::fdo::Error::ZBus(zbus::Error::InputOutput(error)) => {
                    error.kind() != io::ErrorKind::TimedOut
                }
                error => {
                    use zbus::DBusError as _;
                    GONE.contains(&error.name().as_str())
                }
            },
            _ => false,
        }
    }
}

/// Whether the socket failed, or its other end took too long.
fn is_io_error(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::InputOutput(_) => true,
        zbus::Error::FDO(error) => {
            matches!(
                &**error,
                zbus::fdo::Error::ZBus(zbus::Error::InputOutput(_))
            )
        }
        _ => false,
    }
}
