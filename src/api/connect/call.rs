//! What the outermost layer has read of a call's headers.

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Protobuf,
}

impl Format {
    /// The format of a content type, whose parameters do not matter.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let (name, _) = content_type.split_once(';').unwrap_or((content_type, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/proto" => Some(Self::Protobuf),
            _ => None,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/proto",
        }
    }
}

/// A call by Connect: an extension of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectCall {
    pub(super) format: Format,
    /// Whether the request is compressed with gzip.
    pub(super) gzip_request: bool,
    /// Whether the client takes a reply compressed with gzip.
    pub(super) gzip_reply: bool,
}
