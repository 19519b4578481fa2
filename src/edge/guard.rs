//! The layer in front of the handlers of every port: authorization, load shedding, the
//! deadline, and recovery from panics, in this order. Refusing a call early is cheap.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::edge::{
    access::Access,
    budget::Load,
    call::CallContext,
    deadline::CallTime,
    load::{Admission, FreeCalls},
    methods::Methods,
    panics::catch_panic,
    refusal::{BoxError, Protocol, Refusal},
};

/// Puts [`Guarded`] around a service.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) methods: Methods,
    /// `None`: no call needs a key, and none has a [`Caller`](super::access::Caller).
    pub(crate) access: Option<Arc<Access>>,
    pub(crate) load: Arc<Load>,
    pub(crate) free: Arc<FreeCalls>,
    /// Longest that a call may take.
    pub(crate) timeout: Duration,
    pub(crate) protocol: &'static dyn Protocol,
}

impl Guard {
    /// Admits a call and adds extensions to its request for the handler: the
    /// [`Caller`](super::access::Caller), the account of bytes, the [`CallTime`].
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(Admission, CallTime), Refusal> {
        let kind = self.methods.kind(request.uri().path());
        let mut tenant = None;
        if let (Some(access), Some(roles)) = (&self.access, kind.roles()) {
            let caller = access.admit(request.headers(), roles)?;
            CallContext::set_tenant(request.extensions(), caller.tenant.as_ref());
            tenant.clone_from(&caller.tenant);
            request.extensions_mut().insert(caller);
        }
        let admission = Admission::of(
            &self.load,
            &self.free,
            kind,
            tenant.as_ref(),
            request.extensions_mut(),
            self.protocol,
        )?;
        let time = CallTime::start(request.headers(), self.timeout);
        request.extensions_mut().insert(time);
        Ok((admission, time))
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded {
            inner,
            guard: self.clone(),
        }
    }
}

/// A service behind a [`Guard`].
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let protocol = self.guard.protocol;
        let (admission, time) = match self.guard.admit(&mut request) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let reply = protocol.reply(refusal);
                return Box::pin(async move { Ok(reply) });
            }
        };
        let path = request.uri().clone();
        let reply = self.inner.call(request.map(|body| admission.request(body)));
        let reply = time.limit(async move { catch_panic(path.path(), reply).await });
        Box::pin(async move {
            let reply = match reply.await.flatten() {
                Ok(reply) => reply?,
                Err(refusal) => protocol.reply(refusal),
            };
            Ok(admission.reply(reply))
        })
    }
}
