//! How long is waited: for a server that says nothing, and before it is asked again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How often something is asked for again, without any progress in between.
const RETRIES_MAX: u32 = 4;

/// The wait before the first of these; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest that a server may ask us to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Bytes a second, over [`Patience::stall`], that a server has to send: one that sends a byte now
/// and then has stalled too.
const RATE_MIN: u64 = 1024;

/// How long a server is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A server that says nothing for so long, or next to nothing, has stalled.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// How much has to come before a transfer counts as going on again: more than a server that is
    /// too slow sends until that is noticed.
    pub(super) fn progress(&self) -> u64 {
        RATE_MIN * self.stall.as_secs().max(1) * 2
    }
}

/// Tells a server that is too slow by what came in the time that was spent waiting for it.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            window: patience.stall,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Takes note of `bytes` that came after `waited`; tells whether that is fast enough.
    pub(super) fn keeps(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return true;
        }
        let least = u128::from(RATE_MIN) * self.waited.as_millis() / 1000;
        let fast = u128::from(self.bytes) >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        fast
    }
}

/// The waits before something is asked for again.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tried: u32,
}

impl Backoff {
    /// There was progress: what fails next is another failure.
    pub(super) fn reset(&mut self) {
        self.tried = 0;
    }

    /// Waits before another try; false if there is to be none. A server that says how long it wants
    /// to be left alone is left alone for so long, or given up.
    pub(super) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        if self.tried == RETRIES_MAX || asked.is_some_and(|asked| asked > RETRY_AFTER_MAX) {
            return false;
        }
        let longest = FIRST_WAIT * (1 << self.tried);
        self.tried += 1;
        let wait = jittered(longest).max(asked.unwrap_or_default());
        tokio::time::sleep(wait).await;
        true
    }
}

/// Between half of a time and all of it: many who were cut off at once do not come back at once.
fn jittered(longest: Duration) -> Duration {
    // The standard library seeds each of these with other random numbers.
    let random = RandomState::new().build_hasher().finish();
    let share = f64::from(u16::try_from(random & 0xffff).unwrap_or_default()) / 65536.0;
    longest.mul_f64(0.5 + share / 2.0)
}

/// How long a server wants to be left alone (RFC 9110, section 10.2.3): in seconds, or until a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    after(text, SystemTime::now())
}

fn after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_say_when_to_come_back() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(after("7", now), Some(Duration::from_secs(7)));
        let date = "Sun, 06 Nov 1994 08:49:40 GMT";
        assert_eq!(after(date, now), Some(Duration::from_secs(3)));
        let past = "Sun, 06 Nov 1994 08:49:30 GMT";
        assert_eq!(after(past, now), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn waits_differ_within_bounds() {
        let longest = Duration::from_secs(1);
        let waits: Vec<Duration> = (0..20).map(|_| jittered(longest)).collect();
        assert!(
            waits
                .iter()
                .all(|wait| *wait <= longest && *wait >= longest / 2)
        );
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }

    #[test]
    fn a_trickle_is_too_slow() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(Patience { stall: 3 * second });
        assert!(pace.keeps(second, 1) && pace.keeps(second, 1));
        assert!(!pace.keeps(second, 1));
        // It is only waiting that counts, and each window for itself.
        assert!(pace.keeps(second, 5000) && pace.keeps(second, 0) && pace.keeps(second, 0));
    }
}
