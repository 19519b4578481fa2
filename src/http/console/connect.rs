//! The page's calls of the API. They are made by Connect, and pass the layers of the API's
//! port.

use std::convert::Infallible;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use tonic::body::Body;
use tower::{ServiceExt as _, util::BoxCloneSyncService};

/// The API behind all layers of its port.
pub(crate) type ApiService = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>;

/// The calls that the page makes: it only reads.
const METHODS: [&str; 6] = [
    "/recsys.v1.RecommenderService/Recommend",
    "/recsys.v1.RecommenderService/GetUserSignals",
    "/recsys.v1.RecommenderService/GetItemSignals",
    "/recsys.v1.RecommenderService/SimilarItems",
    "/recsys.v1.RecommenderService/PopularItems",
    "/recsys.v1.CatalogService/GetItems",
];

/// The path of a call that the page may make; `None` for other paths.
pub(super) fn call_at(path: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|method| *method == path)
}

/// Makes a call with a JSON message and the key of `headers`.
pub(super) async fn call(
    api: ApiService,
    path: &'static str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    let passed = request.headers_mut();
    passed.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // The console has checked the host.
    passed.insert(HOST, HeaderValue::from_static("localhost"));
    if let Some(key) = headers.get(AUTHORIZATION) {
        passed.insert(AUTHORIZATION, key.clone());
    }
    let Ok(reply) = api.oneshot(request).await;
    reply
}
