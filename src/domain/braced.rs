//! JSON objects alone.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// What stands in braces, and nothing else: serde would take a list of values
/// for a struct, too.
#[derive(Clone, Copy, Debug)]
pub struct Braced<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Braced<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Braces<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Braces<T> {
            type Value = Braced<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Braced<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Braced)
            }
        }

        deserializer.deserialize_map(Braces(PhantomData))
    }
}
