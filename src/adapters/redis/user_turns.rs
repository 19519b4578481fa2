//! Turns of the operations of one user within this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::sync::OwnedMutexGuard;

use crate::domain::ids::UserId;

type ByUser = HashMap<UserId, Arc<tokio::sync::Mutex<()>>, RandomState>;

/// The users with an operation in progress, and who waits for them.
#[derive(Default)]
pub(super) struct UserTurns(Mutex<ByUser>);

/// A user's turn. The next one begins when it is dropped.
pub(super) struct UserTurn<'a> {
    turns: &'a UserTurns,
    user: UserId,
    held: Option<OwnedMutexGuard<()>>,
}

impl UserTurns {
    /// Waits for a user's turn, in the order of the calls. `None` after `timeout`.
    pub(super) async fn take(&self, user: &UserId, timeout: Duration) -> Option<UserTurn<'_>> {
        let turn = {
            let mut turns = self.lock();
            match turns.get(user) {
                Some(turn) => Arc::clone(turn),
                None => Arc::clone(turns.entry(user.clone()).or_default()),
            }
        };
        let mut ended = UserTurn {
            turns: self,
            user: user.clone(),
            held: None,
        };
        ended.held = match Arc::clone(&turn).try_lock_owned() {
            Ok(held) => Some(held),
            Err(_) => {
                let held = tokio::time::timeout(timeout, turn.lock_owned()).await;
                Some(held.ok()?)
            }
        };
        Some(ended)
    }

    fn lock(&self) -> MutexGuard<'_, ByUser> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UserTurn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = self.turns.lock();
        // Whoever waits has a clone, which it took under the same lock.
        if turns
            .get(&self.user)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            turns.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::UserTurns;
    use crate::domain::ids::UserId;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn operations_of_one_user_take_turns_and_leave_nothing_behind() {
        let turns = Arc::new(UserTurns::default());
        let [user, other] = ["u", "v"].map(|id| UserId::parse(id).unwrap());
        let held = turns.take(&user, LONG).await.unwrap();
        assert!(turns.take(&other, LONG).await.is_some());
        assert!(turns.take(&user, Duration::from_millis(5)).await.is_none());
        let waiting = tokio::spawn({
            let (turns, user) = (Arc::clone(&turns), user.clone());
            async move { turns.take(&user, LONG).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        assert!(waiting.await.unwrap());
        assert!(turns.lock().is_empty());
    }
}
