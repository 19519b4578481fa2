//! The page's files, embedded in the binary.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use tonic::body::Body;
use xxhash_rust::xxh3::xxh3_64;

use super::reply;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page.
pub(super) struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $content_type:expr, $file:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            bytes: include_bytes!(concat!("assets/", $file)),
        }
    };
}

static ASSETS: [Asset; 17] = [
    asset!("/", HTML, "index.html"),
    asset!("/console.css", CSS, "console.css"),
    asset!("/api.js", SCRIPT, "api.js"),
    asset!("/app.js", SCRIPT, "app.js"),
    asset!("/dom.js", SCRIPT, "dom.js"),
    asset!("/history.js", SCRIPT, "history.js"),
    asset!("/item-list.js", SCRIPT, "item-list.js"),
    asset!("/parts.js", SCRIPT, "parts.js"),
    asset!("/request-form.js", SCRIPT, "request-form.js"),
    asset!("/state.js", SCRIPT, "state.js"),
    asset!("/view-data.js", SCRIPT, "view-data.js"),
    asset!("/view-health.js", SCRIPT, "view-health.js"),
    asset!("/view-item.js", SCRIPT, "view-item.js"),
    asset!("/view-login.js", SCRIPT, "view-login.js"),
    asset!("/view-ranking.js", SCRIPT, "view-ranking.js"),
    asset!("/view-results.js", SCRIPT, "view-results.js"),
    asset!("/view-user.js", SCRIPT, "view-user.js"),
];

impl Asset {
    /// The file at a path.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.path == path)
    }

    /// The file, or 304 if the browser has it.
    pub(super) fn reply(&self, headers: &HeaderMap) -> Response<Body> {
        let tag = format!("\"{:016x}\"", xxh3_64(self.bytes));
        let is_known = headers
            .get(IF_NONE_MATCH)
            .is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut reply = if is_known {
            reply::bytes(StatusCode::NOT_MODIFIED, &[])
        } else {
            reply::bytes(StatusCode::OK, self.bytes)
        };
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        // A new version is seen at the next load.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, tag);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::ASSETS;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/console/assets");
        let files: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served = ASSETS.iter().map(|asset| match asset.path {
            "/" => "index.html".to_owned(),
            path => path.trim_start_matches('/').to_owned(),
        });
        assert_eq!(served.collect::<BTreeSet<_>>(), files);
    }

    #[test]
    fn the_page_is_small() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(bytes <= 120 * 1_024, "{bytes} bytes");
    }

    #[test]
    fn the_page_has_no_inline_script_or_style() {
        let html = ASSETS.iter().find(|asset| asset.path == "/").unwrap();
        let html = std::str::from_utf8(html.bytes).unwrap();
        for forbidden in [
            "<style",
            " style=",
            " onclick=",
            " onload=",
            "<script>",
            "javascript:",
        ] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for asset in &ASSETS {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", asset.path);
            }
        }
    }
}
