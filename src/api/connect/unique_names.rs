//! Names that an object of a JSON text has twice. Parsers differ in which of the values
//! they take, so a proxy or a log could see another request than this server.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
};

use prost_reflect::{Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The name that an object of a text has twice, if there is one before the text's end or
/// its first error of syntax. A field has its name of the proto and its JSON name:
/// both count as one. `None` as kind: the text may be any JSON.
pub(crate) fn repeated_name(kind: Option<&MessageDescriptor>, text: &[u8]) -> Option<String> {
    let mut repeated = None;
    let walk = Walk {
        names: kind.map_or(Names::Any, |kind| Names::Fields(kind.clone())),
        repeated: &mut repeated,
    };
    // Another error is found again when the message is read.
    let _ = walk.deserialize(&mut serde_json::Deserializer::from_slice(text));
    repeated
}

/// What the names of an object are, or of those in a list.
#[derive(Clone)]
enum Names {
    /// Fields of a message.
    Fields(MessageDescriptor),
    /// Keys of a map with values of this kind.
    Keys(Kind),
    /// Anything.
    Any,
}

impl Names {
    fn of(kind: &Kind) -> Self {
        match kind.as_message() {
            Some(message) if message.full_name().starts_with("google.protobuf.") => Self::Any,
            Some(message) if message.is_map_entry() => {
                Self::Keys(message.map_entry_value_field().kind())
            }
            Some(message) => Self::Fields(message.clone()),
            None => Self::Any,
        }
    }
}

struct Walk<'a> {
    names: Names,
    repeated: &'a mut Option<String>,
}

impl Walk<'_> {
    fn fail<E: Error>(self, name: String) -> E {
        *self.repeated = Some(name);
        E::custom("a name is repeated")
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        loop {
            let walk = Walk {
                names: self.names.clone(),
                repeated: self.repeated,
            };
            if elements.next_element_seed(walk)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        let mut numbers = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let field = match &self.names {
                Names::Fields(kind) => kind
                    .get_field_by_json_name(&name)
                    .or_else(|| kind.get_field_by_name(&name)),
                Names::Keys(_) | Names::Any => None,
            };
            let inner = match (&self.names, &field) {
                (_, Some(field)) => Names::of(&field.kind()),
                (Names::Keys(kind), None) => Names::of(kind),
                (Names::Fields(_) | Names::Any, None) => Names::Any,
            };
            let is_new = match &field {
                Some(field) => numbers.insert(field.number()),
                None => !names.contains(&name),
            };
            if !is_new {
                return Err(self.fail(field.map_or(name, |field| field.name().to_owned())));
            }
            if field.is_none() {
                names.insert(name);
            }
            members.next_value_seed(Walk {
                names: inner,
                repeated: self.repeated,
            })?;
        }
        Ok(())
    }
}
