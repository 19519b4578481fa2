//! Who may call what, and which engine answers: keys, roles, tenants, quotas.
//!
//! Without a tenants file everyone may do all, on one engine. With one, a call
//! carries a key, which belongs to one tenant and has roles. Health and
//! reflection ask for none.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota as Rate,
    clock::{Clock as _, DefaultClock},
};
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{
    api::{error::ApiError, methods::is_free},
    domain::ids::TenantId,
    edge::{
        call::Notes,
        tenants::{KeyEntry, KeyId, PresentedKey, Quota, Role, TenantsFile},
    },
    engine::Engine,
    ports::Deadline,
    telemetry::meters::{self, Refused},
};

const API_KEY: &str = "x-api-key";
const TENANT: &str = "x-tenant-id";
const BEARER: &str = "Bearer ";

const RECOMMENDER: &str = "/recsys.v1.RecommenderService/";
const CATALOG: &str = "/recsys.v1.CatalogService/";
/// Where deliveries come in, on a port of their own.
pub(crate) const WEBHOOKS: &str = "/v1/webhooks/";

/// The roles with one of which a key may make a call. For one that is not
/// listed, only an admin's will do.
fn roles_for(path: &str) -> &'static [Role] {
    if let Some(method) = path.strip_prefix(RECOMMENDER) {
        return match method {
            "IngestEvent" | "BatchIngestEvents" | "StreamIngestEvents" => &[Role::Ingest],
            "Recommend" => &[Role::Serve],
            "GetUserSignals" | "ExportUser" => &[Role::ReadProfile],
            "DeleteUser" => &[Role::Erase],
            _ => &[Role::Admin],
        };
    }
    if path.starts_with(WEBHOOKS) {
        return &[Role::Ingest];
    }
    match path.strip_prefix(CATALOG) {
        Some("UpsertItems" | "DeleteItems") => &[Role::Catalog],
        Some("GetItems") => &[Role::Serve, Role::Catalog],
        Some(_) | None => &[Role::Admin],
    }
}

/// Who may call. What it holds can be exchanged while calls are under way.
pub struct Access {
    doors: RwLock<Arc<Doors>>,
    /// Engines of before, which may have work to finish.
    retired: Mutex<Vec<Engine>>,
}

enum Doors {
    /// Everyone may do all.
    Open(Engine),
    Keyed(Directory),
}

/// Tenants and keys.
pub struct Directory {
    /// Cancelled when another one holds.
    exchanged: CancellationToken,
    tenants: BTreeMap<TenantId, Engine>,
    keys: HashMap<KeyId, Arc<Key>>,
}

/// A key that calls may be made with.
struct Key {
    tenant: TenantId,
    entry: KeyEntry,
    calls: Option<DefaultDirectRateLimiter>,
    events: Option<DefaultDirectRateLimiter>,
}

/// Who a call comes from; goes along with its request.
#[derive(Clone)]
pub(crate) struct Caller {
    /// What answers it.
    pub(crate) engine: Engine,
    /// Cancelled when it must be asked anew who may come.
    pub(crate) exchanged: CancellationToken,
    /// Whose data that is.
    tenant: Option<TenantId>,
    key: Option<Arc<Key>>,
}

impl Access {
    /// Everyone may do all, on this engine.
    #[must_use]
    pub fn open(engine: Engine) -> Arc<Self> {
        Self::behind(Doors::Open(engine))
    }

    /// Only who has a key.
    #[must_use]
    pub fn keyed(directory: Directory) -> Arc<Self> {
        Self::behind(Doors::Keyed(directory))
    }

    fn behind(doors: Doors) -> Arc<Self> {
        Arc::new(Self {
            doors: RwLock::new(Arc::new(doors)),
            retired: Mutex::default(),
        })
    }

    /// From now on these keys, on these engines. Quotas of keys that stay as
    /// they were go on.
    pub fn exchange(&self, file: &TenantsFile, engines: BTreeMap<TenantId, Engine>) {
        let before = self.doors();
        let known = match &*before {
            Doors::Keyed(directory) => Some(directory),
            Doors::Open(_) => None,
        };
        let directory = Directory::after(file, engines, known);
        {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.extend(self.engines());
            retired.retain(|engine| !engine.is_idle());
        }
        let mut doors = self.doors.write().unwrap_or_else(PoisonError::into_inner);
        *doors = Arc::new(Doors::Keyed(directory));
        drop(doors);
        if let Some(before) = known {
            before.exchanged.cancel();
        }
    }

    fn doors(&self) -> Arc<Doors> {
        let doors = self.doors.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&doors)
    }

    /// The engines in use.
    pub(crate) fn engines(&self) -> Vec<Engine> {
        match &*self.doors() {
            Doors::Open(engine) => vec![engine.clone()],
            Doors::Keyed(directory) => directory.tenants.values().cloned().collect(),
        }
    }

    /// Waits until all work that calls have begun is done.
    pub(crate) async fn finish(&self) {
        let retired =
            std::mem::take(&mut *self.retired.lock().unwrap_or_else(PoisonError::into_inner));
        for engine in retired.into_iter().chain(self.engines()) {
            engine.finish().await;
        }
    }

    /// Who a call with these headers comes from, if it may come.
    fn admit(&self, headers: &HeaderMap, path: &str) -> Result<Caller, ApiError> {
        let doors = self.doors();
        let directory = match &*doors {
            Doors::Keyed(directory) => directory,
            Doors::Open(_) if headers.contains_key(TENANT) => {
                meters::refused(Refused::Tenant);
                return Err(ApiError::permission_denied(
                    "TENANT_MISMATCH",
                    "this server has no tenants: leave x-tenant-id out",
                ));
            }
            Doors::Open(engine) => {
                return Ok(Caller {
                    engine: engine.clone(),
                    exchanged: CancellationToken::new(),
                    tenant: None,
                    key: None,
                });
            }
        };
        let Some(key) = directory.key(headers) else {
            meters::refused(Refused::Key);
            return Err(ApiError::unauthenticated());
        };
        let roles = roles_for(path);
        if !roles.iter().any(|role| key.entry.roles.allow(*role)) {
            meters::refused(Refused::Role);
            let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
            let told = format!("this call needs a key with the role {}", names.join(" or "));
            return Err(ApiError::permission_denied("ROLE_MISSING", told));
        }
        let Some((tenant, engine)) = directory.engine(&key, headers) else {
            meters::refused(Refused::Tenant);
            return Err(ApiError::permission_denied(
                "TENANT_MISMATCH",
                "x-tenant-id names another tenant than the key's",
            ));
        };
        if let Some(calls) = &key.calls {
            within(calls, NonZeroU32::MIN)?;
        }
        Ok(Caller {
            engine: engine.clone(),
            exchanged: directory.exchanged.clone(),
            tenant: Some(tenant.clone()),
            key: Some(key),
        })
    }
}

impl Directory {
    /// The keys of a file, on the engines of its tenants.
    #[must_use]
    pub fn new(file: &TenantsFile, engines: BTreeMap<TenantId, Engine>) -> Self {
        Self::after(file, engines, None)
    }

    fn after(
        file: &TenantsFile,
        tenants: BTreeMap<TenantId, Engine>,
        before: Option<&Self>,
    ) -> Self {
        let keys = file
            .tenants
            .iter()
            .flat_map(|(tenant, entry)| entry.keys.iter().map(move |key| (tenant, key)))
            .map(|(tenant, entry)| {
                let known = before.and_then(|before| before.keys.get(&entry.id));
                let same = known.filter(|key| key.tenant == *tenant && key.entry == *entry);
                let key = same.cloned().unwrap_or_else(|| Key::new(tenant, entry));
                (entry.id.clone(), key)
            })
            .collect();
        Self {
            exchanged: CancellationToken::new(),
            tenants,
            keys,
        }
    }

    /// The key that the headers carry, if it is one of these.
    fn key(&self, headers: &HeaderMap) -> Option<Arc<Key>> {
        let presented = PresentedKey::read(presented(headers)?)?;
        let key = self.keys.get(presented.id())?;
        presented.is(&key.entry.hash).then(|| Arc::clone(key))
    }

    /// That of the key's tenant, or of the one that an admin names.
    fn engine(&self, key: &Key, headers: &HeaderMap) -> Option<(&TenantId, &Engine)> {
        let own = key.tenant.as_str();
        let named = match single(headers, TENANT)? {
            None => own,
            Some(named) => named.to_str().ok()?,
        };
        if named != own && !key.entry.roles.allow(Role::Admin) {
            return None;
        }
        self.tenants.get_key_value(&TenantId::parse(named).ok()?)
    }
}

/// One key: two that differ are none.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = single(headers, AUTHORIZATION.as_str())?.map(|value| {
        let text = value.to_str().ok()?;
        let (scheme, key) = text.split_at_checked(BEARER.len())?;
        scheme.eq_ignore_ascii_case(BEARER).then(|| key.trim())
    });
    let plain = single(headers, API_KEY)?.map(|value| value.to_str().ok());
    match (bearer, plain) {
        (Some(bearer), Some(plain)) if bearer != plain => None,
        (Some(key), _) | (None, Some(key)) => key,
        (None, None) => None,
    }
}

/// The value of a header, if it is there; `None` if there are several that
/// differ: whoever is in front of us may go by another one than we would.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<Option<&'a HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    values.all(|value| Some(value) == first).then_some(first)
}

impl Key {
    fn new(tenant: &TenantId, entry: &KeyEntry) -> Arc<Self> {
        let limiter = |quota: Quota| {
            let rate = Rate::per_second(quota.per_second);
            DefaultDirectRateLimiter::direct(match quota.burst {
                Some(burst) => rate.allow_burst(burst),
                None => rate,
            })
        };
        Arc::new(Self {
            tenant: tenant.clone(),
            calls: entry.calls.map(limiter),
            events: entry.events.map(limiter),
            entry: entry.clone(),
        })
    }
}

/// Takes so many out of a quota, or says how long to wait for them; `Err` if there
/// never are so many at once.
fn taken(limiter: &DefaultDirectRateLimiter, count: NonZeroU32) -> Result<Option<Duration>, ()> {
    match limiter.check_n(count) {
        Ok(Ok(())) => Ok(None),
        Ok(Err(not_until)) => Ok(Some(
            not_until.wait_time_from(DefaultClock::default().now()),
        )),
        Err(_) => Err(()),
    }
}

fn within(limiter: &DefaultDirectRateLimiter, count: NonZeroU32) -> Result<(), ApiError> {
    match taken(limiter, count) {
        Ok(None) => Ok(()),
        Ok(wait) => Err(over_quota(wait)),
        Err(()) => Err(over_quota(None)),
    }
}

fn over_quota(wait: Option<Duration>) -> ApiError {
    meters::refused(Refused::Quota);
    ApiError::over_quota(wait)
}

impl Caller {
    /// Who a request comes from.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Self, ApiError> {
        let caller = request.extensions().get::<Self>();
        caller.cloned().ok_or_else(ApiError::bug)
    }

    /// Takes events out of the caller's quota.
    pub(crate) fn send(&self, events: usize) -> Result<(), ApiError> {
        match self.quota_of(events) {
            Some((limiter, count)) => within(limiter, count),
            None => Ok(()),
        }
    }

    /// Takes events out of the caller's quota as soon as it has so many, if that is
    /// by `deadline`; otherwise the `Ok` says what to tell of them.
    pub(crate) async fn send_when_allowed(
        &self,
        events: usize,
        deadline: Deadline,
    ) -> Result<Option<ApiError>, ApiError> {
        let Some((limiter, count)) = self.quota_of(events) else {
            return Ok(None);
        };
        while let Some(wait) = taken(limiter, count).map_err(|()| over_quota(None))? {
            if wait > deadline.remaining() {
                tokio::time::sleep(deadline.remaining()).await;
                return Ok(Some(over_quota(Some(wait))));
            }
            tokio::time::sleep(wait).await;
        }
        Ok(None)
    }

    fn quota_of(&self, events: usize) -> Option<(&DefaultDirectRateLimiter, NonZeroU32)> {
        let limiter = self.key.as_ref()?.events.as_ref()?;
        let count = u32::try_from(events).ok().and_then(NonZeroU32::new)?;
        Some((limiter, count))
    }
}

/// Puts [`Guarded`] around a service.
#[derive(Clone)]
pub(crate) struct AccessLayer(pub(crate) Arc<Access>);

impl<S> Layer<S> for AccessLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded {
            inner,
            access: Arc::clone(&self.0),
        }
    }
}

/// A service that knows its callers, and lets in only those who may come.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    access: Arc<Access>,
}

impl<S, B> Service<Request<B>> for Guarded<S>
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if !is_free(request.uri().path()) {
            match self.access.admit(request.headers(), request.uri().path()) {
                Ok(caller) => {
                    if let (Some(notes), Some(tenant)) =
                        (request.extensions().get::<Arc<Notes>>(), &caller.tenant)
                    {
                        let _ = notes.tenant.set(tenant.clone());
                    }
                    request.extensions_mut().insert(caller);
                }
                Err(refused) => {
                    let reply = Status::from(refused).into_http();
                    return Box::pin(async move { Ok(reply) });
                }
            }
        }
        Box::pin(self.inner.call(request))
    }
}
