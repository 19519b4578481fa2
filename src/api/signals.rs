//! GetUserSignals without a copy of the model: its reply is written straight from
//! the model that the engine holds, which others read meanwhile. By way of the
//! generated messages each text would be copied once for each call.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::{
    Message as _,
    encoding::{WireType, double, encode_key, encode_varint, encoded_len_varint, float, key_len},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::{
    api::{recommender::Recommender, reply},
    domain::user_signals::UserSignals,
    engine::SignalsSource,
    proto,
};

const PATH: &str = "/recsys.v1.RecommenderService/GetUserSignals";

/// Serves GetUserSignals, and leaves all other calls to the generated service.
#[derive(Clone)]
pub(crate) struct SignalsFirst<S> {
    pub(crate) recommender: Recommender,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_reply_bytes: usize,
    pub(crate) others: S,
}

impl<S: NamedService> NamedService for SignalsFirst<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for SignalsFirst<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return Box::pin(self.others.call(request));
        }
        let codec = ProstCodec::<Reply, proto::GetUserSignalsRequest>::default();
        let mut grpc = Grpc::new(codec).apply_max_message_size_config(
            Some(self.max_request_bytes),
            Some(self.max_reply_bytes),
        );
        let handler = Handler(self.recommender.clone());
        Box::pin(async move { Ok(grpc.unary(handler, request).await) })
    }
}

struct Handler(Recommender);

impl UnaryService<proto::GetUserSignalsRequest> for Handler {
    type Response = Reply;
    type Future = BoxFuture<'static, Result<Response<Reply>, Status>>;

    fn call(&mut self, request: Request<proto::GetUserSignalsRequest>) -> Self::Future {
        let recommender = self.0.clone();
        Box::pin(async move { Ok(Response::new(recommender.signals(request).await?)) })
    }
}

/// `recsys.v1.GetUserSignalsResponse`, with its model encoded: on the wire a
/// message within another is its bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reply {
    #[prost(bytes = "bytes", tag = "1")]
    signals: Bytes,
    #[prost(enumeration = "proto::SignalsSource", tag = "2")]
    source: i32,
}

impl Reply {
    pub(crate) fn new(signals: &UserSignals, include_vectors: bool, source: SignalsSource) -> Self {
        Self {
            signals: encoded(signals, include_vectors),
            source: reply::source(source).into(),
        }
    }
}

/// What a text and a weight take besides the text, roughly.
const ENTRY_BYTES: usize = 24;
/// What is not listed, and what texts take above a guess.
const BASE_BYTES: usize = 1_024;

/// A model as an encoded `recsys.v1.UserSignals`, the same message as that of
/// [`reply::signals`].
fn encoded(signals: &UserSignals, include_vectors: bool) -> Bytes {
    let vectors = [
        (field::TASTE_VECTOR, &signals.taste_vector),
        (field::RECENCY_VECTOR, &signals.recency_vector),
    ];
    let entries = signals.positives.len() + signals.negatives.len() + signals.viewed.len() * 2;
    let tags = signals.tag_affinity.len() + signals.tag_aversion.len();
    let mut out = Vec::with_capacity(BASE_BYTES + ENTRY_BYTES * (entries + 2 * tags));
    text(field::USER_ID, signals.user_id.as_str(), &mut out);
    for (tag, weights) in [
        (field::POSITIVES, &signals.positives),
        (field::NEGATIVES, &signals.negatives),
    ] {
        for (id, weight) in weights {
            entry(tag, id.as_str(), *weight, &mut out);
        }
    }
    for (tag, ids) in [
        (field::VIEWED, &signals.viewed),
        (field::RECENT_VIEWS, &signals.recent_views),
    ] {
        for id in ids {
            text(tag, id.as_str(), &mut out);
        }
    }
    for (tag, weights) in [
        (field::TAG_AFFINITY, &signals.tag_affinity),
        (field::TAG_AVERSION, &signals.tag_aversion),
    ] {
        for (key, weight) in weights {
            entry(tag, key, *weight, &mut out);
        }
    }
    for (tag, vector) in vectors {
        if let (true, Some(vector)) = (include_vectors, vector) {
            out.reserve(BASE_BYTES + size_of_val(vector.as_slice()));
            float::encode_packed(tag, vector.as_slice(), &mut out);
        }
    }
    let rest = reply::rest_of_signals(signals);
    // Grows as needed, so there is always room.
    rest.encode_raw(&mut out);
    out.into()
}

fn text(tag: u32, text: &str, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// An entry of a map: a message with the key in its first field and the value in
/// its second.
fn entry(tag: u32, key: &str, weight: f64, out: &mut Vec<u8>) {
    const KEY: u32 = 1;
    const WEIGHT: u32 = 2;
    let length = key_len(KEY)
        + encoded_len_varint(key.len() as u64)
        + key.len()
        + double::encoded_len(WEIGHT, &weight);
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
    text(KEY, key, out);
    double::encode(WEIGHT, &weight, out);
}

/// Numbers of fields in `proto/recsys/v1/types.proto`.
mod field {
    pub(crate) const USER_ID: u32 = 1;
    pub(crate) const POSITIVES: u32 = 2;
    pub(crate) const NEGATIVES: u32 = 3;
    pub(crate) const VIEWED: u32 = 4;
    pub(crate) const RECENT_VIEWS: u32 = 5;
    pub(crate) const TAG_AFFINITY: u32 = 6;
    pub(crate) const TAG_AVERSION: u32 = 7;
    pub(crate) const TASTE_VECTOR: u32 = 8;
    pub(crate) const RECENCY_VECTOR: u32 = 9;
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use prost::Message as _;
    use serde_json::json;

    use super::Reply;
    use crate::{
        api::reply,
        domain::{
            ids::{ContentId, UserId},
            time::Timestamp,
            user_signals::UserSignals,
            vector::UnitVector,
        },
        engine::SignalsSource,
        proto,
    };

    fn signals() -> impl Strategy<Value = UserSignals> {
        let id = "\\PC{0,12}";
        let weights = || vec((id, prop_oneof![Just(0.0), 0.0..1e9]), 0..8);
        let numbers = || vec(-1.0_f32..1.0, 0..20);
        let ids = || vec(id, 0..200);
        (
            (id, weights(), weights(), weights(), weights()),
            (ids(), ids(), numbers(), numbers()),
            (any::<bool>(), any::<i32>(), any::<u32>()),
        )
            .prop_map(|(maps, lists, rest)| {
                let user = UserId::parse(&format!("u{}", maps.0)).unwrap();
                let by_id = |weights: Vec<(String, f64)>| {
                    let entries = weights.into_iter();
                    entries
                        .map(|(id, weight)| (ContentId::from(id), weight))
                        .collect()
                };
                let ids = |ids: Vec<String>| ids.into_iter().map(ContentId::from).collect();
                let mut signals = UserSignals::empty(user);
                signals.positives = by_id(maps.1);
                signals.negatives = by_id(maps.2);
                signals.tag_affinity = maps.3.into_iter().collect();
                signals.tag_aversion = maps.4.into_iter().collect();
                signals.viewed = ids(lists.0);
                signals.recent_views = ids(lists.1);
                signals.taste_vector = UnitVector::new(&lists.2);
                signals.recency_vector = UnitVector::new(&lists.3);
                if rest.0 {
                    signals.demographics.insert("age".into(), json!("25"));
                    signals.built_at = Some(Timestamp::from_micros(i64::from(rest.1)));
                    signals.behavior.n_views = 7;
                    signals.behavior.depth = 0.25;
                }
                signals.event_count = rest.2 as usize;
                signals
            })
    }

    proptest! {
        #[test]
        fn a_reply_is_that_of_the_generated_messages(
            signals in signals(),
            include_vectors in any::<bool>(),
        ) {
            let written = Reply::new(&signals, include_vectors, SignalsSource::Rebuilt).encode_to_vec();
            let read = proto::GetUserSignalsResponse::decode(written.as_slice()).unwrap();
            prop_assert_eq!(read.source(), proto::SignalsSource::Rebuilt);
            prop_assert_eq!(read.signals, Some(reply::signals(&signals, include_vectors)));
        }
    }
}
