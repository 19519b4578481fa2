//! Where a request comes from: the console's page alone may ask.

use std::net::IpAddr;

use http::{
    HeaderMap, Request,
    header::{CONTENT_TYPE, HOST, ORIGIN},
};

use crate::edge::access::single;

/// Checks the host that a request names. Without keys it must be this machine by name, or
/// an address: a name of another site could have been pointed here (DNS rebinding).
///
/// # Errors
/// What is wrong.
pub(super) fn check_host<B>(request: &Request<B>, is_keyed: bool) -> Result<(), &'static str> {
    let host = host_of(request).ok_or("the request names no host")?;
    let name = name_of(host);
    let is_address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
        .is_ok();
    if is_keyed || is_address || name.eq_ignore_ascii_case("localhost") {
        Ok(())
    } else {
        Err("without keys the console is reached by localhost or an address")
    }
}

/// Whether a request comes from a page of its own host, as far as the browser says.
pub(super) fn is_same<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let same_site = match text(headers, "sec-fetch-site") {
        Ok(site) => site.is_none_or(|site| site == "same-origin"),
        Err(()) => false,
    };
    let same_host = match text(headers, ORIGIN.as_str()) {
        Ok(None) => true,
        Ok(Some(origin)) => origin.split_once("://").is_some_and(|(_, host)| {
            host_of(request).is_some_and(|own| own.eq_ignore_ascii_case(host))
        }),
        Err(()) => false,
    };
    same_site && same_host
}

/// Whether the body is said to be JSON, which forms of other sites cannot send.
pub(super) fn is_json<B>(request: &Request<B>) -> bool {
    let kind = text(request.headers(), CONTENT_TYPE.as_str());
    kind.is_ok_and(|kind| {
        kind.and_then(|kind| kind.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    })
}

fn host_of<B>(request: &Request<B>) -> Option<&str> {
    let of_uri = request.uri().authority().map(http::uri::Authority::as_str);
    match text(request.headers(), HOST.as_str()) {
        Ok(host) => of_uri.or(host),
        Err(()) => None,
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// The text of a header. An error if it is repeated or no text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    match single(headers, name) {
        Some(None) => Ok(None),
        Some(Some(value)) => value.to_str().map(Some).map_err(|_| ()),
        None => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{check_host, is_json, is_same};

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/console/session");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn without_keys_only_this_machine_is_a_host() {
        for host in [
            "localhost",
            "localhost:50080",
            "127.0.0.1:50080",
            "[::1]:50080",
            "10.1.2.3",
        ] {
            assert_eq!(
                check_host(&request(&[("host", host)]), false),
                Ok(()),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "localhost.evil.example:50080",
            "127.0.0.1.nip.io",
            "",
        ] {
            assert!(
                check_host(&request(&[("host", host)]), false).is_err(),
                "{host}"
            );
        }
        assert!(check_host(&request(&[]), true).is_err());
        assert!(check_host(&request(&[("host", "a"), ("host", "b")]), true).is_err());
        assert_eq!(
            check_host(&request(&[("host", "lists.example")]), true),
            Ok(())
        );
    }

    #[test]
    fn requests_of_other_sites_are_known() {
        let own = ("host", "127.0.0.1:50080");
        for good in [
            vec![own],
            vec![own, ("origin", "http://127.0.0.1:50080")],
            vec![own, ("sec-fetch-site", "same-origin")],
        ] {
            assert!(is_same(&request(&good)), "{good:?}");
        }
        for bad in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!is_same(&request(&[own, bad])), "{bad:?}");
        }
    }

    #[test]
    fn forms_are_not_json() {
        assert!(is_json(&request(&[(
            "content-type",
            "application/json; charset=utf-8"
        )])));
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
        ] {
            assert!(!is_json(&request(&[("content-type", kind)])), "{kind}");
        }
        assert!(!is_json(&request(&[])));
    }
}
