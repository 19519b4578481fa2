//! A uniform random sample, which need not be equal on other machines.

use super::slot_map::SlotMap;

/// What `slot_at` returns for up to `count` of the numbers below `size`, of those for which it
/// returns something: each set of this size is equally likely.
pub(super) fn sample(
    size: usize,
    count: usize,
    seed: u64,
    slot_at: impl Fn(u32) -> Option<u32>,
) -> Vec<u32> {
    // The first steps of a Fisher-Yates shuffle. A number that is not here is in its place.
    let mut moved = SlotMap::new(size);
    let mut state = seed;
    let mut sample = Vec::with_capacity(count.min(size));
    for drawn in 0..size as u32 {
        if sample.len() >= count {
            break;
        }
        let left = u128::from(size as u32 - drawn);
        let chosen = drawn + ((u128::from(next(&mut state)) * left) >> 64) as u32;
        let here = moved.remove(drawn).unwrap_or(drawn);
        let number = if chosen == drawn {
            here
        } else {
            moved.insert(chosen, here).unwrap_or(chosen)
        };
        sample.extend(slot_at(number));
    }
    sample
}

/// SplitMix64 (G. Steele, D. Lea and C. Flood, "Fast Splittable Pseudorandom
/// Number Generators", OOPSLA 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::{next, sample};

    #[test]
    fn every_slot_is_equally_likely_and_none_is_drawn_twice() {
        let mut drawn = [0_u32; 50];
        for seed in 0..1_000 {
            let mut found = sample(50, 10, seed, Some);
            assert_eq!(found.len(), 10);
            found.iter().for_each(|slot| drawn[*slot as usize] += 1);
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), 10);
        }
        // 200 expected each; the standard deviation is about 13.
        assert!(
            drawn.iter().all(|count| (130..270).contains(count)),
            "{drawn:?}"
        );
    }

    /// The same shuffle of an array.
    fn sample_of_array(
        size: u32,
        count: usize,
        seed: u64,
        is_allowed: fn(&u32) -> bool,
    ) -> Vec<u32> {
        let mut slots: Vec<u32> = (0..size).collect();
        let mut state = seed;
        for drawn in 0..slots.len() {
            let left = (slots.len() - drawn) as u128;
            slots.swap(
                drawn,
                drawn + ((u128::from(next(&mut state)) * left) >> 64) as usize,
            );
        }
        slots.into_iter().filter(is_allowed).take(count).collect()
    }

    #[test]
    fn slots_are_drawn_like_those_of_an_array() {
        let is_allowed = |slot: &u32| !slot.is_multiple_of(3);
        for (size, seed) in [(1, 1), (40, 2), (200, 3), (1_000, 4)] {
            for count in [1, size / 20, size / 2, size] {
                assert_eq!(
                    sample(size, count, seed, |slot| Some(slot).filter(is_allowed)),
                    sample_of_array(size as u32, count, seed, is_allowed),
                );
            }
        }
    }

    #[test]
    fn a_sample_larger_than_the_population_is_all_of_it() {
        let slots = [4, 2, 9];
        let mut all = sample(3, 5, 1, |place| slots.get(place as usize).copied());
        all.sort_unstable();
        assert_eq!(all, [2, 4, 9]);
        assert!(sample(0, 3, 1, Some).is_empty());
        assert!(sample(1, 0, 1, Some).is_empty());
    }
}
