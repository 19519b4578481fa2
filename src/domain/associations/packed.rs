//! The building blocks of packed values, with a strict reader.
//!
//! A whole number takes 7 bits a byte, the lowest first, the high bit set on all
//! bytes but the last; a signed one is zigzag-encoded before. A value has one packed form; the
//! reader rejects any other.

/// Why a packed value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// This program does not read its version.
    #[error("version {0} is not known")]
    Version(u8),
    /// It ends too early.
    #[error("it is cut off")]
    CutOff,
    /// Bytes follow its end.
    #[error("bytes follow its end")]
    TrailingBytes,
    /// A number is not in its shortest form, or too large.
    #[error("a number is malformed")]
    Number,
    /// Its ids are not UTF-8, or not as long as it says.
    #[error("its ids are malformed")]
    Ids,
    /// A weight is not between 0 and 1.
    #[error("a weight is out of range")]
    Weight,
    /// Its entries are out of order.
    #[error("its entries are out of order")]
    Order,
}

/// Writes a whole number.
pub(super) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Writes a length.
pub(super) fn put_length(bytes: &mut Vec<u8>, length: usize) {
    put_number(bytes, length as u64);
}

/// Writes a signed number.
pub(super) fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put_number(
        bytes,
        (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned(),
    );
}

/// Reads a packed value from its start to its end.
pub(super) struct PackedReader<'a> {
    bytes: &'a [u8],
}

impl<'a> PackedReader<'a> {
    /// A reader of a value whose first byte must be `version`.
    pub(super) fn new(bytes: &'a [u8], version: u8) -> Result<Self, PackedError> {
        let mut reader = Self { bytes };
        match reader.array()? {
            [found] if found == version => Ok(reader),
            [found] => Err(PackedError::Version(found)),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, PackedError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(PackedError::Number);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                let is_shortest = byte != 0 || shift == 0;
                return is_shortest.then_some(number).ok_or(PackedError::Number);
            }
        }
        Err(PackedError::Number)
    }

    pub(super) fn signed(&mut self) -> Result<i64, PackedError> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of entries of at least `entry_bytes` each: never more than there
    /// are bytes for.
    pub(super) fn count(&mut self, entry_bytes: usize) -> Result<usize, PackedError> {
        let count = self.length()?;
        if count > self.bytes.len() / entry_bytes {
            return Err(PackedError::CutOff);
        }
        Ok(count)
    }

    pub(super) fn length(&mut self) -> Result<usize, PackedError> {
        usize::try_from(self.number()?).map_err(|_| PackedError::Number)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PackedError> {
        let (array, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(PackedError::CutOff)?;
        self.bytes = rest;
        Ok(*array)
    }

    /// A text after its length.
    pub(super) fn text(&mut self) -> Result<&'a str, PackedError> {
        let length = self.length()?;
        let (text, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(PackedError::CutOff)?;
        self.bytes = rest;
        str::from_utf8(text).map_err(|_| PackedError::Ids)
    }

    /// Checks that the value ends here.
    pub(super) fn end(&self) -> Result<(), PackedError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(PackedError::TrailingBytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, prop_assert_eq, proptest};

    use super::{PackedError, PackedReader, put_number, put_signed};

    fn number(bytes: &[u8]) -> Result<u64, PackedError> {
        PackedReader { bytes }.number()
    }

    #[test]
    fn a_number_is_read_in_its_shortest_form_alone() {
        assert_eq!(number(&[0]), Ok(0));
        assert_eq!(number(&[0x80, 1]), Ok(128));
        assert_eq!(number(&[0x80, 0]), Err(PackedError::Number));
        assert_eq!(number(&[0x80]), Err(PackedError::CutOff));
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(number(&most), Ok(u64::MAX));
        most[9] = 2;
        assert_eq!(number(&most), Err(PackedError::Number));
        assert_eq!(number(&[0xff; 11]), Err(PackedError::Number));
    }

    proptest! {
        #[test]
        fn numbers_come_back(unsigned in any::<u64>(), signed in any::<i64>(), shift in 0..64) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, unsigned >> shift);
            put_signed(&mut bytes, signed >> shift);
            let mut reader = PackedReader { bytes: &bytes };
            prop_assert_eq!(reader.number(), Ok(unsigned >> shift));
            prop_assert_eq!(reader.signed(), Ok(signed >> shift));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
