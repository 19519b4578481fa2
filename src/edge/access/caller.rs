//! The caller of a request.

use std::{num::NonZeroU32, sync::Arc};

use http::Extensions;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::ids::TenantId,
    edge::{
        access::{
            directory::Key,
            quota::{Bucket, over_quota},
        },
        refusal::Refusal,
    },
    engine::Engine,
    ports::Deadline,
};

/// Who calls: an extension of every request that was let in.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The engine of the caller's tenant.
    pub(crate) engine: Engine,
    /// Cancelled when keys were reloaded: a long call must be authorized again.
    pub(crate) replaced: CancellationToken,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) key: Option<Arc<Key>>,
}

impl Caller {
    /// The caller of a request with these extensions.
    ///
    /// # Errors
    /// [`Refusal::Internal`] if the request has none: it did not pass the edge.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Refusal> {
        extensions.get::<Self>().cloned().ok_or(Refusal::Internal)
    }

    /// Takes events from the caller's quota now.
    ///
    /// # Errors
    /// [`Refusal::OverQuota`].
    pub(crate) fn take_events(&self, events: usize) -> Result<(), Refusal> {
        match self.event_quota(events) {
            Some((bucket, count)) => bucket.take(count),
            None => Ok(()),
        }
    }

    /// Takes events from the caller's quota as soon as it allows them. If that is
    /// after `deadline`, waits until then and returns `Ok` with the refusal of these
    /// events.
    ///
    /// # Errors
    /// [`Refusal::OverQuota`] if the quota never allows that number at once.
    pub(crate) async fn wait_for_events(
        &self,
        events: usize,
        deadline: Deadline,
    ) -> Result<Option<Refusal>, Refusal> {
        match self.event_quota(events) {
            Some((bucket, count)) => wait(bucket, count, deadline).await,
            None => Ok(None),
        }
    }

    /// Takes a call for a further batch of a stream from the caller's quota, as
    /// [`Caller::wait_for_events`] takes events.
    ///
    /// # Errors
    /// As [`Caller::wait_for_events`].
    pub(crate) async fn wait_for_call(
        &self,
        deadline: Deadline,
    ) -> Result<Option<Refusal>, Refusal> {
        match self.key.as_ref().and_then(|key| key.calls.as_ref()) {
            Some(calls) => wait(calls, NonZeroU32::MIN, deadline).await,
            None => Ok(None),
        }
    }

    fn event_quota(&self, events: usize) -> Option<(&Bucket, NonZeroU32)> {
        let bucket = self.key.as_ref()?.events.as_ref()?;
        let count = u32::try_from(events).ok().and_then(NonZeroU32::new)?;
        Some((bucket, count))
    }
}

/// Takes tokens as soon as there are enough. If that is after `deadline`, waits until then
/// and returns `Ok` with a refusal.
async fn wait(
    bucket: &Bucket,
    count: NonZeroU32,
    deadline: Deadline,
) -> Result<Option<Refusal>, Refusal> {
    while let Some(wait) = bucket.try_take(count)? {
        if wait > deadline.remaining() {
            tokio::time::sleep(deadline.remaining()).await;
            return Ok(Some(over_quota(Some(wait))));
        }
        tokio::time::sleep(wait).await;
    }
    Ok(None)
}
