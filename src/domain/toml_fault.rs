//! What is wrong with a TOML file, in the words of its users.

/// The error with its position and the line, without the names of Rust's types.
#[must_use]
pub fn toml_fault(error: &toml::de::Error) -> String {
    let (text, message) = (error.to_string(), error.message());
    let text = text.trim_end();
    let text = text.strip_prefix("TOML parse error at ").unwrap_or(text);
    match text.rsplit_once(message) {
        Some((before, after)) => format!("{before}{}{after}", plain(message)),
        None => text.to_owned(),
    }
}

/// The message of an error without the names of Rust's types.
#[must_use]
pub fn plain(message: &str) -> String {
    let mismatch = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "));
    if let Some((found, expected)) = mismatch {
        return format!("must be {}, not {}", kind(expected), value(found));
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        return match rest.split_once(", expected ") {
            Some((key, keys)) => {
                let keys = keys.strip_prefix("one of ").unwrap_or(keys);
                format!("unknown key {key}; the keys are {keys}")
            }
            None => format!("unknown key {rest}"),
        };
    }
    if let Some((found, expected)) = message
        .strip_prefix("unknown variant ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        return format!("must be {expected}, not {found}");
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return format!("the key {key} is missing");
    }
    if message == "wanted string or table" {
        return "must be a text".to_owned();
    }
    message.to_owned()
}

/// What a value must be.
fn kind(expected: &str) -> &str {
    match expected {
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, at least 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "a sequence" => "a list",
        "a string" => "a text",
        "a boolean" => "true or false",
        _ if expected.starts_with("a nonzero ") => "a whole number, at least 1",
        _ if expected.starts_with("struct ") || expected == "a map" => "a table",
        _ if expected.starts_with("enum ") => "one of its names",
        _ => expected,
    }
}

/// What a value is.
fn value(found: &str) -> String {
    let kinds = ["integer", "floating point", "boolean"];
    if let Some(value) = kinds.iter().find_map(|kind| found.strip_prefix(kind)) {
        // A number too large for the type of others carries its own.
        let value = value.trim_end_matches(" as i128");
        return value
            .trim_end_matches(" as u128")
            .trim()
            .trim_matches('`')
            .to_owned();
    }
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        _ => found.replacen("string ", "the text ", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn errors_have_no_names_of_types() {
        for (message, expected) in [
            (
                "invalid type: string \"x\", expected f64",
                "must be a number, not the text \"x\"",
            ),
            (
                "invalid value: integer `-1`, expected usize",
                "must be a whole number, at least 0, not -1",
            ),
            (
                "invalid type: sequence, expected struct FusionWeights",
                "must be a table, not a list",
            ),
            (
                "invalid value: integer `0`, expected a nonzero u32",
                "must be a whole number, at least 1, not 0",
            ),
            (
                "unknown field `foo`, expected one of `a`, `b`",
                "unknown key `foo`; the keys are `a`, `b`",
            ),
            (
                "unknown variant `x`, expected `recsys` or `reference`",
                "must be `recsys` or `reference`, not `x`",
            ),
            ("missing field `name`", "the key `name` is missing"),
            (
                "invalid type: integer `99999999999999999999` as i128, expected usize",
                "must be a whole number, at least 0, not 99999999999999999999",
            ),
            ("wanted string or table", "must be a text"),
        ] {
            assert_eq!(plain(message), expected);
        }
    }
}
