//! All data of a user as a stream of small messages. The buffer is read in pages, each
//! when the client has read what came before.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream::try_unfold};
use tonic::Status;

use crate::{
    api::{error::ApiError, export_parts::Parts, methods::EXPORT_PAGES},
    domain::{ids::UserId, user_signals::UserSignals},
    edge::{access::Caller, load::Account, panics::catch_panic},
    ports::PageStart,
    proto::ExportUserPagesResponse,
};

/// Most bytes of stored events of which the model is built for an export: building it
/// reads them all.
const MAX_MODEL_SOURCE: usize = 16 << 20;
/// Memory of an export: a page of the largest events in three forms, and a message.
const EXPORT_BYTES: usize = 8 << 20;

/// The parts of an export, in order.
pub(crate) type ExportParts =
    Pin<Box<dyn Stream<Item = Result<ExportUserPagesResponse, Status>> + Send>>;

/// An export of a user.
pub(crate) struct Export {
    caller: Caller,
    user: UserId,
    next: Step,
    stored_bytes: usize,
    parts: Parts,
}

/// What is read next.
enum Step {
    Events(PageStart),
    Model,
    End,
}

impl Export {
    /// # Errors
    /// OVERLOADED or TOO_MUCH_MEMORY.
    pub(crate) fn start(
        caller: Caller,
        user: UserId,
        account: Option<&Account>,
    ) -> Result<Self, ApiError> {
        if let Some(account) = account {
            account.reserve(EXPORT_BYTES)?;
        }
        Ok(Self {
            caller,
            user,
            next: Step::Events(PageStart::FIRST),
            stored_bytes: 0,
            parts: Parts::default(),
        })
    }

    pub(crate) fn parts(self) -> ExportParts {
        Box::pin(try_unfold(self, |mut export| async move {
            let part = catch_panic(EXPORT_PAGES, export.part()).await??;
            Ok(part.map(|part| (part, export)))
        }))
    }

    /// Reads until a part is full; `None` at the end.
    async fn part(&mut self) -> Result<Option<ExportUserPagesResponse>, Status> {
        loop {
            if let Some(part) = self.parts.next() {
                return Ok(Some(part));
            }
            // The key may have been revoked.
            if self.caller.replaced.is_cancelled() {
                return Err(ApiError::connection_ends().into());
            }
            match self.next {
                Step::Events(start) => self.read_events(start).await?,
                Step::Model => self.read_model().await?,
                Step::End => return Ok(None),
            }
        }
    }

    async fn read_events(&mut self, start: PageStart) -> Result<(), ApiError> {
        let page = self.caller.engine.stored_page(&self.user, start).await?;
        for stored in page.events {
            self.stored_bytes += stored.text.len();
            self.parts.event(stored);
        }
        self.next = page.next.map_or(Step::Model, Step::Events);
        Ok(())
    }

    async fn read_model(&mut self) -> Result<(), ApiError> {
        let engine = &self.caller.engine;
        // Before the signals, which may rebuild it without the data that another
        // program wrote.
        if let Some(model) = engine.stored_model(&self.user).await? {
            self.parts.stored_model(&model);
        }
        let mut interests = engine.stored_interests(&self.user).await?;
        if self.stored_bytes <= MAX_MODEL_SOURCE {
            let (signals, _): (Arc<UserSignals>, _) = engine.signals(&self.user).await?;
            self.parts.signals(&signals);
            interests.get_or_insert_with(|| signals.interests.clone());
        }
        self.parts.interests(&interests.unwrap_or_default());
        self.parts.finish();
        self.next = Step::End;
        Ok(())
    }
}
