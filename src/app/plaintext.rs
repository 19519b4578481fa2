//! Whether traffic to a store crosses public networks in plaintext.

use std::net::{IpAddr, Ipv6Addr};

/// URL schemes of the stores that have no TLS.
const PLAINTEXT_SCHEMES: [&str; 3] = ["redis", "valkey", "http"];
/// Suffixes of names that only private networks resolve.
const PRIVATE_SUFFIXES: [&str; 4] = [".local", ".internal", ".svc", ".localhost"];

/// Whether a URL names a host outside private networks, without TLS. Of several
/// nodes, separated by commas, one is enough. Names are judged by their form and not
/// resolved.
#[must_use]
pub fn is_public_plaintext(url: &str) -> bool {
    // Nodes without a scheme have that of the first node.
    let shared = scheme(url);
    url.split(',').map(str::trim).any(|node| {
        let scheme = scheme(node).or(shared).unwrap_or_default();
        let plain = PLAINTEXT_SCHEMES
            .iter()
            .any(|plain| plain.eq_ignore_ascii_case(scheme));
        plain && !is_private(host(node))
    })
}

fn scheme(url: &str) -> Option<&str> {
    url.trim().split_once("://").map(|(scheme, _)| scheme)
}

/// The host of a URL or of a bare `host:port`.
fn host(node: &str) -> &str {
    let rest = node.split_once("://").map_or(node, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    match address.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => address.split(':').next().unwrap_or_default(),
    }
}

fn is_private(host: &str) -> bool {
    // A zone, as in fe80::1%eth0, is not part of the address.
    let address = host.split('%').next().unwrap_or_default();
    if let Ok(address) = address.parse::<IpAddr>() {
        return is_private_address(address.to_canonical());
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    !name.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn is_private_address(address: IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            // Carrier-grade NAT: 100.64.0.0/10 (RFC 6598).
            let is_shared = first == 100 && second & 0b1100_0000 == 64;
            v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => is_unique_local(v6) || v6.is_unicast_link_local(),
    }
}

/// In `fc00::/7`.
fn is_unique_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xfe00 == 0xfc00
}

#[cfg(test)]
mod tests {
    use super::{host, is_private, is_public_plaintext};

    #[test]
    fn private_and_public_hosts_are_distinguished() {
        for private in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "redis",
            "redis-master",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fe80::1%eth0",
            "febf::1",
            "::ffff:10.0.0.1",
            "redis.local",
            "db.corp.internal",
            "redis.default.svc",
            "Redis.Default.SVC.Cluster.Local",
            "redis.local.",
        ] {
            assert!(is_private(private), "{private}");
        }
        for public in [
            "redis.example.com",
            "example.com.",
            "8.8.8.8",
            "11.0.0.1",
            "9.255.255.255",
            "172.15.255.255",
            "172.32.0.1",
            "192.167.255.255",
            "192.169.0.1",
            "169.253.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "2001:db8::1",
            "fbff::1",
            "fe00::1",
            "fec0::1",
            "::ffff:8.8.8.8",
            "notlocal.com",
            "local.example.com",
            "svc.example",
            "xlocal.x",
            "10.0.0.1.example.com",
        ] {
            assert!(!is_private(public), "{public}");
        }
    }

    #[test]
    fn the_host_of_a_url_is_found() {
        for (url, expected) in [
            ("redis://h", "h"),
            ("redis://h:6379/0", "h"),
            ("redis://u:p@h:1/2?protocol=resp3", "h"),
            ("redis://:p@10.0.0.1@h", "h"),
            ("http://[fd00::1]:6334/x@y", "fd00::1"),
            ("http://[::1]", "::1"),
            ("h:6379", "h"),
            ("u:p@h", "h"),
            ("http://h?x=@other", "h"),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }

    #[test]
    fn only_public_hosts_without_tls_count() {
        for plaintext in [
            "redis://redis.example.com",
            "REDIS://:secret@redis.example.com:6379/0",
            "valkey://redis.example.com",
            "redis://10.0.0.1:1,redis.example.com:1",
            "redis://redis.example.com:1,10.0.0.1:1",
            "redis://10.0.0.1@redis.example.com",
            "http://qdrant.example.com:6333",
            " http://8.8.8.8",
        ] {
            assert!(is_public_plaintext(plaintext), "{plaintext}");
        }
        for other in [
            "rediss://redis.example.com",
            "rediss://a.example.com,b.example.com",
            "rediss://a.example.com,redis://10.0.0.1,b.example.com",
            "https://qdrant.example.com",
            "redis://localhost:6379",
            "redis://:p%2Cq@10.0.0.1:1,redis-2:1",
            "unix:///run/redis.example.sock",
            "redis+unix:///run/redis.example.sock",
            "http://qdrant:6333",
            "http://qdrant.default.svc.cluster.local:6333",
            "",
        ] {
            assert!(!is_public_plaintext(other), "{other}");
        }
    }
}
