//! The key or secret of a delivery.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use crate::edge::{
    access::{presented_key, single},
    tenants::SharedSecret,
};

/// The header of the secret.
const SECRET: &str = "x-webhook-secret";
const BASIC: &str = "Basic ";

/// Rewrites basic authentication as a bearer key, which is the password or, if that is
/// empty, the user name. The edge then reads keys in one way only.
pub(crate) fn basic_to_bearer(headers: &mut HeaderMap) {
    let given = headers.get_all(AUTHORIZATION).iter();
    let rewritten: Vec<HeaderValue> = given
        .map(|value| bearer(value).unwrap_or_else(|| value.clone()))
        .collect();
    headers.remove(AUTHORIZATION);
    for value in rewritten {
        headers.append(AUTHORIZATION, value);
    }
}

fn bearer(value: &HeaderValue) -> Option<HeaderValue> {
    let (scheme, code) = value.to_str().ok()?.split_at_checked(BASIC.len())?;
    if !scheme.eq_ignore_ascii_case(BASIC) {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(code.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    let key = if password.is_empty() { user } else { password };
    format!("Bearer {key}").try_into().ok()
}

/// Whether the headers have the secret, in its own header or where a key may be. Two
/// different ones count as none.
pub(crate) fn has_secret(headers: &HeaderMap, secret: &SharedSecret) -> bool {
    let own = match single(headers, SECRET) {
        None => return false,
        Some(own) => own.map(|value| value.to_str().unwrap_or_default()),
    };
    match (own, presented_key(headers)) {
        (Some(own), Some(key)) if own != key => false,
        (Some(text), _) | (None, Some(text)) => secret.matches(text),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use http::{HeaderMap, HeaderName};

    use super::{basic_to_bearer, has_secret};
    use crate::edge::{access::presented_key, tenants::SharedSecret};

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers: HeaderMap = given
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        basic_to_bearer(&mut headers);
        headers
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }

    #[test]
    fn the_key_of_basic_authentication_is_the_password_or_the_user_name() {
        for (pair, key) in [
            ("shop:rsk_1", Some("rsk_1")),
            ("rsk_1:", Some("rsk_1")),
            (":rsk_1", Some("rsk_1")),
            ("rsk_1:a:b", Some("a:b")),
            ("rsk_1", None),
            (":", Some("")),
        ] {
            let headers = headers(&[("authorization", &basic(pair))]);
            assert_eq!(presented_key(&headers), key, "{pair}");
        }
        for malformed in ["Basic", "Basic ", "Basic !", "Basic AA==", "Digest x"] {
            let headers = headers(&[("authorization", malformed)]);
            assert_eq!(presented_key(&headers), None, "{malformed}");
        }
    }

    #[test]
    fn the_secret_is_read_from_its_header_or_from_where_a_key_may_be() {
        let secret = SharedSecret::new("s");
        for good in [
            &[("x-webhook-secret", "s")][..],
            &[("authorization", "Bearer s")],
            &[("authorization", &basic("rudderstack:s"))],
            &[("authorization", &basic("s:"))],
            &[("x-api-key", "s")],
            &[("x-webhook-secret", "s"), ("x-webhook-secret", "s")],
            &[("x-webhook-secret", "s"), ("x-api-key", "s")],
        ] {
            assert!(has_secret(&headers(good), &secret), "{good:?}");
        }
        for bad in [
            &[][..],
            &[("x-webhook-secret", "S")],
            &[("x-webhook-secret", "")],
            &[("authorization", "s")],
            &[("authorization", &basic("s:x"))],
            &[("x-webhook-secret", "s"), ("x-webhook-secret", "x")],
            &[("x-webhook-secret", "s"), ("x-api-key", "x")],
            &[("authorization", "Bearer s"), ("authorization", "Bearer x")],
        ] {
            assert!(!has_secret(&headers(bad), &secret), "{bad:?}");
        }
    }
}
