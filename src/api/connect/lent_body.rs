//! Bodies of requests that may be answered before they were read. Over HTTP/1.1 a client
//! that is still sending its body would lose the reply, so the rest is read first.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// Longer rests are not read: their clients may lose the reply.
const MAX_DRAINED_BYTES: usize = 64 << 10;
pub(super) const MAX_DRAIN_TIME: Duration = Duration::from_secs(1);
/// For clients whose deadline is over, which may wait no longer.
pub(super) const MAX_LATE_DRAIN_TIME: Duration = Duration::from_millis(100);

/// Where a [`LentBody`] that is dropped unread goes.
type Place<B> = Arc<Mutex<Option<B>>>;

/// The body of a request on the API's port.
pub(crate) struct LentBody<B: HttpBody> {
    body: Option<B>,
    place: Option<Place<B>>,
}

impl<B: HttpBody> LentBody<B> {
    /// A body that is dropped with its reader.
    pub(super) fn given(body: B) -> Self {
        Self {
            body: Some(body),
            place: None,
        }
    }

    /// A body whose rest can be read after its reader has dropped it.
    pub(super) fn lent(body: B) -> (Self, UnreadBody<B>) {
        let place = Place::default();
        let lent = Self {
            body: Some(body),
            place: Some(Arc::clone(&place)),
        };
        (lent, UnreadBody(place))
    }
}

impl<B: HttpBody> Drop for LentBody<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(place)) = (self.body.take(), &self.place)
            && !body.is_end_stream()
        {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl<B: HttpBody + Unpin> HttpBody for LentBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = &frame {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// The rest of a body, once its reader has dropped it.
pub(super) struct UnreadBody<B>(Place<B>);

impl<B: HttpBody<Data = Bytes> + Unpin> UnreadBody<B> {
    /// Reads what is left, for at most this long. Returns whether that was all.
    pub(super) async fn drain(self, within: Duration) -> bool {
        let rest = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match rest {
            Some(rest) => drain(rest, within).await,
            None => true,
        }
    }
}

/// Reads a body without keeping it, for at most this long. Returns whether it ended within
/// the limits.
pub(super) async fn drain<B: HttpBody<Data = Bytes> + Unpin>(
    mut body: B,
    within: Duration,
) -> bool {
    let reading = async {
        let mut left = MAX_DRAINED_BYTES;
        while let Some(frame) = body.frame().await {
            let bytes = frame.map(|frame| frame.data_ref().map_or(0, Bytes::len));
            match bytes.ok().and_then(|bytes| left.checked_sub(bytes)) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    };
    let read = tokio::time::timeout(within, reading).await;
    read.unwrap_or(false)
}
