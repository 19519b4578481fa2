//! Scans users, then items, and rebuilds a page at a time.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    error::{RebuildError, StepError},
    progress::{Phase, RebuildCounts, RebuildPosition, RebuildProgress},
};
use crate::{
    adapters::redis::{KeyScan, ScannedKind},
    app::{self, RebuildTarget},
    cli::tenant_choice,
    config::{AssociationsRebuildFlags, Settings},
    domain::ids::{ContentId, UserId},
    engine::Engine,
};

/// Users that are rebuilt at the same time.
const USERS_TOGETHER: usize = 16;
/// Attempts in a row without progress, and the delay after the first, which doubles
/// with each attempt.
const ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);

/// Rebuilds everything.
pub(super) async fn run(
    settings: &Settings,
    flags: &AssociationsRebuildFlags,
) -> Result<RebuildCounts, RebuildError> {
    if settings.redis_url.is_none() {
        return Err(RebuildError::NoRedis);
    }
    let target = tenant_choice::open(
        settings,
        flags.tenant.as_ref(),
        app::rebuild_target,
        app::rebuild_target_of_tenant,
    )?;
    let mut rebuild = AssociationsRebuild::start(target, flags).await?;
    let done = tokio::select! {
        done = rebuild.run() => done,
        _ = tokio::signal::ctrl_c() => Err(RebuildError::Interrupted),
    };
    match done {
        Ok(()) => rebuild.progress.remove(),
        Err(_) => rebuild.progress.save(&rebuild.position),
    }
    rebuild.progress.finish();
    done.map(|()| rebuild.position.counts)
}

struct AssociationsRebuild {
    engine: Engine,
    keys: KeyScan,
    position: RebuildPosition,
    progress: RebuildProgress,
}

impl AssociationsRebuild {
    async fn start(
        target: RebuildTarget,
        flags: &AssociationsRebuildFlags,
    ) -> Result<Self, RebuildError> {
        let keys = target.keys.ok_or(RebuildError::NoRedis)?;
        if !target.is_enabled {
            return Err(RebuildError::Disabled);
        }
        let nodes = keys.nodes().await.map_err(RebuildError::Start)?;
        let progress = RebuildProgress::new(&flags.progress);
        let saved = match flags.restart {
            true => None,
            false => progress.load(keys.prefix(), &nodes),
        };
        if saved.is_some() {
            progress
                .print("resuming an interrupted rebuild (--restart starts with the first user)");
        }
        let position = saved.unwrap_or_else(|| RebuildPosition {
            key_prefix: keys.prefix().to_owned(),
            nodes,
            ..RebuildPosition::default()
        });
        Ok(Self {
            engine: target.engine,
            keys,
            position,
            progress,
        })
    }

    async fn run(&mut self) -> Result<(), RebuildError> {
        loop {
            self.scan().await?;
            if !self.is_scanned().await? {
                continue;
            }
            let Some(next) = self.position.phase.next() else {
                return Ok(());
            };
            self.position.phase = next;
            self.rewind();
        }
    }

    fn rewind(&mut self) {
        (self.position.node, self.position.cursor) = (0, 0);
    }

    /// Whether the masters are those of the phase's start. If a failover or a move of
    /// slots came between, the scan may have missed keys, and begins again.
    async fn is_scanned(&mut self) -> Result<bool, RebuildError> {
        let mut attempts = 0;
        let nodes = loop {
            match self.keys.nodes().await {
                Ok(nodes) => break nodes,
                Err(error) => self.back_off(&mut attempts, &error.into()).await?,
            }
        };
        if nodes == self.position.nodes {
            return Ok(true);
        }
        self.progress
            .print("the Redis servers have changed meanwhile: scanning their keys again");
        self.position.nodes = nodes;
        self.rewind();
        Ok(false)
    }

    /// Rebuilds everything that the phase scans.
    async fn scan(&mut self) -> Result<(), RebuildError> {
        let mut attempts = 0;
        while self.position.node < self.position.nodes.len() {
            match self.page().await {
                Ok(()) => attempts = 0,
                Err(error) => self.back_off(&mut attempts, &error).await?,
            }
            self.progress.show(self.position.counts);
            self.progress.save_periodically(&self.position);
        }
        Ok(())
    }

    /// Rebuilds one page, and moves the position behind it.
    async fn page(&mut self) -> Result<(), StepError> {
        let RebuildPosition {
            nodes,
            phase,
            node,
            cursor,
            ..
        } = &self.position;
        let Some(master) = nodes.get(*node) else {
            return Ok(());
        };
        let kind = match phase {
            Phase::Users => ScannedKind::Events,
            Phase::Audiences | Phase::Rows => ScannedKind::Audiences,
        };
        let page = self.keys.page(master, kind, *cursor).await?;
        let mut counts = self.position.counts;
        match phase {
            Phase::Users => counts.users += self.rebuild_users(&page.ids).await?,
            Phase::Audiences => {
                let items = items(page.ids);
                self.engine.settle_items(&items).await?;
                counts.audiences += items.len() as u64;
            }
            Phase::Rows => {
                let items = items(page.ids);
                self.engine.refresh_items(&items).await?;
                counts.rows += items.len() as u64;
            }
        }
        let position = &mut self.position;
        position.counts = counts;
        position.cursor = page.cursor;
        if page.cursor == 0 {
            position.node += 1;
        }
        Ok(())
    }

    /// Rebuilds users; returns how many have events.
    async fn rebuild_users(&self, ids: &[String]) -> Result<u64, StepError> {
        // A key with another id is not a user's.
        let users = ids.iter().filter_map(|id| UserId::parse(id).ok());
        let rebuilt = stream::iter(users).map(|user| async move {
            let has_events = self.engine.rebuild_user(&user).await?;
            Ok::<_, StepError>(u64::from(has_events))
        });
        let rebuilt = rebuilt.buffer_unordered(USERS_TOGETHER);
        rebuilt
            .try_fold(0, |sum, one| async move { Ok(sum + one) })
            .await
    }

    async fn back_off(&self, attempts: &mut u32, error: &StepError) -> Result<(), RebuildError> {
        *attempts += 1;
        let cause = error.to_string();
        if *attempts >= ATTEMPTS {
            let attempts = *attempts;
            return Err(RebuildError::GaveUp { cause, attempts });
        }
        self.progress.print(&format!("{cause}; retrying"));
        tokio::time::sleep(FIRST_BACKOFF * 2_u32.pow(*attempts - 1)).await;
        Ok(())
    }
}

fn items(ids: Vec<String>) -> Vec<ContentId> {
    ids.into_iter().map(ContentId::from).collect()
}
