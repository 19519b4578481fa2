//! Settings of calls from browser pages, by gRPC-Web.

use std::{fmt, str::FromStr};

use http::HeaderValue;

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
    /// All.
    Any,
    /// These, as the `origin` header has them.
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

/// An origin as browsers write it: lower case, without a path.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let invalid = || {
        format!("{text:?} is no origin: give scheme://host or scheme://host:port, in small letters")
    };
    let (scheme, host) = text.split_once("://").ok_or_else(invalid)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    let has_path = host.contains(['/', '?', '#', '@', '*']);
    if scheme.is_empty() || host.is_empty() || has_path || !text.bytes().all(plain) {
        return Err(invalid());
    }
    HeaderValue::from_str(text).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::Origins;

    #[test]
    fn origins_are_accepted_as_browsers_write_them() {
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
        for invalid in [
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
            let refused = invalid.parse::<Origins>().unwrap_err();
            assert!(refused.contains("is no origin"), "{invalid}: {refused}");
        }
    }
}
