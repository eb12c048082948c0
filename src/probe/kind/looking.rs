//! Checks that are a look at the container, made again until it is good.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::Keys;
use crate::probe::check::{Probe, ProbeError, Scene, patience};
use crate::probe::retry::{Beside, Look, until};
use crate::probe::{Outcome, Patience};

/// A kind that looks, and looks again until what it sees is good or its time is over.
#[async_trait]
pub(super) trait Looking: Keys + std::fmt::Debug + Send + Sync {
    /// What it looks at.
    fn target(&self) -> String;

    /// Says what in it contradicts itself.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// How long it is tried if its author does not say.
    fn patience(&self, of_kinds: Patience) -> Duration {
        of_kinds.check
    }

    /// One look, which may take until the deadline.
    async fn look(&self, scene: Scene<'_>, deadline: Instant) -> Result<Look, ProbeError>;
}

#[async_trait]
impl<T: Looking> Probe for T {
    fn target(&self) -> String {
        Looking::target(self)
    }

    fn validate(&self) -> Result<(), String> {
        Looking::validate(self)
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let patience = patience(self.timeout(), self.patience(scene.patience));
        let deadline = Instant::now() + patience;
        until(patience, Beside::Never, || self.look(scene, deadline)).await
    }
}
