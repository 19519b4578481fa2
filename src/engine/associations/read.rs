//! Reading rows and popularity for lists, from this process's memory as long as they
//! are young.

use std::{sync::Arc, time::Duration};

use super::{
    caches::{CachedPopularity, MAX_AGE},
    state::AssociationState,
};
use crate::{
    domain::{
        associations::{NeighborRow, PopularItems},
        ids::ContentId,
        time::Timestamp,
    },
    ports::{PopularityRanking, StoreError},
    telemetry::meters,
};

/// A row older than this becomes due when a list reads it.
const ROW_MAX_AGE_SECONDS: f64 = 3_600.0;

/// Rows, one for each item of a query.
pub(super) type Rows = Vec<Option<Arc<NeighborRow>>>;

impl AssociationState {
    /// The rows of items. Those that are not cached are read.
    ///
    /// # Errors
    /// [`StoreError`] with the rows that are cached, of any age.
    pub(super) async fn rows(
        self: &Arc<Self>,
        items: &[ContentId],
    ) -> Result<Rows, (StoreError, Rows)> {
        let now = match self.now().await {
            Ok(now) => now,
            Err(error) => return Err((error, self.cached_rows(items, None))),
        };
        let mut rows: Rows = Vec::with_capacity(items.len());
        let (mut missing, mut early) = (Vec::new(), Vec::new());
        for item in items {
            let cached = self.rows.get(item);
            match cached {
                Some(cached) if now < cached.read_at.plus(self.settings.interval) => {
                    if now >= cached.read_at.plus(self.early_age()) {
                        early.push((item.clone(), cached.read_at, cached.row.clone()));
                    }
                    rows.push(cached.row);
                }
                Some(_) | None => {
                    missing.push(item.clone());
                    rows.push(None);
                }
            }
        }
        if !early.is_empty() {
            self.reread(early, now);
        }
        if !missing.is_empty()
            && let Err(error) = self.read_rows(&missing, now).await
        {
            return Err((error, self.cached_rows(items, Some(now))));
        }
        let mut wakes = false;
        for (item, row) in items.iter().zip(&mut rows) {
            if row.is_none() {
                *row = self.rows.get(item).and_then(|cached| cached.row);
            }
            let is_old =
                |row: &Arc<NeighborRow>| now.seconds_since(row.built_at()) > ROW_MAX_AGE_SECONDS;
            if row.is_none() && missing.contains(item) {
                self.changes.force(item, now);
                wakes = true;
            } else if row.as_ref().is_some_and(is_old) {
                self.changes.force(item, now);
            }
        }
        if wakes {
            self.wake.notify_one();
        }
        Ok(rows)
    }

    /// What is cached of a query's rows and of popularity, for a list that cannot wait.
    pub(super) async fn last_read(&self, items: &[ContentId]) -> (Rows, CachedPopularity) {
        // Known without waiting, unless the store has never answered.
        let now = tokio::time::timeout(Duration::ZERO, self.now()).await;
        let now = now.ok().and_then(Result::ok);
        (self.cached_rows(items, now), self.popularity.get())
    }

    /// The rows that are cached and not too old to be used.
    fn cached_rows(&self, items: &[ContentId], now: Option<Timestamp>) -> Rows {
        let is_usable = |read_at: Timestamp| now.is_none_or(|now| now < read_at.plus(MAX_AGE));
        let row = |item| {
            let cached = self.rows.get(item)?;
            cached.row.filter(|_| is_usable(cached.read_at))
        };
        items.iter().map(row).collect()
    }

    async fn read_rows(&self, items: &[ContentId], now: Timestamp) -> Result<(), StoreError> {
        let read = self.store.rows(items).await?;
        for (item, row) in items.iter().zip(read) {
            if let Some(row) = &row {
                meters::row_age(now.seconds_since(row.built_at()).max(0.0));
            }
            self.rows.insert(item, row.map(Arc::new), now);
        }
        Ok(())
    }

    /// Reads rows again in the background. Until then, they count as read now.
    fn reread(
        self: &Arc<Self>,
        early: Vec<(ContentId, Timestamp, Option<Arc<NeighborRow>>)>,
        now: Timestamp,
    ) {
        for (item, _, row) in &early {
            self.rows.insert(item, row.clone(), now);
        }
        let state = Arc::clone(self);
        self.tasks.spawn(async move {
            let items: Vec<ContentId> = early.iter().map(|(item, ..)| item.clone()).collect();
            if state.read_rows(&items, now).await.is_err() {
                for (item, read_at, row) in early {
                    state.rows.insert(&item, row, read_at);
                }
            }
        });
    }

    /// Both rankings by popularity.
    ///
    /// # Errors
    /// [`StoreError`] with the rankings that were last read.
    pub(super) async fn popularity(
        self: &Arc<Self>,
    ) -> Result<CachedPopularity, (StoreError, CachedPopularity)> {
        let cached = self.popularity.get();
        let now = match self.now().await {
            Ok(now) => now,
            Err(error) => return Err((error, cached)),
        };
        let age = |limit| {
            let read_at = cached.read_at;
            read_at.is_some_and(|read_at: Timestamp| now < read_at.plus(limit))
        };
        if !age(self.settings.interval) {
            return match self.read_popularity(now).await {
                Ok(()) => Ok(self.popularity.get()),
                Err(error) => Err((error, cached)),
            };
        }
        if !age(self.early_age()) {
            let before = self.popularity.touch(Some(now));
            let state = Arc::clone(self);
            self.tasks.spawn(async move {
                if state.read_popularity(now).await.is_err() {
                    state.popularity.touch(before);
                }
            });
        }
        Ok(cached)
    }

    async fn read_popularity(&self, now: Timestamp) -> Result<(), StoreError> {
        let (popular, trending) = tokio::try_join!(
            self.store.popularity(PopularityRanking::Popular),
            self.store.popularity(PopularityRanking::Trending),
        )?;
        self.popularity.set(CachedPopularity {
            popular: Arc::new(PopularItems::new(popular)),
            trending: Arc::new(PopularItems::new(trending)),
            read_at: Some(now),
        });
        Ok(())
    }
}
