//! Damage to bytes.

use proptest::{prelude::*, sample::Index};

/// Bytes that tend to matter.
const ODD_BYTES: [&[u8]; 10] = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\x0f",
    b"1e999",
    b"-0.0",
    b"null",
    b"[[[[",
    b"\"",
    b"\n",
    "\u{130}".as_bytes(),
];

#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, &'static [u8]),
    Drop(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
    /// The rest becomes the rest of another seed.
    Splice(Index, Index, Index),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), prop::sample::select(&ODD_BYTES[..])).prop_map(|(at, odd)| Damage::Insert(at, odd)),
        (at(), 1..20_usize).prop_map(|(at, count)| Damage::Drop(at, count)),
        (at(), 1..40_usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
        at().prop_map(Damage::Cut),
        (at(), at(), at()).prop_map(|(at, other, from)| Damage::Splice(at, other, from)),
    ]
}

/// One of the seeds with a few damages.
pub(super) fn bytes(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damages = prop::collection::vec(any_damage(), 1..4);
    (any::<Index>(), damages).prop_map(move |(seed, damages)| {
        let mut bytes = seed.get(&seeds).clone();
        for damage in damages {
            suffer(&mut bytes, damage, &seeds);
        }
        bytes
    })
}

fn suffer(bytes: &mut Vec<u8>, damage: Damage, seeds: &[Vec<u8>]) {
    let place = |at: Index| at.index(bytes.len() + 1);
    match damage {
        Damage::Flip(at, bit) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= bit;
        }
        Damage::Set(at, byte) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        Damage::Flip(..) | Damage::Set(..) => {}
        Damage::Insert(at, odd) => {
            let at = place(at);
            bytes.splice(at..at, odd.iter().copied());
        }
        Damage::Drop(at, count) => {
            let at = place(at);
            bytes.drain(at..(at + count).min(bytes.len()));
        }
        Damage::Repeat(at, count) => {
            let at = place(at);
            let again = bytes[at..(at + count).min(bytes.len())].to_vec();
            bytes.splice(at..at, again);
        }
        Damage::Cut(at) => bytes.truncate(place(at)),
        Damage::Splice(at, other, from) => {
            let other = other.get(seeds);
            bytes.truncate(place(at));
            bytes.extend(&other[from.index(other.len() + 1)..]);
        }
    }
}
