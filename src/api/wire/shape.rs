//! The shapes of messages, from their descriptors: which fields repeat, and how much
//! memory a value takes once it is decoded.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// A `String`, a `Vec` or a map.
pub(super) const HANDLE_BYTES: usize = 24;
/// The largest scalar.
const SCALAR_BYTES: usize = 8;
/// What an `Option` adds to its value.
const OPTION_BYTES: usize = 8;
/// Deepest nesting of messages that are stored in their parent. Beyond it a message is a
/// pointer.
const MAX_INLINE_DEPTH: usize = 16;

/// The shapes of all messages, by full name.
pub(crate) struct Shapes {
    by_name: HashMap<String, usize>,
    shapes: Vec<Shape>,
}

/// The shape of a message.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// Memory of the message itself, without what its fields point to. An upper bound.
    pub(super) bytes: usize,
    /// The fields that hold memory of their own, in the order of the descriptor.
    pub(crate) fields: Vec<FieldShape>,
}

/// The shape of a field that holds memory of its own.
#[derive(Debug)]
pub(crate) struct FieldShape {
    pub(crate) name: String,
    pub(super) number: u32,
    pub(super) kind: FieldKind,
}

/// How a field is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// A text or bytes.
    Text,
    /// A message, by the index of its shape.
    Message(usize),
    /// Texts or bytes.
    Texts,
    /// Messages.
    Messages(usize),
    /// A map, by the shape of its entries.
    Map(usize),
    /// Scalars, packed or not.
    Scalars {
        /// Memory of one.
        size: usize,
        /// The least bytes of one on the wire.
        least: usize,
    },
}

impl Shapes {
    /// The shapes of the messages of an encoded descriptor set. Messages whose names are
    /// not found, which a valid set has none of, are taken as texts.
    pub(crate) fn of(descriptors: &[u8]) -> Self {
        let set = FileDescriptorSet::decode(descriptors).unwrap_or_default();
        let mut messages = Vec::new();
        for file in &set.file {
            for message in &file.message_type {
                collect(file.package(), message, &mut messages);
            }
        }
        let by_name: HashMap<String, usize> = messages
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.clone(), index))
            .collect();
        let descriptors: Vec<&DescriptorProto> =
            messages.iter().map(|(_, message)| *message).collect();
        let shapes = (0..descriptors.len())
            .map(|index| Shape {
                bytes: message_bytes(&by_name, &descriptors, index, 0),
                fields: descriptors[index]
                    .field
                    .iter()
                    .filter_map(|field| field_shape(&by_name, &descriptors, field))
                    .collect(),
            })
            .collect();
        Self { by_name, shapes }
    }

    /// The shape of a message with this full name.
    pub(crate) fn named(&self, name: &str) -> Option<&Shape> {
        self.shapes.get(*self.by_name.get(name)?)
    }

    pub(super) fn at(&self, index: usize) -> Option<&Shape> {
        self.shapes.get(index)
    }
}

/// Adds a message and those nested in it, by full name.
fn collect<'a>(
    scope: &str,
    message: &'a DescriptorProto,
    messages: &mut Vec<(String, &'a DescriptorProto)>,
) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, messages);
    }
    messages.push((name, message));
}

/// The index of the message that a field holds.
fn message_of(by_name: &HashMap<String, usize>, field: &FieldDescriptorProto) -> Option<usize> {
    let name = field.type_name().trim_start_matches('.');
    by_name.get(name).copied()
}

fn is_text(field: &FieldDescriptorProto) -> bool {
    matches!(field.r#type(), Type::String | Type::Bytes)
}

/// Memory of a message in its parent, a vector or a map.
fn message_bytes(
    by_name: &HashMap<String, usize>,
    messages: &[&DescriptorProto],
    index: usize,
    depth: usize,
) -> usize {
    if depth > MAX_INLINE_DEPTH {
        return SCALAR_BYTES;
    }
    let mut bytes = 0;
    // Of the fields of a oneof, one is held.
    let mut largest_of_oneof = BTreeMap::new();
    for field in &messages[index].field {
        let held = match message_of(by_name, field) {
            _ if field.label() == Label::Repeated || is_text(field) => HANDLE_BYTES,
            Some(inner) if field.r#type() == Type::Message => {
                OPTION_BYTES + message_bytes(by_name, messages, inner, depth + 1)
            }
            _ if field.proto3_optional() => OPTION_BYTES + SCALAR_BYTES,
            _ => SCALAR_BYTES,
        };
        match field.oneof_index {
            Some(oneof) if !field.proto3_optional() => {
                let largest = largest_of_oneof.entry(oneof).or_insert(0);
                *largest = held.max(*largest);
            }
            _ => bytes += held,
        }
    }
    let oneofs = largest_of_oneof.values().map(|held| OPTION_BYTES + held);
    bytes + oneofs.sum::<usize>()
}

/// The shape of a field, if it holds memory of its own.
fn field_shape(
    by_name: &HashMap<String, usize>,
    messages: &[&DescriptorProto],
    field: &FieldDescriptorProto,
) -> Option<FieldShape> {
    let repeated = field.label() == Label::Repeated;
    let kind = match (field.r#type(), message_of(by_name, field)) {
        (Type::Message, Some(inner)) => {
            let options = messages[inner].options.as_ref();
            let is_entry = options.is_some_and(|options| options.map_entry());
            match (repeated, is_entry) {
                (false, _) => FieldKind::Message(inner),
                (true, false) => FieldKind::Messages(inner),
                (true, true) => FieldKind::Map(inner),
            }
        }
        _ if is_text(field) && repeated => FieldKind::Texts,
        _ if is_text(field) => FieldKind::Text,
        _ if repeated => scalars(field.r#type()),
        _ => return None,
    };
    Some(FieldShape {
        name: field.name().to_owned(),
        number: u32::try_from(field.number()).ok()?,
        kind,
    })
}

fn scalars(scalar: Type) -> FieldKind {
    let (size, least) = match scalar {
        Type::Bool => (1, 1),
        Type::Int32 | Type::Uint32 | Type::Sint32 | Type::Enum => (4, 1),
        Type::Float | Type::Fixed32 | Type::Sfixed32 => (4, 4),
        Type::Double | Type::Fixed64 | Type::Sfixed64 => (8, 8),
        Type::Int64
        | Type::Uint64
        | Type::Sint64
        | Type::String
        | Type::Bytes
        | Type::Group
        | Type::Message => (SCALAR_BYTES, 1),
    };
    FieldKind::Scalars { size, least }
}

#[cfg(test)]
mod tests {
    use super::Shapes;
    use crate::proto::{self, FILE_DESCRIPTOR_SET};

    #[test]
    fn a_message_takes_no_more_memory_than_its_shape_says() {
        let shapes = Shapes::of(FILE_DESCRIPTOR_SET);
        for (name, bytes) in [
            (
                "recsys.v1.InteractionEvent",
                size_of::<proto::InteractionEvent>(),
            ),
            ("recsys.v1.Item", size_of::<proto::Item>()),
            ("recsys.v1.Tag", size_of::<proto::Tag>()),
            ("recsys.v1.TagFilter", size_of::<proto::TagFilter>()),
            ("recsys.v1.GeoPoint", size_of::<proto::GeoPoint>()),
            (
                "recsys.v1.RecommendRequest",
                size_of::<proto::RecommendRequest>(),
            ),
            ("google.protobuf.Value", size_of::<prost_types::Value>()),
            ("google.protobuf.Struct", size_of::<prost_types::Struct>()),
        ] {
            let shape = shapes.named(name).unwrap().bytes;
            assert!(shape >= bytes, "{name}: {shape} of {bytes}");
            assert!(shape <= 4 * bytes, "{name}: {shape} of {bytes}");
        }
    }
}
