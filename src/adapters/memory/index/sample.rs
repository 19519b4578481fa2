//! A uniform random sample, which need not be equal on other machines.

use foldhash::HashMap;

/// A shuffle notes its swaps one by one until it has drawn one in this many: then an array
/// of all places is faster.
const DENSE_FROM: usize = 16;

/// What a sample is drawn from.
pub(super) enum Population {
    /// All slots below this number.
    Below(usize),
    /// These slots, each once.
    Of(Vec<u32>),
}

/// Up to `count` of the slots: each set of this size is equally likely.
pub(super) fn sample(
    population: Population,
    count: usize,
    seed: u64,
    is_allowed: impl Fn(u32) -> bool,
) -> Vec<u32> {
    // The first steps of a Fisher-Yates shuffle.
    let mut shuffle = Shuffle::new(population);
    let size = shuffle.size;
    let mut state = seed;
    let mut sample = Vec::with_capacity(count.min(size));
    for drawn in 0..size {
        if sample.len() >= count {
            break;
        }
        let left = (size - drawn) as u128;
        let chosen = drawn + ((u128::from(next(&mut state)) * left) >> 64) as usize;
        sample.extend(Some(shuffle.draw(drawn, chosen)).filter(|slot| is_allowed(*slot)));
    }
    sample
}

/// Slots in an order of which only the beginning is random.
struct Shuffle {
    size: usize,
    slots: Slots,
}

enum Slots {
    /// Every place holds the slot of its number, except for these.
    Moved(HashMap<usize, u32>),
    InOrder(Vec<u32>),
}

impl Shuffle {
    fn new(population: Population) -> Self {
        match population {
            Population::Below(size) => Self {
                size,
                slots: Slots::Moved(HashMap::default()),
            },
            Population::Of(slots) => Self {
                size: slots.len(),
                slots: Slots::InOrder(slots),
            },
        }
    }

    /// Swaps the slots of two places, the second not before the first. Returns the slot that
    /// is in the first place then.
    fn draw(&mut self, place: usize, chosen: usize) -> u32 {
        if let Slots::Moved(moved) = &mut self.slots {
            if place < self.size / DENSE_FROM {
                let here = moved.remove(&place).unwrap_or(place as u32);
                return if chosen == place {
                    here
                } else {
                    moved.insert(chosen, here).unwrap_or(chosen as u32)
                };
            }
            let mut slots: Vec<u32> = (0..self.size as u32).collect();
            for (place, slot) in moved {
                slots[*place] = *slot;
            }
            self.slots = Slots::InOrder(slots);
        }
        match &mut self.slots {
            Slots::InOrder(slots) => {
                slots.swap(place, chosen);
                slots[place]
            }
            Slots::Moved(_) => chosen as u32,
        }
    }
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
    use super::{Population, sample};

    #[test]
    fn every_slot_is_equally_likely_and_none_is_drawn_twice() {
        let below = || Population::Below(50);
        let of_slots = || Population::Of((0..50).collect());
        for population in [&below as &dyn Fn() -> Population, &of_slots] {
            let mut drawn = [0_u32; 50];
            for seed in 0..1_000 {
                let mut found = sample(population(), 10, seed, |_| true);
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
    }

    #[test]
    fn all_slots_below_a_number_are_drawn_like_an_array_of_them() {
        for (size, seed) in [(1, 1), (40, 2), (200, 3), (1_000, 4)] {
            let array = || Population::Of((0..size as u32).collect());
            for count in [1, size / 20, size / 2, size] {
                assert_eq!(
                    sample(Population::Below(size), count, seed, |slot| slot % 3 != 0),
                    sample(array(), count, seed, |slot| slot % 3 != 0),
                );
            }
        }
    }

    #[test]
    fn a_sample_larger_than_the_population_is_all_of_it() {
        let mut all = sample(Population::Of(vec![4, 2, 9]), 5, 1, |_| true);
        all.sort_unstable();
        assert_eq!(all, [2, 4, 9]);
        assert!(sample(Population::Of(Vec::new()), 3, 1, |_| true).is_empty());
        assert!(sample(Population::Below(1), 0, 1, |_| true).is_empty());
    }
}
