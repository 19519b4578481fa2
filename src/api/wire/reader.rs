//! Reads protobuf's wire format field by field, without decoding values.

/// A message is not in protobuf's wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A field on the wire.
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: WireValue<'a>,
}

/// A value on the wire.
pub(crate) enum WireValue<'a> {
    /// A varint, or 4 or 8 bytes.
    Scalar,
    /// A text, a message or packed scalars.
    Bytes(&'a [u8]),
    /// A group, which no message of the contract has.
    Group,
}

/// Deepest nesting of messages and groups, as in the decoder.
pub(super) const MAX_DEPTH: usize = 100;

/// Reads the next field and removes it from `rest`; `None` at the end.
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Field<'a>>, Malformed> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (number, wire_type) = key(rest)?;
    let value = value(rest, number, wire_type, 0)?;
    Ok(Some(Field { number, value }))
}

/// As [`next`]: the number of the next field, and its value.
pub(crate) fn next_field<'a>(
    rest: &mut &'a [u8],
) -> Result<Option<(u32, WireValue<'a>)>, Malformed> {
    Ok(next(rest)?.map(|field| (field.number, field.value)))
}

fn key(rest: &mut &[u8]) -> Result<(u32, u64), Malformed> {
    let key = u32::try_from(varint(rest)?).map_err(|_| Malformed)?;
    match key >> 3 {
        0 => Err(Malformed),
        number => Ok((number, u64::from(key & 7))),
    }
}

fn value<'a>(
    rest: &mut &'a [u8],
    number: u32,
    wire_type: u64,
    depth: usize,
) -> Result<WireValue<'a>, Malformed> {
    match wire_type {
        0 => {
            varint(rest)?;
            Ok(WireValue::Scalar)
        }
        1 => take(rest, 8).map(|_| WireValue::Scalar),
        5 => take(rest, 4).map(|_| WireValue::Scalar),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            take(rest, length).map(WireValue::Bytes)
        }
        3 if depth < MAX_DEPTH => loop {
            let (inner, wire_type) = key(rest)?;
            if wire_type == 4 {
                return if inner == number {
                    Ok(WireValue::Group)
                } else {
                    Err(Malformed)
                };
            }
            value(rest, inner, wire_type, depth + 1)?;
        },
        _ => Err(Malformed),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, left) = rest.split_first().ok_or(Malformed)?;
        *rest = left;
        // Bits beyond the 64th are dropped, as the decoder does or refuses.
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}
