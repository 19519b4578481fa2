//! Browser pages: gRPC-Web on the API's port, and which pages of other origins
//! may call it (CORS).
//!
//! An origin that is not listed gets no header of CORS at all: then a browser
//! keeps replies from its pages, and sends nothing that it must ask about first.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
        ORIGIN, VARY,
    },
};
use tonic::body::Body;
use tower::{Layer, Service};

/// What a page may send.
const MAY_SEND: &str = "content-type, x-grpc-web, x-user-agent, grpc-timeout, authorization, \
                        x-api-key, x-tenant-id, x-request-id";
/// What a page may read.
const MAY_READ: &str = "grpc-status, grpc-message, grpc-status-details-bin, \
                        grpc-retry-pushback-ms, x-request-id";

/// How long a browser may cache the reply to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// Settings of calls from browser pages.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Browsers")]
pub struct BrowserSettings {
    /// Whether browser pages may call, by gRPC-Web; the API's port then also speaks
    /// HTTP/1.1
    #[arg(long, global = true, env = "RECSYS_GRPC_WEB", value_name = "BOOL",
          action = clap::ArgAction::Set, default_value = "false")]
    pub grpc_web: bool,
    /// Origins whose pages may call, scheme://host or scheme://host:port, separated
    /// by commas; * = any; unset = the API's own origin
    #[arg(
        long,
        global = true,
        env = "RECSYS_CORS_ALLOW_ORIGINS",
        value_name = "ORIGINS"
    )]
    pub cors_allow_origins: Option<Origins>,
}

/// Origins whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Those of any.
    Any,
    /// Those of these.
    Listed(Vec<HeaderValue>),
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let listed = text
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty());
        let listed = listed.map(origin).collect::<Result<_, _>>()?;
        Ok(Self::Listed(listed))
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Listed(listed) => {
                let listed = listed.iter().filter_map(|origin| origin.to_str().ok());
                f.write_str(&listed.collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// As browsers write it: in small letters, without a path.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong = || {
        format!("{text:?} is no origin: give scheme://host or scheme://host:port, in small letters")
    };
    let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    let has_path = host.contains(['/', '?', '#', '@', '*']);
    if scheme.is_empty() || host.is_empty() || has_path || !text.bytes().all(plain) {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}

/// Puts [`Cors`] around a service.
#[derive(Clone)]
pub(crate) struct CorsLayer {
    origins: Arc<Origins>,
    max_age: HeaderValue,
}

impl CorsLayer {
    pub(crate) fn new(settings: &BrowserSettings) -> Self {
        let origins = settings.cors_allow_origins.clone();
        Self {
            origins: Arc::new(origins.unwrap_or(Origins::Listed(Vec::new()))),
            max_age: PREFLIGHT_MAX_AGE.as_secs().into(),
        }
    }

    /// What the header says that lets a page in; `None`: nothing does.
    fn allowed(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(ORIGIN)?;
        match &*self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => listed.contains(origin).then(|| origin.clone()),
        }
    }

    /// Says so to the browser. What it keeps is for this origin alone.
    fn admit(&self, allowed: Option<HeaderValue>, headers: &mut HeaderMap, say: Say) {
        if *self.origins != Origins::Any {
            headers.append(VARY, HeaderName::from_static("origin").into());
        }
        let Some(allowed) = allowed else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        match say {
            Say::MayRead => {
                headers.insert(
                    ACCESS_CONTROL_EXPOSE_HEADERS,
                    HeaderValue::from_static(MAY_READ),
                );
            }
            Say::MaySend => {
                headers.insert(
                    ACCESS_CONTROL_ALLOW_METHODS,
                    HeaderValue::from_static("POST"),
                );
                headers.insert(
                    ACCESS_CONTROL_ALLOW_HEADERS,
                    HeaderValue::from_static(MAY_SEND),
                );
                headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            }
        }
    }
}

enum Say {
    MayRead,
    MaySend,
}

impl<S> Layer<S> for CorsLayer {
    type Service = Cors<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Cors {
            inner,
            rules: self.clone(),
        }
    }
}

/// A service that pages of some origins may call.
#[derive(Clone)]
pub(crate) struct Cors<S> {
    inner: S,
    rules: CorsLayer,
}

impl<S, B> Service<Request<B>> for Cors<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let headers = request.headers();
        let allowed = self.rules.allowed(headers);
        let asks = headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if asks && request.method() == Method::OPTIONS {
            let mut reply = Response::new(Body::empty());
            *reply.status_mut() = StatusCode::NO_CONTENT;
            self.rules.admit(allowed, reply.headers_mut(), Say::MaySend);
            return Box::pin(async move { Ok(reply) });
        }
        let rules = self.rules.clone();
        let reply = self.inner.call(request);
        Box::pin(async move {
            let mut reply = reply.await?;
            rules.admit(allowed, reply.headers_mut(), Say::MayRead);
            Ok(reply)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Origins;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for good in [
            "https://shop.example",
            "http://127.0.0.1:8080,http://[::1]:8080",
            "capacitor://localhost",
            "*",
            "",
        ] {
            let read: Origins = good.parse().unwrap();
            assert_eq!(read.to_string(), good);
        }
        let spaced: Origins = " https://a.example , https://b.example,".parse().unwrap();
        assert_eq!(spaced.to_string(), "https://a.example,https://b.example");
        for wrong in [
            "shop.example",
            "https://",
            "://shop.example",
            "https://shop.example/",
            "https://Shop.example",
            "https://*.example",
            "https://a.example,*",
            "https://user@shop.example",
            "null",
        ] {
            let refused = wrong.parse::<Origins>().unwrap_err();
            assert!(refused.contains("is no origin"), "{wrong}: {refused}");
        }
    }
}
