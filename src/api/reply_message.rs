//! Messages that servers send.

use bytes::BufMut;
use prost::Message;

/// A message that a server sends: one that is generated, or a type of this crate that
/// has the encoded form of one.
pub(crate) trait ReplyMessage {
    /// Its encoded size, in bytes.
    fn size(&self) -> usize;

    /// Encodes it into a buffer that has room for [`ReplyMessage::size`] bytes.
    fn write(&self, buffer: &mut impl BufMut);
}

impl<M: Message> ReplyMessage for M {
    fn size(&self) -> usize {
        self.encoded_len()
    }

    fn write(&self, buffer: &mut impl BufMut) {
        self.encode_raw(buffer);
    }
}
