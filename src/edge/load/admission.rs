//! A call that load shedding has let in.

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, Response};
use http_body::Body as HttpBody;
use tonic::body::Body;

use crate::{
    domain::ids::TenantId,
    edge::{
        budget::Load,
        connections::Connection,
        load::{
            body::{EndlessBody, ReplyBody, RequestBody},
            free_call::{FreeCall, FreeCalls},
            open_call::{Account, OpenCall, Streams},
        },
        methods::MethodKind,
        refusal::{BoxError, Protocol, Refusal},
    },
};

/// A call that may proceed, and what is counted of it.
pub(crate) enum Admission {
    /// Health and reflection.
    Free {
        call: FreeCall,
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
        free: &Arc<FreeCalls>,
        kind: MethodKind,
        tenant: Option<&TenantId>,
        extensions: &mut Extensions,
        protocol: &'static dyn Protocol,
    ) -> Result<Self, Refusal> {
        let connection = extensions.get::<Arc<Connection>>().cloned();
        let streams = match kind {
            MethodKind::Free { call_bytes } => {
                let call = free.start(connection, call_bytes)?;
                return Ok(Self::Free { call, protocol });
            }
            MethodKind::Unary(_) => Streams::None,
            MethodKind::Replies(_) => Streams::Replies,
            MethodKind::Stream(_) => Streams::Both,
        };
        let stream = connection.as_ref().map(Connection::keyed_stream);
        let share = tenant.map(|tenant| load.share(tenant));
        let call = OpenCall::start(load, share, connection, stream, streams, protocol)?;
        if streams == Streams::Both {
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
            Self::Free { call, protocol } => reply.map(|body| {
                let closing = call
                    .connection()
                    .map(|connection| connection.closing.clone());
                Body::new(EndlessBody {
                    body,
                    closing: closing.map(|closing| Box::pin(closing.cancelled_owned())),
                    protocol,
                    ended: false,
                    pending: call.connection().map(Connection::reply),
                    call,
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
