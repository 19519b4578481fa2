//! Bounds the requests of the services: see [`crate::api::codec`].

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio::task::futures::TaskLocalFuture;
use tonic::body::Body;
use tower::Service;

use crate::{
    api::{
        codec::{BOUNDS, RequestBounds},
        limits::Limits,
    },
    edge::load::Account,
};

/// Services whose requests are bounded by these limits and by the account of their call.
#[derive(Clone)]
pub(crate) struct Bounded<S> {
    pub(crate) services: S,
    pub(crate) limits: Arc<Limits>,
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = TaskLocalFuture<RequestBounds, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let bounds = RequestBounds {
            limits: Arc::clone(&self.limits),
            account: Account::of(request.extensions()),
        };
        // The codec of the call is made while its future runs.
        BOUNDS.scope(bounds, self.services.call(request))
    }
}
