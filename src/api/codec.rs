//! How the services read and write messages. What a request costs is read from its bytes
//! and reserved before it is decoded.

use std::{
    marker::PhantomData,
    sync::{Arc, LazyLock},
};

use bytes::Buf as _;
use prost::{Message, Name};
use tonic::{
    Code, Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use crate::{
    api::{
        error::ApiError,
        limits::{Limits, elements, message_bytes},
        parse::Checks,
        reply_cost,
        reply_message::ReplyMessage,
        wire::{self, Shape, Shapes},
    },
    blocking::{LONG_BYTES, in_place},
    edge::load::Account,
    proto::FILE_DESCRIPTOR_SET,
};

/// A request is held twice: as its message, and as the engine's type.
const FORMS: usize = 2;

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::of(FILE_DESCRIPTOR_SET));

tokio::task_local! {
    /// What bounds the requests of the call that runs in a task.
    pub(crate) static BOUNDS: RequestBounds;
}

/// What bounds the requests of a call.
#[derive(Clone)]
pub(crate) struct RequestBounds {
    pub(crate) limits: Arc<Limits>,
    /// Where the memory of requests is reserved.
    pub(crate) account: Option<Account>,
}

/// The codec of tonic, with these differences: requests are bounded before they are
/// decoded; a request that cannot be decoded is the client's error (INVALID_ARGUMENT),
/// not an internal one; and replies may be types of this crate.
pub(crate) struct ServerCodec<T, U> {
    types: PhantomData<fn(T) -> U>,
    bounds: Option<RequestBounds>,
}

impl<T, U> Default for ServerCodec<T, U> {
    /// The codec of the call that runs in this task.
    fn default() -> Self {
        Self {
            types: PhantomData,
            bounds: BOUNDS.try_with(Clone::clone).ok(),
        }
    }
}

impl<T, U> Codec for ServerCodec<T, U>
where
    T: ReplyMessage + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ReplyEncoder<T>;
    type Decoder = RequestDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ReplyEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        RequestDecoder {
            prost: ProstDecoder::default(),
            shape: SHAPES.named(&U::full_name()),
            bounds: self.bounds.clone(),
        }
    }
}

pub(crate) struct RequestDecoder<U> {
    prost: ProstDecoder<U>,
    shape: Option<&'static Shape>,
    bounds: Option<RequestBounds>,
}

impl<U: Message + Name + Default> Decoder for RequestDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if buffer.remaining() > LONG_BYTES {
            // The calls of others must not wait for it.
            in_place(|| self.decode_here(buffer))
        } else {
            self.decode_here(buffer)
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.prost.buffer_settings()
    }
}

impl<U: Message + Name + Default> RequestDecoder<U> {
    fn decode_here(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let (Some(shape), Some(bounds)) = (self.shape, &self.bounds) {
            // The buffer is contiguous: this is the whole message.
            bounds.check::<U>(shape, buffer.chunk())?;
        }
        self.prost.decode(buffer).map_err(|status| {
            // The one status of tonic's decoder. Any other is passed on.
            if status.code() == Code::Internal {
                ApiError::undecodable(status.message()).into()
            } else {
                status
            }
        })
    }
}

impl RequestBounds {
    /// Checks the size of an encoded message and the number of its elements, and
    /// reserves the memory of its decoded form.
    fn check<U: Name>(&self, shape: &Shape, message: &[u8]) -> Result<(), Status> {
        // The decoder has one limit for the whole service, so calls with a lower one are
        // checked here and answered as it would.
        let max = message_bytes(&self.limits, &U::full_name());
        let size = message.len();
        if size > max {
            let message = format!("message has {size} bytes, at most {max} are taken");
            return Err(Status::out_of_range(message));
        }
        let cost = wire::cost(&SHAPES, shape, message).map_err(|_| {
            ApiError::undecodable("failed to decode Protobuf message: invalid wire format")
        })?;
        let mut checks = Checks::new(&self.limits);
        for (field, count) in shape.fields.iter().zip(&cost.elements) {
            if let Some(max) = elements(&self.limits, &field.name) {
                checks.count(&field.name, *count, max);
            }
        }
        checks.finish(Some(()))?;
        if let Some(account) = &self.account {
            account.reserve(FORMS * cost.bytes)?;
        }
        Ok(())
    }
}

/// Encodes replies into a buffer of their exact size.
pub(crate) struct ReplyEncoder<T>(PhantomData<fn(T)>);

impl<T: ReplyMessage> Encoder for ReplyEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, reply: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let size = reply.size();
        reply_cost::check_size(size)?;
        buffer.reserve(size);
        reply.write(buffer);
        Ok(())
    }
}
