//! Units of a container: their state, their changes, and starting them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use zbus::fdo::PropertiesProxy;
use zbus::message::Type;
use zbus::names::InterfaceName;
use zbus::{
    Connection, MatchRule, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant, Variant,
};

use super::command::job_result;
use super::link::Link;
use super::{Guest, GuestError, asked};
use crate::machine::bus::UnitProxy;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const UNIT: InterfaceName<'static> =
    InterfaceName::from_static_str_unchecked("org.freedesktop.systemd1.Unit");
const SERVICE: InterfaceName<'static> =
    InterfaceName::from_static_str_unchecked("org.freedesktop.systemd1.Service");

/// What of a service's properties [`UnitState`] has.
const SERVICE_PROPERTIES: [&str; 7] = [
    "Type",
    "Result",
    "MainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "NRestarts",
];

/// What systemd says of a unit; org.freedesktop.systemd1(5) has the words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error`, …
    pub load_state: String,
    /// Why it could not be loaded.
    pub load_error: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active_state: String,
    /// The state in the words of the unit's type: `running`, `exited`, `auto-restart`, `listening`, …
    pub sub_state: String,
    /// The file that says what the unit is; empty where there is none, as for one that is masked.
    pub fragment_path: String,
    /// Whether a job is queued for the unit.
    pub has_job: bool,
    /// `enabled`, `disabled`, `static`, …
    pub unit_file_state: String,
    /// What the distribution's presets say of the unit: `enabled`, `disabled`; systemd.preset(5).
    pub unit_file_preset: String,
    /// Whether a start was skipped, because a condition of the unit did not hold.
    pub is_skipped: bool,
    /// Identifies one run of the unit; empty when it has never run. systemd 232 and newer.
    pub invocation_id: Vec<u8>,
    /// When it last became active, in microseconds of `CLOCK_MONOTONIC`; 0 when it never was.
    pub active_enter: u64,
    /// When it last became inactive, in microseconds of `CLOCK_MONOTONIC`; 0 when it never was.
    pub inactive_enter: u64,
    /// A service's type: `simple`, `oneshot`, …; empty for a unit that is no service.
    pub service_type: String,
    /// A service's `Result`: `success`, `exit-code`, `signal`, `start-limit-hit`, …
    pub result: String,
    /// A service's main process in the container's numbering, or 0.
    pub main_pid: u32,
    /// How a service's main process ended: waitid(2)'s `si_code`, or 0.
    pub exec_main_code: i32,
    /// The exit code or the signal with which a service's main process ended.
    pub exec_main_status: i32,
    /// When a service's main process last started, in microseconds of `CLOCK_MONOTONIC`.
    pub exec_main_start: u64,
    /// How often systemd has restarted a service; systemd 235 and newer.
    pub restarts: u32,
}

impl UnitState {
    /// Whether the unit is up.
    pub fn is_active(&self) -> bool {
        matches!(
            self.active_state.as_str(),
            "active" | "reloading" | "refreshing"
        )
    }

    /// Whether the unit is started with the system, or by something that is.
    pub fn is_enabled(&self) -> bool {
        matches!(
            self.unit_file_state.as_str(),
            "enabled"
                | "enabled-runtime"
                | "static"
                | "alias"
                | "generated"
                | "indirect"
                | "linked"
        )
    }

    /// Whether the unit has run at all since the container was booted.
    pub fn has_run(&self) -> bool {
        self.active_enter > 0 || self.exec_main_start > 0
    }
}

impl std::fmt::Display for UnitState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.load_state != "loaded" {
            return write!(formatter, "{}", self.load_state);
        }
        write!(formatter, "{} ({})", self.active_state, self.sub_state)?;
        match (self.exec_main_code, self.result.as_str()) {
            (1, _) if self.exec_main_status != 0 => {
                write!(formatter, ", exit code {}", self.exec_main_status)?;
            }
            (2 | 3, _) => write!(formatter, ", signal {}", self.exec_main_status)?,
            (_, "" | "success") => {}
            (_, result) => write!(formatter, ", {result}")?,
        }
        if self.is_skipped && self.active_state == "inactive" {
            write!(formatter, ", a condition of it does not hold")?;
        }
        if self.restarts > 0 {
            write!(formatter, ", restarted {} times", self.restarts)?;
        }
        Ok(())
    }
}

/// A unit of a container.
pub struct Unit<'a> {
    name: String,
    properties: PropertiesProxy<'a>,
    changes: Changes,
    asking: Arc<Semaphore>,
}

/// The changes of a unit, as they come. They are taken off the connection at once, whether somebody
/// waits for them or not: signals that nobody takes hold up the answers behind them.
struct Changes {
    happened: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Changes {
    /// Follows those of the unit at `path`. The bus is asked once; a proxy, which looks who is at the other
    /// end, asks three times.
    async fn of(bus: &Connection, path: OwnedObjectPath) -> zbus::Result<Self> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .path(path)
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .build()?;
        let stream = MessageStream::for_match_rule(rule, bus, None).await?;
        Ok(Self::follow(stream))
    }

    fn follow(mut stream: MessageStream) -> Self {
        let happened = Arc::new(Notify::new());
        let tell = Arc::clone(&happened);
        let task = tokio::spawn(async move {
            while stream.next().await.is_some() {
                tell.notify_one();
            }
            // The connection has broken, which who waits will find when it looks.
            tell.notify_one();
        });
        Self { happened, task }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Unit<'_> {
    /// Its full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its state now.
    pub async fn state(&self) -> Result<UnitState, GuestError> {
        let _turn = self.asking.acquire().await;
        state(&self.name, &self.properties).await
    }

    /// Waits until systemd tells of a change; the state may be the same all the same.
    pub async fn changed(&self) {
        self.changes.happened.notified().await;
    }

    /// Whether [`Self::changed`] would not wait; after that, it would.
    pub fn take_change(&self) -> bool {
        self.changed().now_or_never().is_some()
    }
}

impl Guest {
    /// A unit by its full name, loaded if need be, watched from now on.
    pub async fn unit(&self, name: &str) -> Result<Unit<'_>, GuestError> {
        let link = self.live_link().await?;
        let (properties, unit) = self.load(&link, name).await?;
        self.watch(&link, name, properties, unit.inner().path())
            .await
    }

    /// As [`Self::unit`], and systemd does not forget how it ended as long as the container's bus is
    /// there: `Ref` in org.freedesktop.systemd1(5).
    pub async fn pinned_unit(&self, name: &str) -> Result<Unit<'_>, GuestError> {
        let link = self.live_link().await?;
        let (properties, unit) = self.load(&link, name).await?;
        let watch = self.watch(&link, name, properties, unit.inner().path());
        let (watched, pinned) = join(watch, self.pin(&link, name, &unit)).await;
        pinned?;
        watched
    }

    /// The state of a unit, loaded if need be, and pinned as by [`Self::pinned_unit`].
    pub async fn unit_state(&self, name: &str) -> Result<UnitState, GuestError> {
        let link = self.live_link().await?;
        let (properties, unit) = self.load(&link, name).await?;
        let state = async {
            let _turn = self.asking.acquire().await;
            state(name, &properties).await
        };
        let (state, pinned) = join(state, self.pin(&link, name, &unit)).await;
        pinned?;
        state
    }

    async fn watch(
        &self,
        link: &Link,
        name: &str,
        properties: PropertiesProxy<'static>,
        path: &ObjectPath<'_>,
    ) -> Result<Unit<'_>, GuestError> {
        let _turn = self.asking.acquire().await;
        let changes = Changes::of(&link.bus, path.to_owned().into()).await;
        Ok(Unit {
            name: name.to_owned(),
            properties,
            changes: asked(&format!("watch {name}"), changes)?,
            asking: Arc::clone(&self.asking),
        })
    }

    /// Keeps systemd from forgetting a unit that is down as soon as nobody refers to it, and with it how it
    /// ended. systemd before 236 has no such call, and a unit that is not there takes none.
    async fn pin(&self, link: &Link, name: &str, unit: &UnitProxy<'_>) -> Result<(), GuestError> {
        if link.pinned.add(name)? {
            let _turn = self.asking.acquire().await;
            let _ = unit.reference().await;
        }
        Ok(())
    }

    async fn load(
        &self,
        link: &Link,
        name: &str,
    ) -> Result<(PropertiesProxy<'static>, UnitProxy<'static>), GuestError> {
        let turn = self.asking.acquire().await;
        let path = asked(&format!("load {name}"), link.manager.load_unit(name).await)?;
        drop(turn);
        let action = format!("tell of {name}");
        let properties = PropertiesProxy::builder(&link.bus)
            .destination(SYSTEMD)
            .path(path.clone());
        let unit = UnitProxy::builder(&link.bus).path(path);
        Ok((
            asked(&action, properties.build().await)?,
            asked(&action, unit.build().await)?,
        ))
    }

    /// The units that systemd still has something of although their files are gone: name and active
    /// state.
    pub async fn units_without_file(&self) -> Result<Vec<(String, String)>, GuestError> {
        let manager = self.live_link().await?.manager;
        let listed = manager.list_units_by_patterns(&[], &[]).await;
        let listed = asked("list its units", listed)?;
        let lost = listed
            .into_iter()
            .filter(|unit| unit.2 == "not-found" && unit.3 != "inactive");
        Ok(lost.map(|unit| (unit.0, unit.3)).collect())
    }

    /// Enables a unit, if it can be, and reads the unit files anew.
    pub async fn enable_unit(&self, name: &str) -> Result<(), GuestError> {
        let manager = self.live_link().await?.manager;
        let enabled = manager.enable_unit_files(&[name], false, false).await;
        asked(&format!("enable {name}"), enabled)?;
        self.reload().await
    }

    /// Lets systemd forget that a unit has failed.
    pub async fn reset_failed(&self, name: &str) -> Result<(), GuestError> {
        let action = format!("forget the failure of {name}");
        let manager = self.live_link().await?.manager;
        asked(&action, manager.reset_failed_unit(name).await)
    }

    /// Starts a unit and waits for the job's end, at most `limit` long; gives the job's result,
    /// `done` when all is well, `timeout` when `limit` has passed.
    pub async fn start_unit(&self, name: &str, limit: Duration) -> Result<String, GuestError> {
        let manager = self.live_link().await?.manager;
        let mut jobs = asked("tell of jobs", manager.receive_job_removed().await)?;
        let started = manager.start_unit(name, "replace").await;
        let job: OwnedObjectPath = asked(&format!("start {name}"), started)?;
        let result = tokio::time::timeout(limit, job_result(&mut jobs, &job)).await;
        Ok(result.unwrap_or_else(|_| "timeout".to_owned()))
    }
}

/// What systemd says of a unit, all asked at once: it answers in turn.
async fn state(name: &str, properties: &PropertiesProxy<'_>) -> Result<UnitState, GuestError> {
    let get = async |interface| properties.get_all(interface).await.map_err(Into::into);
    let service = async {
        if is_service(name) {
            service_properties(properties).await
        } else {
            Ok(HashMap::new())
        }
    };
    let (unit, service) = join(get(UNIT), service).await;
    let action = format!("tell the state of {name}");
    Ok(state_from(
        &asked(&action, unit)?,
        &asked(&action, service)?,
    ))
}

/// Those of a service that count here. To tell all 400 of them, systemd reads the counters of its cgroup
/// and takes some milliseconds.
async fn service_properties(properties: &PropertiesProxy<'_>) -> zbus::Result<Properties> {
    let get = |name| async move { (name, properties.get(SERVICE, name).await) };
    let mut found = Properties::new();
    for (name, value) in join_all(SERVICE_PROPERTIES.map(get)).await {
        match value {
            Ok(value) => drop(found.insert(name.to_owned(), value)),
            // An older systemd does not have it.
            Err(zbus::fdo::Error::UnknownProperty(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn is_service(name: &str) -> bool {
    name.ends_with(".service")
}

type Properties = HashMap<String, OwnedVariant>;

fn state_from(unit: &Properties, service: &Properties) -> UnitState {
    UnitState {
        load_state: text(unit, "LoadState"),
        load_error: load_error(unit),
        active_state: text(unit, "ActiveState"),
        sub_state: text(unit, "SubState"),
        fragment_path: text(unit, "FragmentPath"),
        has_job: has_job(unit),
        unit_file_state: text(unit, "UnitFileState"),
        unit_file_preset: text(unit, "UnitFilePreset"),
        is_skipped: number(unit, "ConditionTimestampMonotonic") > 0
            && matches!(get(unit, "ConditionResult"), Some(Variant::Bool(false))),
        invocation_id: bytes(unit, "InvocationID"),
        active_enter: number(unit, "ActiveEnterTimestampMonotonic"),
        inactive_enter: number(unit, "InactiveEnterTimestampMonotonic"),
        service_type: text(service, "Type"),
        result: text(service, "Result"),
        main_pid: small(service, "MainPID"),
        exec_main_code: signed(service, "ExecMainCode"),
        exec_main_status: signed(service, "ExecMainStatus"),
        exec_main_start: number(service, "ExecMainStartTimestampMonotonic"),
        restarts: small(service, "NRestarts"),
    }
}

fn get<'a>(properties: &'a Properties, name: &str) -> Option<&'a Variant<'static>> {
    properties.get(name).map(|value| &**value)
}

fn text(properties: &Properties, name: &str) -> String {
    match get(properties, name) {
        Some(Variant::Str(text)) => text.to_string(),
        _ => String::new(),
    }
}

fn number(properties: &Properties, name: &str) -> u64 {
    match get(properties, name) {
        Some(Variant::U64(number)) => *number,
        _ => 0,
    }
}

fn small(properties: &Properties, name: &str) -> u32 {
    match get(properties, name) {
        Some(Variant::U32(number)) => *number,
        _ => 0,
    }
}

fn signed(properties: &Properties, name: &str) -> i32 {
    match get(properties, name) {
        Some(Variant::I32(number)) => *number,
        _ => 0,
    }
}

fn bytes(properties: &Properties, name: &str) -> Vec<u8> {
    match get(properties, name) {
        Some(Variant::Array(array)) => array
            .iter()
            .filter_map(|byte| match byte {
                Variant::U8(byte) => Some(*byte),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// `Job` is a pair: the job's number, which is 0 for none, and its path.
fn has_job(properties: &Properties) -> bool {
    match get(properties, "Job") {
        Some(Variant::Structure(pair)) => {
            matches!(pair.fields().first(), Some(Variant::U32(number)) if *number != 0)
        }
        _ => false,
    }
}

/// `LoadError` is a pair: the error's D-Bus name and its message.
fn load_error(properties: &Properties) -> String {
    match get(properties, "LoadError") {
        Some(Variant::Structure(pair)) => match pair.fields().get(1) {
            Some(Variant::Str(message)) => message.to_string(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}
