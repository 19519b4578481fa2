//! `--replace`: erases the users of a file, so that its events are stored anew.

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, IsTerminal as _},
    path::Path,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tonic::{Code, Status, transport::Channel};

use super::{error::EventsImportError, target::ImportTarget};
use crate::tables::{EventColumns, EventFile, TableError};

/// Erasures in flight.
const IN_FLIGHT: usize = 16;
/// Attempts for a user whose store does not answer, and the delay after the first, which
/// doubles with each attempt.
const ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);

/// Erases every user whose events a file has, once this is confirmed. Their ids are held
/// in memory. Returns their number.
///
/// # Errors
/// [`EventsImportError`] if the file cannot be read, it is not confirmed, or a user cannot
/// be erased.
pub(super) async fn erase_users(
    path: &Path,
    columns: &EventColumns,
    target: &ImportTarget,
    is_confirmed: bool,
) -> Result<usize, EventsImportError> {
    let users = users_of(path, columns)?;
    if !is_confirmed {
        confirm(users.len(), target.url())?;
    }
    let channel = target.channel();
    let count = users.len();
    let mut erased = 0;
    let erasures = users
        .into_iter()
        .map(|user| erase(target, channel.clone(), user));
    let mut erasures = stream::iter(erasures).buffer_unordered(IN_FLIGHT);
    while let Some(done) = erasures.next().await {
        done.map_err(|cause| EventsImportError::Erase {
            erased,
            users: count,
            cause,
        })?;
        erased += 1;
    }
    Ok(erased)
}

fn users_of(path: &Path, columns: &EventColumns) -> Result<BTreeSet<String>, TableError> {
    let mut file = EventFile::open(path, columns)?;
    let mut users = BTreeSet::new();
    while let Some((_, event)) = file.next_event()? {
        if let Ok(event) = event
            && !users.contains(event.user_id.as_str())
        {
            users.insert(event.user_id.as_str().to_owned());
        }
    }
    Ok(users)
}

/// Asks at the terminal.
fn confirm(users: usize, url: &str) -> Result<(), EventsImportError> {
    if !io::stdin().is_terminal() {
        return Err(EventsImportError::Unconfirmed { users });
    }
    anstream::eprint!(
        "This erases all events and models of {users} users on {url}, then imports the file. \
         Continue? [y/N] "
    );
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Ok(()),
        _ => Err(EventsImportError::Declined),
    }
}

async fn erase(target: &ImportTarget, channel: Channel, user: String) -> Result<(), Box<Status>> {
    let mut backoff = FIRST_BACKOFF;
    for _ in 1..ATTEMPTS {
        match target.erase(channel.clone(), user.clone()).await {
            Err(status) if is_passing(&status) => {
                tokio::time::sleep(backoff).await;
                backoff *= 2;
            }
            done => return done,
        }
    }
    target.erase(channel, user).await
}

fn is_passing(status: &Status) -> bool {
    [
        Code::Unavailable,
        Code::ResourceExhausted,
        Code::DeadlineExceeded,
    ]
    .contains(&status.code())
}
