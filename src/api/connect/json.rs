//! Messages as canonical proto JSON, by their descriptors.

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use tonic::Status;

use crate::{
    api::{
        connect::{
            encoding::reserve, faults::faults, json_cost::json_cost,
            reflected_cost::reflected_cost, unique_names::repeated_name,
        },
        error::{ApiError, Violation},
    },
    edge::load::Account,
    proto::FILE_DESCRIPTOR_SET,
};

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
    if let Some(field) = repeated_name(Some(&kind), text) {
        let rule = "is given more than once".to_owned();
        return Err(ApiError::invalid(vec![Violation { field, rule }], 1).into());
    }
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
    let undecodable = |problem: &str, error: &serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        // Neither parser has another sign of it.
        let is_too_deep = error.to_string().contains("recursion limit");
        let problem = if is_too_deep {
            "nested too deeply"
        } else {
            problem
        };
        let cause = format!("the request is {problem}: see line {line}, column {column}");
        ApiError::undecodable(&cause).into()
    };
    let value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(error) => return undecodable("not valid JSON", &error),
    };
    let violations = faults(kind, &value);
    if violations.is_empty() {
        return undecodable(&format!("not a valid {}", kind.name()), error);
    }
    let all = violations.len();
    ApiError::invalid(violations, all).into()
}

/// Reads a message from JSON, whose memory is reserved.
///
/// # Errors
/// As of a call with this JSON.
pub(crate) fn read_message<M: Message + Name + Default>(
    text: &[u8],
    account: Option<&Account>,
) -> Result<M, Status> {
    let encoded = encode(kind_of::<M>()?, text, 0, account)?;
    let message = M::decode(&*encoded);
    Ok(message.map_err(|error| ApiError::undecodable(&error.to_string()))?)
}

/// Writes a message as JSON, whose memory is reserved.
///
/// # Errors
/// As of a call with this reply.
pub(crate) fn write_message<M: Message + Name>(
    message: &M,
    account: Option<&Account>,
) -> Result<Bytes, Status> {
    let encoded = message.encode_to_vec().into();
    Ok(write(kind_of::<M>()?, encoded, account)?.into())
}

fn kind_of<M: Name>() -> Result<MessageDescriptor, Status> {
    let kind = API
        .as_ref()
        .and_then(|api| api.get_message_by_name(&M::full_name()));
    kind.ok_or_else(|| Status::internal("internal error"))
}

/// Writes an encoded message as JSON.
pub(super) fn write(
    kind: MessageDescriptor,
    encoded: Bytes,
    account: Option<&Account>,
) -> Result<Vec<u8>, Status> {
    let cost = reflected_cost(&kind, &encoded).map_err(|_| Status::internal("internal error"))?;
    reserve(account, cost)?;
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

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::{kind_of, reflected_cost};
    use crate::{
        api::connect::value_cost::VALUE_BYTES,
        proto::{GetItemsResponse, Item, Tag},
    };

    fn cost(items: Vec<Item>) -> (usize, usize) {
        let reply = GetItemsResponse {
            items,
            ..GetItemsResponse::default()
        };
        let kind = kind_of::<GetItemsResponse>().unwrap();
        let encoded = reply.encode_to_vec();
        (encoded.len(), reflected_cost(&kind, &encoded).unwrap())
    }

    #[test]
    fn texts_of_a_reply_cost_a_few_times_their_bytes_and_small_elements_their_values() {
        let text = Item {
            text: "x".repeat(1 << 20),
            ..Item::default()
        };
        let (bytes, reserved) = cost(vec![text]);
        assert!(4 * bytes <= reserved && reserved < 5 * bytes, "{reserved}");
        let vector = Item {
            vector: vec![0.5; 10_000],
            ..Item::default()
        };
        let (_, reserved) = cost(vec![vector]);
        assert!(reserved > 10_000 * 2 * VALUE_BYTES, "{reserved}");
        let tag = |number: usize| Tag {
            label: number.to_string(),
            ..Tag::default()
        };
        let tags = Item {
            tags: (0..200).map(tag).collect(),
            ..Item::default()
        };
        let (_, reserved) = cost(vec![tags]);
        assert!(reserved > 200 * 11 * VALUE_BYTES, "{reserved}");
    }
}
