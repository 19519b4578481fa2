//! Sessions: a key is exchanged for a cookie that scripts cannot read.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};

const COOKIE_NAME: &str = "recsys_console";
/// How long a session lasts.
const MAX_AGE: Duration = Duration::from_secs(12 * 3_600);
/// Sessions without a request for this long are over.
const MAX_IDLE: Duration = Duration::from_secs(3_600);
/// Most sessions at a time: each has been entered with a key.
const MAX_SESSIONS: usize = 1_000;
/// Log-ins that can follow each other at once, and the time after which one more can.
const LOGIN_BURST: u32 = 10;
const LOGIN_EVERY: Duration = Duration::from_secs(3);

type Digest = Vec<u8>;

struct Session {
    /// The header with which its calls are made.
    authorization: HeaderValue,
    tenant: Option<String>,
    began: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.began) > MAX_AGE || now.duration_since(self.used) > MAX_IDLE
    }
}

/// The sessions of a process. They end with it.
pub(super) struct Sessions {
    /// By the digest of their secret.
    open: Mutex<HashMap<Digest, Session>>,
    logins: Mutex<Logins>,
    random: SystemRandom,
}

struct Logins {
    left: u32,
    since: Instant,
}

impl Sessions {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            open: Mutex::default(),
            logins: Mutex::new(Logins {
                left: LOGIN_BURST,
                since: now,
            }),
            random: SystemRandom::new(),
        }
    }

    /// Counts a try to log in.
    ///
    /// # Errors
    /// How long to wait, if there were too many.
    pub(super) fn try_login(&self, now: Instant) -> Result<(), Duration> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.duration_since(logins.since);
        let more = passed.as_secs() / LOGIN_EVERY.as_secs();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(LOGIN_BURST);
            logins.left = logins.left.saturating_add(more).min(LOGIN_BURST);
            logins.since = now;
        }
        if logins.left == 0 {
            return Err(LOGIN_EVERY.saturating_sub(passed));
        }
        logins.left -= 1;
        Ok(())
    }

    /// Opens a session whose calls have this header. Returns its cookie; `None` if there
    /// are too many sessions, or no random numbers.
    pub(super) fn open(
        &self,
        authorization: HeaderValue,
        tenant: Option<String>,
        is_tls: bool,
        now: Instant,
    ) -> Option<HeaderValue> {
        let mut secret = [0; 32];
        self.random.fill(&mut secret).ok()?;
        let secret = BASE64_URL_SAFE_NO_PAD.encode(secret);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| !session.is_over(now));
        if open.len() >= MAX_SESSIONS {
            return None;
        }
        let session = Session {
            authorization,
            tenant,
            began: now,
            used: now,
        };
        open.insert(digest_of(&secret), session);
        cookie(&secret, MAX_AGE.as_secs(), is_tls)
    }

    /// The header of the session that a request belongs to, and its tenant.
    pub(super) fn of(
        &self,
        headers: &HeaderMap,
        now: Instant,
    ) -> Option<(HeaderValue, Option<String>)> {
        let key = digest_of(secret_of(headers)?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(&key)?;
        if session.is_over(now) {
            open.remove(&key);
            return None;
        }
        session.used = now;
        Some((session.authorization.clone(), session.tenant.clone()))
    }

    /// Ends the session that a request belongs to. Returns the cookie that removes it
    /// from the browser.
    pub(super) fn close(&self, headers: &HeaderMap, is_tls: bool) -> Option<HeaderValue> {
        if let Some(secret) = secret_of(headers) {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.remove(&digest_of(secret));
        }
        cookie("", 0, is_tls)
    }
}

fn digest_of(secret: &str) -> Digest {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

fn cookie(secret: &str, max_age_seconds: u64, is_tls: bool) -> Option<HeaderValue> {
    let secure = if is_tls { "; Secure" } else { "" };
    let mut cookie = HeaderValue::from_str(&format!(
        "{COOKIE_NAME}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age_seconds}{secure}"
    ))
    .ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

fn secret_of(headers: &HeaderMap) -> Option<&str> {
    let mut cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    cookies.find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE_NAME && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::{HeaderMap, HeaderValue, header::COOKIE};

    use super::{LOGIN_BURST, LOGIN_EVERY, MAX_AGE, MAX_IDLE, Sessions};

    fn with_cookie(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("other=1; {pair}").parse().unwrap());
        headers
    }

    fn opened(sessions: &Sessions, now: Instant) -> HeaderValue {
        let key = HeaderValue::from_static("Bearer key");
        sessions
            .open(key, Some("shop".to_owned()), false, now)
            .unwrap()
    }

    #[test]
    fn a_session_is_found_by_its_cookie_until_it_is_closed() {
        let now = Instant::now();
        let sessions = Sessions::new(now);
        let cookie = opened(&sessions, now);
        let headers = with_cookie(&cookie);
        let (key, tenant) = sessions.of(&headers, now).unwrap();
        assert_eq!(key, "Bearer key");
        assert_eq!(tenant.as_deref(), Some("shop"));
        sessions.close(&headers, false);
        assert!(sessions.of(&headers, now).is_none());
    }

    #[test]
    fn scripts_and_other_sites_cannot_use_the_cookie() {
        let now = Instant::now();
        let cookie = opened(&Sessions::new(now), now);
        let text = cookie.to_str().unwrap();
        assert!(text.contains("; HttpOnly; SameSite=Strict;"), "{text}");
        assert!(!text.contains("key"), "{text}");
    }

    #[test]
    fn a_session_ends_when_it_is_idle_or_old() {
        let now = Instant::now();
        let sessions = Sessions::new(now);
        let headers = with_cookie(&opened(&sessions, now));
        let idle = now + MAX_IDLE + Duration::from_secs(1);
        assert!(sessions.of(&headers, idle).is_none());

        let headers = with_cookie(&opened(&sessions, now));
        let mut time = now;
        while time < now + MAX_AGE - MAX_IDLE {
            time += MAX_IDLE / 2;
            assert!(sessions.of(&headers, time).is_some());
        }
        assert!(
            sessions
                .of(&headers, now + MAX_AGE + Duration::from_secs(1))
                .is_none()
        );
    }

    #[test]
    fn tries_to_log_in_are_limited() {
        let now = Instant::now();
        let sessions = Sessions::new(now);
        for _ in 0..LOGIN_BURST {
            assert!(sessions.try_login(now).is_ok());
        }
        assert_eq!(sessions.try_login(now), Err(LOGIN_EVERY));
        assert!(sessions.try_login(now + LOGIN_EVERY).is_ok());
        assert!(sessions.try_login(now + LOGIN_EVERY).is_err());
    }
}
