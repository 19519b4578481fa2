//! What the message of a JSON text costs, read from the text alone.

use super::value_cost::{ALLOCATION_BYTES, GROWTH, MESSAGE_BYTES, VALUE_BYTES};

/// Fields that hold any JSON: each value in them is a message of its own.
const FREE_FIELDS: [&[u8]; 4] = [
    b"attributes",
    b"demographics",
    b"survey_answers",
    b"surveyAnswers",
];

/// An upper bound of the memory that a text's message takes. The text need not be valid
/// JSON.
pub(super) fn json_cost(text: &[u8]) -> usize {
    let mut bytes = MESSAGE_BYTES + 2 * text.len();
    let mut string_begin = None;
    let mut escaped = false;
    let mut last_string: &[u8] = &[];
    let mut depth = 0_usize;
    // The depth of the field of any JSON that the text is in.
    let mut free = None;
    for (at, byte) in text.iter().enumerate() {
        if let Some(begin) = string_begin {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    last_string = text.get(begin..at).unwrap_or_default();
                    string_begin = None;
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                string_begin = Some(at + 1);
                bytes += ALLOCATION_BYTES;
            }
            b'{' | b'[' => {
                depth += 1;
                bytes += MESSAGE_BYTES;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if free.is_some_and(|free| depth < free) {
                    free = None;
                }
            }
            b',' if free == Some(depth) => {
                free = None;
                bytes += GROWTH * VALUE_BYTES;
            }
            b':' if free.is_none() => {
                // An escaped name could be any.
                if FREE_FIELDS.contains(&last_string) || last_string.contains(&b'\\') {
                    free = Some(depth);
                }
                bytes += GROWTH * VALUE_BYTES;
            }
            b',' | b':' => {
                bytes += GROWTH * VALUE_BYTES;
                if free.is_some() {
                    bytes += 2 * MESSAGE_BYTES;
                }
            }
            _ => {}
        }
    }
    bytes
}
