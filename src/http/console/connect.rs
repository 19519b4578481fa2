//! Calls of the API by Connect: one JSON message in, one out. The messages are read and
//! written by their descriptors; the call itself passes the layers of the API's port.

use std::{convert::Infallible, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{AUTHORIZATION, CONTENT_TYPE, TE},
};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use serde_json::{Value, json};
use tonic::{Code, Status, body::Body};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use super::reply;
use crate::api::services::FILE_DESCRIPTOR_SET;

/// The API behind all layers of its port.
pub(crate) type ApiService = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>;

/// The calls that the page makes: it only reads.
const METHODS: [&str; 6] = [
    "/recsys.v1.RecommenderService/Recommend",
    "/recsys.v1.RecommenderService/GetUserSignals",
    "/recsys.v1.RecommenderService/GetItemSignals",
    "/recsys.v1.RecommenderService/SimilarItems",
    "/recsys.v1.RecommenderService/PopularItems",
    "/recsys.v1.CatalogService/GetItems",
];
/// Before each gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

static API: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());
static DETAILS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).ok());

/// Whether the page may make this call.
pub(super) fn is_call(path: &str) -> bool {
    METHODS.contains(&path)
}

/// Makes a call with a JSON message and the key of `headers`.
pub(super) async fn call(
    api: ApiService,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Response<Body> {
    let Some(method) = method_at(path) else {
        return reply::error(Code::Unimplemented, "this server has no such call", &[]);
    };
    let message = match read(method.input(), body) {
        Ok(message) => message.encode_to_vec(),
        Err(error) => {
            let text = format!("the request is not a {}: {error}", method.input().name());
            return reply::error(Code::InvalidArgument, &text, &[]);
        }
    };
    let Ok(length) = u32::try_from(message.len()) else {
        return reply::error(Code::ResourceExhausted, "the request is too large", &[]);
    };
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(&message);
    let mut request = Request::new(Full::new(framed.freeze()));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    match path.parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return reply::error(Code::Internal, "internal error", &[]),
    }
    let passed = request.headers_mut();
    passed.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    passed.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(key) = headers.get(AUTHORIZATION) {
        passed.insert(AUTHORIZATION, key.clone());
    }
    let Ok(answer) = api.oneshot(request).await;
    match message_of(answer).await {
        Ok(message) => match write(method.output(), &message) {
            Some(text) => reply::text(StatusCode::OK, text),
            None => reply::error(Code::Internal, "internal error", &[]),
        },
        Err(status) => of_status(&status),
    }
}

fn method_at(path: &str) -> Option<MethodDescriptor> {
    let (service, name) = path.trim_start_matches('/').split_once('/')?;
    let service = API.as_ref()?.get_service_by_name(service)?;
    service.methods().find(|method| method.name() == name)
}

fn read(kind: MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let message = DynamicMessage::deserialize(kind, &mut reader)?;
    reader.end()?;
    Ok(message)
}

fn write(kind: MessageDescriptor, bytes: &[u8]) -> Option<String> {
    let message = DynamicMessage::decode(kind, bytes).ok()?;
    let mut text = Vec::new();
    let mut writer = serde_json::Serializer::new(&mut text);
    message
        .serialize_with_options(&mut writer, &SerializeOptions::new())
        .ok()?;
    String::from_utf8(text).ok()
}

/// The message of a gRPC reply, or its status.
async fn message_of(answer: Response<Body>) -> Result<Bytes, Status> {
    let (parts, body) = answer.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers)
        && status.code() != Code::Ok
    {
        return Err(status);
    }
    let body = body.collect().await?;
    let status = body.trailers().and_then(Status::from_header_map);
    let mut bytes = body.to_bytes();
    match status {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ if bytes.len() >= PREFIX_BYTES => Ok(bytes.split_off(PREFIX_BYTES)),
        _ => Err(Status::internal("internal error")),
    }
}

/// Writes a status as Connect's error, with its details.
pub(super) fn of_status(status: &Status) -> Response<Body> {
    let details = tonic_types::pb::Status::decode(status.details()).unwrap_or_default();
    let details: Vec<Value> = details.details.iter().map(detail).collect();
    reply::error(status.code(), status.message(), &details)
}

/// A detail as Connect writes it: its type, its bytes, and what they say.
fn detail(any: &prost_types::Any) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let mut shown = json!({"type": name, "value": BASE64_STANDARD_NO_PAD.encode(&any.value)});
    let pool = DETAILS.as_ref();
    if let Some(kind) = pool.and_then(|pool| pool.get_message_by_name(name))
        && let Some(text) = write(kind, &any.value)
        && let Ok(debug) = serde_json::from_str::<Value>(&text)
    {
        shown["debug"] = debug;
    }
    shown
}
