//! What a delivery shows to be let in.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use crate::edge::{
    access::{presented, single},
    tenants::SharedSecret,
};

/// The header of a secret.
const SECRET: &str = "x-webhook-secret";
const BASIC: &str = "Basic ";

/// Spells basic authentication as the key in it: the password or, if that is
/// empty, the user name. Then there is one way to look for a key.
pub(crate) fn spell_basic_as_bearer(headers: &mut HeaderMap) {
    let given = headers.get_all(AUTHORIZATION).iter();
    let spelled: Vec<HeaderValue> = given
        .map(|value| bearer(value).unwrap_or_else(|| value.clone()))
        .collect();
    headers.remove(AUTHORIZATION);
    for value in spelled {
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

/// Whether the headers carry the secret, in a header of its own or wherever a
/// key may stand. Of two that differ neither counts.
pub(crate) fn carries(headers: &HeaderMap, secret: &SharedSecret) -> bool {
    let own = match single(headers, SECRET) {
        None => return false,
        Some(own) => own.map(|value| value.to_str().unwrap_or_default()),
    };
    match (own, presented(headers)) {
        (Some(own), Some(key)) if own != key => false,
        (Some(text), _) | (None, Some(text)) => secret.is(text),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use http::{HeaderMap, HeaderName};

    use super::{carries, spell_basic_as_bearer};
    use crate::edge::{access::presented, tenants::SharedSecret};

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers: HeaderMap = given
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        spell_basic_as_bearer(&mut headers);
        headers
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }

    #[test]
    fn the_key_of_basic_authentication_is_the_password_or_else_the_user_name() {
        for (pair, key) in [
            ("shop:rsk_1", Some("rsk_1")),
            ("rsk_1:", Some("rsk_1")),
            (":rsk_1", Some("rsk_1")),
            ("rsk_1:a:b", Some("a:b")),
            ("rsk_1", None),
            (":", Some("")),
        ] {
            let headers = headers(&[("authorization", &basic(pair))]);
            assert_eq!(presented(&headers), key, "{pair}");
        }
        for rubbish in ["Basic", "Basic ", "Basic !", "Basic AA==", "Digest x"] {
            let headers = headers(&[("authorization", rubbish)]);
            assert_eq!(presented(&headers), None, "{rubbish}");
        }
    }

    #[test]
    fn the_secret_counts_in_its_header_and_wherever_a_key_may_stand() {
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
            assert!(carries(&headers(good), &secret), "{good:?}");
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
            assert!(!carries(&headers(bad), &secret), "{bad:?}");
        }
    }
}
