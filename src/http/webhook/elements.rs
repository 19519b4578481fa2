//! The elements of a delivery. Each is cut out as text and read by itself, so
//! that a bad one is bad alone.

use serde::de::IgnoredAny;

use crate::domain::json::json_fault;

/// What JSON takes for blanks.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Why a body is no delivery.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDelivery {
    /// It is no text.
    #[error("the body is not UTF-8")]
    Encoding,
    /// It is neither an object nor a list.
    #[error("the body must be a JSON object, or a list of them")]
    Form,
    /// It is an object with a fault.
    #[error("the body is {0}")]
    Object(String),
    /// Where its elements begin and end cannot be told.
    #[error("the list in the body is not closed, or has an empty place")]
    List,
    /// There are too many elements.
    #[error("the list in the body has more than {most} elements")]
    TooMany {
        /// So many there may be.
        most: usize,
    },
}

/// The elements of a list, or the one object that the body is. Those of a list
/// need not be JSON.
///
/// # Errors
/// [`NoDelivery`] if there are none to be told apart.
pub fn elements(body: &[u8], most: usize) -> Result<Vec<&str>, NoDelivery> {
    let text = std::str::from_utf8(body).map_err(|_| NoDelivery::Encoding)?;
    let text = text.trim_matches(BLANKS);
    if text.starts_with('{') {
        return match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Ok(vec![text]),
            Err(fault) => Err(NoDelivery::Object(json_fault(&fault))),
        };
    }
    let list = text.strip_prefix('[').ok_or(NoDelivery::Form)?;
    split(list.strip_suffix(']').ok_or(NoDelivery::List)?, most)
}

/// Cuts at the commas that are neither in quotes nor in brackets.
fn split(list: &str, most: usize) -> Result<Vec<&str>, NoDelivery> {
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
            b'}' | b']' => depth = depth.checked_sub(1).ok_or(NoDelivery::List)?,
            b',' if depth == 0 => {
                found.push(element(&list[begin..at])?);
                begin = at + 1;
                if found.len() >= most {
                    return Err(NoDelivery::TooMany { most });
                }
            }
            _ => {}
        }
    }
    if quoted || depth > 0 {
        return Err(NoDelivery::List);
    }
    let last = list[begin..].trim_matches(BLANKS);
    if found.is_empty() && last.is_empty() {
        return Ok(found);
    }
    found.push(element(last)?);
    Ok(found)
}

fn element(text: &str) -> Result<&str, NoDelivery> {
    let text = text.trim_matches(BLANKS);
    if text.is_empty() {
        return Err(NoDelivery::List);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{NoDelivery, elements};

    const MOST: usize = 3;

    fn told(body: &str) -> Result<Vec<&str>, NoDelivery> {
        elements(body.as_bytes(), MOST)
    }

    #[test]
    fn an_object_is_one_element_and_a_list_has_its_own() {
        assert_eq!(told(" {\"a\": [1, 2]}\n"), Ok(vec!["{\"a\": [1, 2]}"]));
        assert_eq!(told("[]"), Ok(vec![]));
        assert_eq!(told(" [ ] "), Ok(vec![]));
        assert_eq!(
            told(r#"[{"a":[1,{}]}, "b,]\"\\" ,3]"#),
            Ok(vec![r#"{"a":[1,{}]}"#, r#""b,]\"\\""#, "3"])
        );
    }

    #[test]
    fn an_element_that_is_no_json_is_cut_out_like_any_other() {
        assert_eq!(told("[{], nonsense, 1e999]").unwrap().len(), 3);
    }

    #[test]
    fn elements_are_counted() {
        assert_eq!(told("[1,2,3]").unwrap().len(), MOST);
        assert_eq!(told("[1,2,3,4]"), Err(NoDelivery::TooMany { most: MOST }));
    }

    #[test]
    fn what_has_no_elements_to_tell_apart_is_refused() {
        for broken in [
            "[", "[1", "[1,", "[1,]", "[,1]", "[1,,2]", "[{]", "[}]", "[\"]", "[1] [2]", "[1]]",
        ] {
            assert_eq!(told(broken), Err(NoDelivery::List), "{broken}");
        }
        for other in ["", " ", "1", "null", "\"a\"", "a{}"] {
            assert_eq!(told(other), Err(NoDelivery::Form), "{other}");
        }
        for cut in ["{", "{\"a\":1", "{}{}", "{]"] {
            assert!(matches!(told(cut), Err(NoDelivery::Object(_))), "{cut}");
        }
        assert_eq!(elements(b"[\"\xff\"]", MOST), Err(NoDelivery::Encoding));
    }

    #[test]
    fn depth_takes_no_stack() {
        let deep = format!("[{}{}]", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(told(&deep).unwrap().len(), 1);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(told(&deep).unwrap().len(), 1);
    }
}
