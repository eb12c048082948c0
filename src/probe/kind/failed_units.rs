//! No unit of the whole system has failed.

use async_trait::async_trait;

use crate::probe::check::{Probe, ProbeError, Scene};
use crate::probe::{Many, Outcome, UnitName};

keys! {
    /// No unit of the whole system has failed; looked at when all other checks have been made.
    pub struct FailedUnitsCheck {
        /// Units that may fail.
        #[serde(default)]
        pub except: Many<UnitName>,
        /// Whether those count that had failed before the installation; false if nothing is said.
        pub old: Option<bool>,
    }
}

#[async_trait]
impl Probe for FailedUnitsCheck {
    fn target(&self) -> String {
        "the system".to_owned()
    }

    fn is_last(&self) -> bool {
        true
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let mut failed = scene.guest.failed_units().await?;
        let all = failed.len();
        failed.retain(|name| {
            let is_old = self.old != Some(true) && scene.before.failed_units().contains(name);
            !is_old && !self.except.iter().any(|except| except.as_str() == name)
        });
        // One that has failed stays so: there is nothing to wait for.
        Ok(match (failed.as_slice(), all) {
            ([], 0) => Outcome::passed("no unit has failed"),
            ([], _) => Outcome::passed("no other unit has failed"),
            (failed, _) => Outcome::failed(format!("failed: {}", failed.join(", "))),
        })
    }
}
