//! A uniform random sample, which need not be equal on other machines.

/// Up to `count` of the slots: each set of this size is equally likely.
pub(super) fn sample(
    mut slots: Vec<u32>,
    count: usize,
    seed: u64,
    is_allowed: impl Fn(u32) -> bool,
) -> Vec<u32> {
    // The first steps of a Fisher-Yates shuffle.
    let mut state = seed;
    let mut sample = Vec::with_capacity(count.min(slots.len()));
    for drawn in 0..slots.len() {
        if sample.len() >= count {
            break;
        }
        let left = (slots.len() - drawn) as u128;
        let chosen = drawn + ((u128::from(next(&mut state)) * left) >> 64) as usize;
        slots.swap(drawn, chosen);
        sample.extend(slots.get(drawn).copied().filter(|slot| is_allowed(*slot)));
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
    use super::sample;

    #[test]
    fn every_slot_is_equally_likely_and_none_is_drawn_twice() {
        let mut drawn = [0_u32; 50];
        for seed in 0..1_000 {
            let mut found = sample((0..50).collect(), 10, seed, |_| true);
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

    #[test]
    fn a_sample_larger_than_the_population_is_all_of_it() {
        let mut all = sample(vec![4, 2, 9], 5, 1, |_| true);
        all.sort_unstable();
        assert_eq!(all, [2, 4, 9]);
        assert!(sample(Vec::new(), 3, 1, |_| true).is_empty());
        assert!(sample(vec![1], 0, 1, |_| true).is_empty());
    }
}
