//! Splits a delivery into its elements. Each is cut out as text and parsed on its own,
//! so that an invalid one does not affect the others.

use serde::de::IgnoredAny;

use crate::domain::json::json_fault;

/// White space of JSON.
const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Why a body is not a delivery.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It is not text.
    #[error("the body is not UTF-8")]
    Encoding,
    /// It is neither an object nor a list.
    #[error(
        "the body must be a JSON object, a list of them, or an object with such a list as batch"
    )]
    Form,
    /// It is an object with a syntax error.
    #[error("the body is {0}")]
    Object(String),
    /// It is an object whose `batch` is no list.
    #[error("batch in the body must be a list of JSON objects")]
    Batch,
    /// It is a list that cannot be split into elements.
    #[error("the list in the body is not closed, or has an empty place")]
    List,
    /// It has too many elements.
    #[error("the list in the body has more than {max} elements")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// The elements of a list, those of the list `batch` of an object without a `type`, or
/// the body itself if it is another object. Elements of a list need not be valid JSON.
///
/// # Errors
/// [`DeliveryError`] if the body cannot be split.
pub fn elements(body: &[u8], max: usize) -> Result<Vec<&str>, DeliveryError> {
    let text = std::str::from_utf8(body).map_err(|_| DeliveryError::Encoding)?;
    let text = text.trim_matches(WHITESPACE);
    if text.starts_with('{') {
        if let Err(fault) = serde_json::from_str::<IgnoredAny>(text) {
            return Err(DeliveryError::Object(json_fault(&fault)));
        }
        return match (member(text, "type"), member(text, "batch")) {
            (None, Some(batch)) if batch.starts_with('[') => list(batch, max),
            (None, Some(_)) => Err(DeliveryError::Batch),
            (_, None) | (Some(_), _) => Ok(vec![text]),
        };
    }
    if !text.starts_with('[') {
        return Err(DeliveryError::Form);
    }
    list(text, max)
}

fn list(text: &str, max: usize) -> Result<Vec<&str>, DeliveryError> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    split(inner.ok_or(DeliveryError::List)?, max)
}

/// The text of a member's value in an object, which is valid JSON; the last one of its
/// name. A name with escapes is not found.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let (mut string, mut found, mut value) = (0..0, None, None);
    for (at, byte) in object.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quoted = false;
                    string.end = at;
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                quoted = true;
                string = at + 1..at + 1;
            }
            b':' if depth == 1 => {
                value = (&object[string.clone()] == name).then_some(at + 1);
            }
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' => {
                if depth == 1
                    && let Some(begin) = value.take()
                {
                    found = Some(object[begin..at].trim_matches(WHITESPACE));
                }
                if byte != b',' {
                    depth = depth.saturating_sub(1);
                }
            }
            _ => {}
        }
    }
    found
}

/// Splits at the commas that are neither in quotes nor in brackets.
fn split(list: &str, max: usize) -> Result<Vec<&str>, DeliveryError> {
    let mut found = Vec::new();
    let (mut begin, mut depth) = (0, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1).ok_or(DeliveryError::List)?,
            b',' if depth == 0 => {
                found.push(element(&list[begin..at])?);
                begin = at + 1;
                if found.len() >= max {
                    return Err(DeliveryError::TooMany { max });
                }
            }
            _ => {}
        }
    }
    if quoted || depth > 0 {
        return Err(DeliveryError::List);
    }
    let last = list[begin..].trim_matches(WHITESPACE);
    if found.is_empty() && last.is_empty() {
        return Ok(found);
    }
    found.push(element(last)?);
    Ok(found)
}

fn element(text: &str) -> Result<&str, DeliveryError> {
    let text = text.trim_matches(WHITESPACE);
    if text.is_empty() {
        return Err(DeliveryError::List);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{DeliveryError, elements};

    const MAX: usize = 3;

    fn split(body: &str) -> Result<Vec<&str>, DeliveryError> {
        elements(body.as_bytes(), MAX)
    }

    #[test]
    fn an_object_is_one_element_and_a_list_is_split() {
        assert_eq!(split(" {\"a\": [1, 2]}\n"), Ok(vec!["{\"a\": [1, 2]}"]));
        assert_eq!(split("[]"), Ok(vec![]));
        assert_eq!(split(" [ ] "), Ok(vec![]));
        assert_eq!(
            split(r#"[{"a":[1,{}]}, "b,]\"\\" ,3]"#),
            Ok(vec![r#"{"a":[1,{}]}"#, r#""b,]\"\\""#, "3"])
        );
    }

    #[test]
    fn the_batch_of_an_object_without_a_type_is_split() {
        for (body, expected) in [
            (
                r#"{"batch":[{"a":1}, 2],"sentAt":"x"}"#,
                vec![r#"{"a":1}"#, "2"],
            ),
            (r#"{"c":{"batch":[1]},"d":"batch","batch" : [] }"#, vec![]),
            (r#"{"a":"\",\"batch\":[1]","batch":["x"]}"#, vec![r#""x""#]),
        ] {
            assert_eq!(split(body), Ok(expected), "{body}");
        }
        for element in [
            r#"{"type":"track","batch":[1,2]}"#,
            r#"{"c":{"batch":[1]}}"#,
            r#"{"a":"batch","b":":[1]"}"#,
        ] {
            assert_eq!(split(element), Ok(vec![element]));
        }
        for other in [
            r#"{"batch":{"a":1}}"#,
            r#"{"batch":"[1]"}"#,
            r#"{"batch":null}"#,
        ] {
            assert_eq!(split(other), Err(DeliveryError::Batch), "{other}");
        }
        assert_eq!(
            split(r#"{"batch":[1,2,3,4]}"#),
            Err(DeliveryError::TooMany { max: MAX })
        );
    }

    #[test]
    fn an_element_that_is_not_json_is_cut_out_like_any_other() {
        assert_eq!(split("[{], nonsense, 1e999]").unwrap().len(), 3);
    }

    #[test]
    fn the_number_of_elements_is_limited() {
        assert_eq!(split("[1,2,3]").unwrap().len(), MAX);
        assert_eq!(split("[1,2,3,4]"), Err(DeliveryError::TooMany { max: MAX }));
    }

    #[test]
    fn a_body_that_cannot_be_split_is_refused() {
        for broken in [
            "[", "[1", "[1,", "[1,]", "[,1]", "[1,,2]", "[{]", "[}]", "[\"]", "[1] [2]", "[1]]",
        ] {
            assert_eq!(split(broken), Err(DeliveryError::List), "{broken}");
        }
        for other in ["", " ", "1", "null", "\"a\"", "a{}"] {
            assert_eq!(split(other), Err(DeliveryError::Form), "{other}");
        }
        for cut in ["{", "{\"a\":1", "{}{}", "{]"] {
            assert!(matches!(split(cut), Err(DeliveryError::Object(_))), "{cut}");
        }
        assert_eq!(elements(b"[\"\xff\"]", MAX), Err(DeliveryError::Encoding));
    }

    #[test]
    fn deep_nesting_does_not_use_the_stack() {
        let deep = format!("[{}{}]", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(split(&deep).unwrap().len(), 1);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(split(&deep).unwrap().len(), 1);
    }
}
