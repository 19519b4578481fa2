//! What a reply costs as a message by its descriptor and as JSON, read from its encoding.

use prost_reflect::{Kind, MessageDescriptor};

use crate::api::{
    connect::value_cost::{ALLOCATION_BYTES, GROWTH, MESSAGE_BYTES, VALUE_BYTES},
    wire::{Malformed, WireValue, next_field},
};

/// The longest number in JSON.
const NUMBER_BYTES: usize = 26;
/// Longest escape of a byte of a text in JSON, such as `\u0001`.
const ESCAPE_BYTES: usize = 6;

/// An upper bound of the memory that an encoded message takes as a message by its
/// descriptor, and its JSON beside it.
///
/// # Errors
/// [`Malformed`] if it is not an encoded message.
pub(super) fn reflected_cost(kind: &MessageDescriptor, message: &[u8]) -> Result<usize, Malformed> {
    let mut bytes = MESSAGE_BYTES;
    let mut rest = message;
    while let Some((number, value)) = next_field(&mut rest)? {
        let Some(field) = kind.get_field(number) else {
            continue;
        };
        let name = GROWTH * (field.json_name().len() + 4);
        bytes += name + element_cost(&field.kind(), &value)?;
    }
    Ok(bytes)
}

fn element_cost(kind: &Kind, value: &WireValue<'_>) -> Result<usize, Malformed> {
    let number = GROWTH * (VALUE_BYTES + NUMBER_BYTES);
    let packed = |bytes: &[u8], least: usize| bytes.len().div_ceil(least) * number;
    Ok(match (kind, value) {
        (_, WireValue::Scalar | WireValue::Group) => number,
        (Kind::Message(inner), WireValue::Bytes(bytes)) => {
            GROWTH * VALUE_BYTES + reflected_cost(inner, bytes)?
        }
        (Kind::String | Kind::Bytes, WireValue::Bytes(text)) => {
            GROWTH * VALUE_BYTES + ALLOCATION_BYTES + text.len() + GROWTH * escaped(text)
        }
        (Kind::Double | Kind::Fixed64 | Kind::Sfixed64, WireValue::Bytes(bytes)) => {
            packed(bytes, 8)
        }
        (Kind::Float | Kind::Fixed32 | Kind::Sfixed32, WireValue::Bytes(bytes)) => packed(bytes, 4),
        (
            Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Bool
            | Kind::Enum(_),
            WireValue::Bytes(bytes),
        ) => packed(bytes, 1),
    })
}

/// The length of a text in JSON.
fn escaped(text: &[u8]) -> usize {
    let is_escaped = |byte: &&u8| **byte < b' ' || **byte == b'"' || **byte == b'\\';
    let escapes = text.iter().filter(is_escaped).count();
    text.len() + escapes * (ESCAPE_BYTES - 1) + 2
}
