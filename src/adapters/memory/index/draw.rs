//! A sample that need not be the same on other machines.

/// Up to `count` of these, each set of so many as likely as any other.
pub(super) fn draw(mut slots: Vec<u32>, count: usize, seed: u64) -> Vec<u32> {
    let mut state = seed;
    for drawn in 0..count.min(slots.len()) {
        let left = (slots.len() - drawn) as u128;
        let chosen = drawn + ((u128::from(next(&mut state)) * left) >> 64) as usize;
        slots.swap(drawn, chosen);
    }
    slots.truncate(count);
    slots
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
    use super::draw;

    #[test]
    fn every_one_is_drawn_as_often_as_any_other_and_none_twice() {
        let mut drawn = [0_u32; 50];
        for seed in 0..1_000 {
            let mut found = draw((0..50).collect(), 10, seed);
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
    fn more_than_there_are_is_all_of_them() {
        let mut all = draw(vec![4, 2, 9], 5, 1);
        all.sort_unstable();
        assert_eq!(all, [2, 4, 9]);
        assert!(draw(Vec::new(), 3, 1).is_empty());
        assert!(draw(vec![1], 0, 1).is_empty());
    }
}
