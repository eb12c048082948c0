//! Where the time goes: the points of a container's life that its supervisor and postroj agree on.
//!
//! Both read the clock of the host that goes on by itself since it was started, `CLOCK_MONOTONIC`
//! of `clock_gettime(2)`, which is the same for all processes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize, Serializer};

/// A point in time that means the same to every process of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Moment(Duration);

impl Moment {
    /// This moment.
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self(now.try_into().unwrap_or_default())
    }

    /// How long it comes after another; nothing, if it does not.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How a boot went, as the supervisor has seen it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Booted {
    /// How long the root took to be put together.
    pub(super) compose: Duration,
    /// When systemd-nspawn was started.
    pub(super) started: Moment,
    /// When it had the container's init run.
    pub(super) led: Moment,
    /// When that said that the boot was over.
    pub(super) ready: Moment,
}

/// How a container ended, as the supervisor has seen it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Ended {
    /// When it was killed, or was found to have ended.
    pub(super) killed: Moment,
    /// When its init was gone.
    pub(super) dead: Moment,
    /// When systemd-nspawn was.
    pub(super) exited: Moment,
    /// How long the kernel took, after that, to let go of what it watched.
    #[serde(default)]
    pub(super) release: Duration,
}

impl Ended {
    /// That of a container that is found to have ended by itself.
    pub(super) fn now() -> Self {
        let now = Moment::now();
        Self {
            killed: now,
            dead: now,
            exited: now,
            release: Duration::ZERO,
        }
    }
}

/// The parts of a boot, one after the other, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BootSteps {
    /// Until systemd-nspawn is started: its supervisor, the root, cgroups.
    #[serde(serialize_with = "seconds")]
    pub prepare: Duration,
    /// Of that, putting the image's root together.
    #[serde(skip)]
    pub compose: Duration,
    /// Until systemd-nspawn has the container's init run.
    #[serde(serialize_with = "seconds")]
    pub nspawn: Duration,
    /// Until that says that the boot is over.
    #[serde(serialize_with = "seconds")]
    pub guest: Duration,
    /// Until postroj is connected to it, and the container to the network.
    #[serde(serialize_with = "seconds")]
    pub connect: Duration,
    /// Until its systemd, which has said that, is on its own bus.
    #[serde(serialize_with = "seconds")]
    pub bus: Duration,
}

impl BootSteps {
    /// The parts of a boot that began and ended at these moments, in which systemd took so long to be on the
    /// bus.
    pub(super) fn new(began: Moment, booted: Booted, bus: Duration, ended: Moment) -> Self {
        Self {
            prepare: booted.started.since(began),
            compose: booted.compose,
            nspawn: booted.led.since(booted.started),
            guest: booted.ready.since(booted.led),
            connect: ended.since(booted.ready).saturating_sub(bus),
            bus,
        }
    }
}

/// The parts of a container's end, one after the other, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EndSteps {
    /// Until the container is killed.
    #[serde(serialize_with = "seconds")]
    pub kill: Duration,
    /// Until its processes are gone, init last.
    #[serde(serialize_with = "seconds")]
    pub die: Duration,
    /// Until systemd-nspawn has ended.
    #[serde(serialize_with = "seconds")]
    pub exit: Duration,
    /// Until the kernel has let go of what they watched.
    #[serde(serialize_with = "seconds")]
    pub release: Duration,
    /// Until nothing is left: cgroups, mounts, the supervisor.
    #[serde(serialize_with = "seconds")]
    pub clean: Duration,
}

impl EndSteps {
    /// The parts of an end that was asked for and over at these moments.
    pub(super) fn new(asked: Moment, ended: Ended, over: Moment) -> Self {
        Self {
            kill: ended.killed.since(asked),
            die: ended.dead.since(ended.killed),
            exit: ended.exited.since(ended.dead),
            release: ended.release,
            clean: over.since(ended.exited).saturating_sub(ended.release),
        }
    }
}

/// Some of these take no millisecond.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment(Duration::from_millis(milliseconds))
    }

    #[test]
    fn the_parts_add_up_to_the_whole() {
        let booted = Booted {
            compose: Duration::from_millis(3),
            started: at(108),
            led: at(130),
            ready: at(330),
        };
        let bus = Duration::from_millis(3);
        let boot = BootSteps::new(at(100), booted, bus, at(334));
        let sum = boot.prepare + boot.nspawn + boot.guest + boot.connect + boot.bus;
        assert_eq!(sum, Duration::from_millis(234));
        let ended = Ended {
            killed: at(401),
            dead: at(420),
            exited: at(430),
            release: Duration::from_millis(5),
        };
        let end = EndSteps::new(at(400), ended, at(437));
        let sum = end.kill + end.die + end.exit + end.release + end.clean;
        assert_eq!(sum, Duration::from_millis(37));
    }

    #[test]
    fn the_clock_goes_on() {
        let earlier = Moment::now();
        assert!(Moment::now() >= earlier);
        assert_eq!(earlier.since(Moment::now()), Duration::ZERO);
    }
}
