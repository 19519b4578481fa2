//! A call that load shedding has let in.

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, Response};
use http_body::Body as HttpBody;
use tonic::body::Body;

use crate::edge::{
    connections::{Connection, OpenStream},
    load::{
        body::{EndlessBody, ReplyBody, RequestBody},
        budget::Load,
        open_call::{Account, OpenCall},
    },
    methods::MethodKind,
    refusal::{BoxError, Protocol, Refusal},
};

/// A call that may proceed, and what is counted of it.
pub(crate) enum Admission {
    /// Health and reflection: only the stream of the connection is counted.
    Free {
        connection: Option<Arc<Connection>>,
        stream: Option<OpenStream>,
        protocol: &'static dyn Protocol,
    },
    Counted(Arc<OpenCall>),
}

impl Admission {
    /// Admits a call with these extensions.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`].
    pub(crate) fn of(
        load: &Arc<Load>,
        kind: MethodKind,
        extensions: &mut Extensions,
        protocol: &'static dyn Protocol,
    ) -> Result<Self, Refusal> {
        let connection = extensions.get::<Arc<Connection>>().cloned();
        let stream = connection.as_ref().map(Connection::stream);
        let is_stream = match kind {
            MethodKind::Free => {
                return Ok(Self::Free {
                    connection,
                    stream,
                    protocol,
                });
            }
            MethodKind::Unary(_) => false,
            MethodKind::Stream(_) => true,
        };
        let call = OpenCall::start(load, connection, stream, is_stream, protocol)?;
        if is_stream {
            extensions.insert(Arc::clone(&call));
        }
        extensions.insert(Account(Arc::clone(&call)));
        Ok(Self::Counted(call))
    }

    /// The body that the handler reads.
    pub(crate) fn request<B>(&self, body: B) -> Body
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        match self {
            Self::Free { .. } => Body::new(body),
            Self::Counted(call) => Body::new(RequestBody {
                body,
                call: Arc::clone(call),
            }),
        }
    }

    /// The reply that the connection sends.
    pub(crate) fn reply(self, reply: Response<Body>) -> Response<Body> {
        match self {
            Self::Free {
                connection,
                stream,
                protocol,
            } => reply.map(|body| {
                let closing = connection.map(|connection| connection.closing.clone());
                Body::new(EndlessBody {
                    body,
                    closing: closing.map(|closing| Box::pin(closing.cancelled_owned())),
                    protocol,
                    ended: false,
                    _stream: stream,
                })
            }),
            Self::Counted(call) => {
                call.end_work();
                let pending = call.pending_reply();
                reply.map(|body| {
                    Body::new(ReplyBody {
                        body,
                        call,
                        pending,
                    })
                })
            }
        }
    }
}
