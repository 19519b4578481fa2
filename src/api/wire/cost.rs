//! What a message costs once it is decoded.

use super::{
    reader::{self, MAX_DEPTH, Malformed, WireValue},
    shape::{FieldKind, HANDLE_BYTES, Shape, Shapes},
};

/// Overhead of an allocation.
const ALLOCATION_BYTES: usize = 32;
/// A vector that grows has up to twice its elements allocated, and once more while they
/// are moved.
const GROWTH: usize = 3;
/// The least capacity of a vector that is not empty.
const MIN_CAPACITY: usize = 4;
/// The capacity of a node of a map. A node of a large map is at least 5/11 full.
const NODE_CAPACITY: usize = 11;

/// What a message costs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// An upper bound of the memory of the decoded message.
    pub(crate) bytes: usize,
    /// The number of elements of each of the shape's fields, in its order. Only those of
    /// the message itself: elements of inner messages are in `bytes`.
    pub(crate) elements: Vec<usize>,
}

/// Reads what a message of a shape costs. Takes time proportional to its bytes, and
/// memory for the shape's fields.
///
/// # Errors
/// [`Malformed`]; such a message cannot be decoded either.
pub(crate) fn cost(shapes: &Shapes, shape: &Shape, message: &[u8]) -> Result<Cost, Malformed> {
    let mut cost = Cost {
        bytes: shape.bytes,
        elements: vec![0; shape.fields.len()],
    };
    let elements = Some(cost.elements.as_mut_slice());
    cost.bytes += fields(shapes, shape, message, elements, 0)?;
    Ok(cost)
}

/// Memory that the fields of a message point to. Adds up their elements.
fn fields(
    shapes: &Shapes,
    shape: &Shape,
    mut rest: &[u8],
    mut elements: Option<&mut [usize]>,
    depth: usize,
) -> Result<usize, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed);
    }
    let mut bytes = 0_usize;
    // The fields that have an element already, by their index.
    let mut begun = 0_u64;
    while let Some(field) = reader::next(&mut rest)? {
        let found = shape.fields.iter().enumerate();
        let Some((index, known)) = found
            .into_iter()
            .find(|(_, known)| known.number == field.number)
        else {
            continue;
        };
        let bit = 1_u64.checked_shl(index as u32).unwrap_or(0);
        let is_first = begun & bit == 0;
        begun |= bit;
        let (count, heap) = field_cost(shapes, known.kind, &field.value, is_first, depth)?;
        bytes = bytes.saturating_add(heap);
        if let Some(elements) = &mut elements {
            elements[index] += count;
        }
    }
    Ok(bytes)
}

/// The number of elements of one occurrence of a field, and the memory that it adds.
fn field_cost(
    shapes: &Shapes,
    kind: FieldKind,
    value: &WireValue<'_>,
    is_first: bool,
    depth: usize,
) -> Result<(usize, usize), Malformed> {
    let inner = |index: usize, value: &[u8]| {
        let shape = shapes.at(index).ok_or(Malformed)?;
        let heap = fields(shapes, shape, value, None, depth + 1)?;
        Ok((shape.bytes, heap))
    };
    match (kind, value) {
        (FieldKind::Text, WireValue::Bytes(text)) => Ok((1, text_bytes(text))),
        (FieldKind::Message(index), WireValue::Bytes(value)) => {
            inner(index, value).map(|(_, heap)| (1, heap))
        }
        (FieldKind::Texts, WireValue::Bytes(text)) => Ok((
            1,
            vector_bytes(1, HANDLE_BYTES, is_first) + text_bytes(text),
        )),
        (FieldKind::Messages(index), WireValue::Bytes(value)) => {
            inner(index, value).map(|(own, heap)| (1, vector_bytes(1, own, is_first) + heap))
        }
        (FieldKind::Map(index), WireValue::Bytes(value)) => {
            inner(index, value).map(|(own, heap)| (1, map_bytes(own, is_first) + heap))
        }
        (FieldKind::Scalars { size, least }, WireValue::Bytes(packed)) => {
            let count = packed.len() / least;
            Ok((count, vector_bytes(count, size, is_first)))
        }
        (FieldKind::Scalars { size, .. }, WireValue::Scalar) => {
            Ok((1, vector_bytes(1, size, is_first)))
        }
        // The decoder refuses a value of another kind than its field.
        (
            FieldKind::Text
            | FieldKind::Message(_)
            | FieldKind::Texts
            | FieldKind::Messages(_)
            | FieldKind::Map(_)
            | FieldKind::Scalars { .. },
            WireValue::Scalar | WireValue::Group,
        ) => Err(Malformed),
    }
}

fn text_bytes(text: &[u8]) -> usize {
    if text.is_empty() {
        0
    } else {
        text.len() + ALLOCATION_BYTES
    }
}

fn vector_bytes(elements: usize, size: usize, is_first: bool) -> usize {
    let first = if is_first {
        MIN_CAPACITY * size + ALLOCATION_BYTES
    } else {
        0
    };
    first + GROWTH * elements * size
}

fn map_bytes(entry: usize, is_first: bool) -> usize {
    let first = if is_first {
        NODE_CAPACITY * entry + ALLOCATION_BYTES
    } else {
        0
    };
    first + GROWTH * entry
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::{Message, Name};

    use super::{Cost, cost};
    use crate::{
        api::wire::{reader::Malformed, shape::Shapes},
        proto::{self, FILE_DESCRIPTOR_SET},
    };

    fn cost_of<M: Message + Name>(message: &[u8]) -> Result<Cost, Malformed> {
        let shapes = Shapes::of(FILE_DESCRIPTOR_SET);
        cost(&shapes, shapes.named(&M::full_name()).unwrap(), message)
    }

    /// The elements of the first field.
    fn elements<M: Message + Name>(message: &M) -> usize {
        cost_of::<M>(&message.encode_to_vec()).unwrap().elements[0]
    }

    #[test]
    fn elements_are_counted() {
        let batch = proto::BatchIngestEventsRequest {
            events: vec![proto::InteractionEvent::default(); 1_001],
        };
        assert_eq!(elements(&batch), 1_001);
        let ids = proto::GetItemsRequest {
            content_ids: vec![String::new(); 7],
        };
        assert_eq!(elements(&ids), 7);
        assert_eq!(elements(&proto::GetItemsRequest::default()), 0);
    }

    #[test]
    fn the_memory_of_small_elements_is_counted_not_their_bytes() {
        let bytes = |batch: proto::BatchIngestEventsRequest| {
            let encoded = batch.encode_to_vec();
            let cost = cost_of::<proto::BatchIngestEventsRequest>(&encoded);
            (encoded.len(), cost.unwrap().bytes)
        };
        let (wire, memory) = bytes(proto::BatchIngestEventsRequest {
            events: vec![proto::InteractionEvent::default(); 10_000],
        });
        assert_eq!(wire, 20_000);
        assert!(memory > 10_000 * size_of::<proto::InteractionEvent>());
        // An event of a usual size costs little more than its bytes.
        let event = proto::InteractionEvent {
            query_text: "x".repeat(50_000),
            ..Default::default()
        };
        let (wire, memory) = bytes(proto::BatchIngestEventsRequest {
            events: vec![event; 100],
        });
        assert!(memory < wire + wire / 10, "{memory} of {wire}");
    }

    #[test]
    fn inner_elements_cost_memory() {
        let event = |answers: prost_types::Struct| {
            let event = proto::InteractionEvent {
                survey_answers: Some(answers),
                ..Default::default()
            };
            let request = proto::IngestEventRequest { event: Some(event) };
            let cost = cost_of::<proto::IngestEventRequest>(&request.encode_to_vec());
            cost.unwrap().bytes
        };
        let list = |values| prost_types::Value {
            kind: Some(prost_types::value::Kind::ListValue(
                prost_types::ListValue { values },
            )),
        };
        let values = vec![prost_types::Value::default(); 10_000];
        let few = event(prost_types::Struct::default());
        let many = event(prost_types::Struct {
            fields: [("a".to_owned(), list(values))].into(),
        });
        let least = 10_000 * size_of::<prost_types::Value>();
        assert!(many - few > least, "{many}, {few}");
    }

    #[test]
    fn unknown_fields_and_groups_are_skipped() {
        // Field 99 as a varint, 8 bytes, text, group with an inner text, and 4 bytes.
        let unknown = [
            &[0x98, 0x06, 0x01][..],
            &[0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x9a, 0x06, 2, b'a', b'b'],
            &[0x9b, 0x06, 0x0a, 1, b'a', 0x9c, 0x06],
            &[0x9d, 0x06, 1, 2, 3, 4],
        ]
        .concat();
        assert!(proto::GetItemsRequest::decode(&*unknown).is_ok());
        assert_eq!(
            cost_of::<proto::GetItemsRequest>(&unknown)
                .unwrap()
                .elements,
            [0]
        );
    }

    #[test]
    fn a_malformed_message_is_refused() {
        for broken in [
            &[0x0a][..],
            &[0x0a, 5, 1],
            &[0x08, 1],
            &[0x00, 1],
            &[0x0e, 1],
            &[0x9b, 0x06, 0x94, 0x06],
            &[0xff; 12],
        ] {
            assert!(proto::GetItemsRequest::decode(broken).is_err());
            assert_eq!(cost_of::<proto::GetItemsRequest>(broken), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn whatever_can_be_decoded_can_be_counted(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if proto::UpsertItemsRequest::decode(&*bytes).is_ok() {
                prop_assert!(cost_of::<proto::UpsertItemsRequest>(&bytes).is_ok());
            }
        }

        #[test]
        fn a_damaged_message_that_can_be_decoded_can_be_counted(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let item = proto::Item {
                content_id: "a".into(),
                years: vec![1, 2_000],
                vector: vec![0.5; 3],
                tags: vec![proto::Tag { facet: "f".into(), label: "l".into(), weight: Some(1.0) }],
                ..Default::default()
            };
            let mut bytes = proto::UpsertItemsRequest { items: vec![item; 2] }.encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if proto::UpsertItemsRequest::decode(&*bytes).is_ok() {
                prop_assert!(cost_of::<proto::UpsertItemsRequest>(&bytes).is_ok());
            }
        }
    }
}
