//! Token buckets of keys.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota as Rate,
    clock::{Clock as _, DefaultClock},
};

use crate::{
    edge::{refusal::Refusal, tenants::Quota},
    telemetry::meters::{self, Refused},
};

/// A quota with its current level.
pub(crate) struct Bucket(DefaultDirectRateLimiter);

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(quota: Quota) -> Self {
        let rate = Rate::per_second(quota.per_second);
        Self(DefaultDirectRateLimiter::direct(match quota.burst {
            Some(burst) => rate.allow_burst(burst),
            None => rate,
        }))
    }

    /// Takes `count` tokens, or reports how long until there are enough.
    ///
    /// # Errors
    /// [`Refusal::OverQuota`] if the bucket can never hold `count`.
    pub(crate) fn try_take(&self, count: NonZeroU32) -> Result<Option<Duration>, Refusal> {
        match self.0.check_n(count) {
            Ok(Ok(())) => Ok(None),
            Ok(Err(not_until)) => Ok(Some(
                not_until.wait_time_from(DefaultClock::default().now()),
            )),
            Err(_) => Err(over_quota(None)),
        }
    }

    /// Takes `count` tokens now.
    ///
    /// # Errors
    /// [`Refusal::OverQuota`] if there are fewer.
    pub(crate) fn take(&self, count: NonZeroU32) -> Result<(), Refusal> {
        match self.try_take(count)? {
            None => Ok(()),
            wait => Err(over_quota(wait)),
        }
    }
}

/// Counts a call or batch over quota.
pub(crate) fn over_quota(wait: Option<Duration>) -> Refusal {
    meters::refused(Refused::Quota);
    Refusal::OverQuota { wait }
}
