//! Messages as canonical proto JSON, by their descriptors.

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use tonic::Status;

use crate::{
    api::{
        connect::{encoding::reserve, faults::faults, json_cost::json_cost},
        error::ApiError,
    },
    edge::load::Account,
    proto::FILE_DESCRIPTOR_SET,
};

/// What a message in memory and its JSON take for each byte of its encoding: a number of
/// one byte is a value of 56 bytes.
const REPLY_FACTOR: usize = 16;

static API: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());
static DETAILS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).ok());

/// The method at a path of the API.
pub(super) fn method(path: &str) -> Option<MethodDescriptor> {
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    let service = API.as_ref()?.get_service_by_name(service)?;
    service.methods().find(|method| method.name() == name)
}

/// Encodes the message of a JSON text, after `prefix`. Its memory is reserved before it is
/// built.
///
/// # Errors
/// INVALID_ARGUMENT with the fields that are wrong.
pub(super) fn encode(
    kind: MessageDescriptor,
    text: &[u8],
    prefix: usize,
    account: Option<&Account>,
) -> Result<Vec<u8>, Status> {
    let cost = json_cost(text);
    reserve(account, cost)?;
    let mut reader = serde_json::Deserializer::from_slice(text);
    let message = DynamicMessage::deserialize(kind.clone(), &mut reader)
        .and_then(|message| reader.end().map(|()| message));
    let message = match message {
        Ok(message) => message,
        Err(error) => return Err(refused(&kind, text, &error)),
    };
    let mut encoded = Vec::with_capacity(prefix + message.encoded_len());
    encoded.put_bytes(0, prefix);
    message
        .encode(&mut encoded)
        .map_err(|error| ApiError::internal(&error))?;
    drop(message);
    if let Some(account) = account {
        account.release(cost.saturating_sub(encoded.capacity()));
    }
    Ok(encoded)
}

/// Says what is wrong with a text that is not a message of this kind.
fn refused(kind: &MessageDescriptor, text: &[u8], error: &serde_json::Error) -> Status {
    let (line, column) = (error.line(), error.column());
    let Ok(value) = serde_json::from_slice(text) else {
        let cause = format!("the request is not valid JSON: see line {line}, column {column}");
        return ApiError::undecodable(&cause).into();
    };
    let violations = faults(kind, &value);
    if violations.is_empty() {
        let name = kind.name();
        let cause = format!("the request is not a {name}: see line {line}, column {column}");
        return ApiError::undecodable(&cause).into();
    }
    let all = violations.len();
    ApiError::invalid(violations, all).into()
}

/// Writes an encoded message as JSON.
pub(super) fn write(
    kind: MessageDescriptor,
    encoded: Bytes,
    account: Option<&Account>,
) -> Result<Vec<u8>, Status> {
    reserve(account, REPLY_FACTOR * encoded.len())?;
    let message =
        DynamicMessage::decode(kind, encoded).map_err(|error| ApiError::internal(&error))?;
    Ok(serde_json::to_vec(&message).map_err(|error| ApiError::internal(&error))?)
}

/// The detail of an error as JSON, if its type is one of gRPC's.
pub(super) fn of_detail(name: &str, encoded: &[u8]) -> Option<serde_json::Value> {
    let kind = DETAILS.as_ref()?.get_message_by_name(name)?;
    let message = DynamicMessage::decode(kind, encoded).ok()?;
    serde_json::to_value(&message).ok()
}
