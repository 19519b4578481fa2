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
    #[error("the body must be a JSON object, or a list of them")]
    Form,
    /// It is an object with a syntax error.
    #[error("the body is {0}")]
    Object(String),
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

/// The elements of a list, or the body itself if it is an object. Elements of a list
/// need not be valid JSON.
///
/// # Errors
/// [`DeliveryError`] if the body cannot be split.
pub fn elements(body: &[u8], max: usize) -> Result<Vec<&str>, DeliveryError> {
    let text = std::str::from_utf8(body).map_err(|_| DeliveryError::Encoding)?;
    let text = text.trim_matches(WHITESPACE);
    if text.starts_with('{') {
        return match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Ok(vec![text]),
            Err(fault) => Err(DeliveryError::Object(json_fault(&fault))),
        };
    }
    let list = text.strip_prefix('[').ok_or(DeliveryError::Form)?;
    split(list.strip_suffix(']').ok_or(DeliveryError::List)?, max)
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
