//! The variant of a user.

use ring::digest::{SHA256, digest};

use crate::domain::ids::UserId;

/// The position of a user in \[0, 1): the first 8 bytes of SHA-256 of the salt, a zero
/// byte and the user id, as a big-endian number, divided by 2^64. Uniform over users,
/// and independent between salts.
///
/// The same in every process and release: a change would move users between the
/// variants of running experiments.
#[must_use]
pub fn position(salt: &str, user: &UserId) -> f64 {
    let text = [salt.as_bytes(), &[0], user.as_str().as_bytes()].concat();
    let mut first = [0; 8];
    for (byte, hashed) in first.iter_mut().zip(digest(&SHA256, &text).as_ref()) {
        *byte = *hashed;
    }
    // 53 bits: the quotient is exact, and below 1.
    (u64::from_be_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The index of the variant at a position: the first whose share, added to those before
/// it, exceeds the position; the last one with a share if rounding leaves none. `None`
/// if no share is above 0.
#[must_use]
pub fn variant_at(position: f64, shares: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut sum = 0.0;
    let mut last = None;
    for (index, share) in shares.into_iter().enumerate() {
        if share > 0.0 {
            sum += share;
            last = Some(index);
            if position < sum {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::{position, variant_at};
    use crate::domain::ids::UserId;

    fn of(salt: &str, user: &str) -> f64 {
        position(salt, &UserId::parse(user).unwrap())
    }

    #[test]
    fn the_position_of_a_user_never_changes() {
        // python3 -c "import hashlib; print((int.from_bytes(hashlib.sha256(
        //   b'SALT\0USER').digest()[:8], 'big') >> 11) / 2**53)"
        for (salt, user, expected) in [
            ("a", "1", 0.022121752060704325),
            ("home-2026", "ada", 0.24947405586704652),
            ("home-2026", "grace", 0.7052426484276574),
            ("s", "user:with *{ spaces", 0.4356899749842118),
            ("ñ", "用户", 0.4227344040027542),
        ] {
            assert_eq!(of(salt, user), expected, "{salt} {user}");
        }
    }

    #[test]
    fn each_variant_gets_its_share_of_users_independently_of_other_salts() {
        let users = 20_000;
        let shares = [0.5, 0.3, 0.2];
        let mut counts = [[0_u32; 3]; 3];
        for user in 0..users {
            let user = format!("user-{user}");
            let one = variant_at(of("one", &user), shares).unwrap();
            let other = variant_at(of("other", &user), shares).unwrap();
            counts[one][other] += 1;
        }
        for (one, row) in counts.iter().enumerate() {
            for (other, count) in row.iter().enumerate() {
                let expected = f64::from(users) * shares[one] * shares[other];
                let deviation = (f64::from(*count) - expected).abs() / expected.sqrt();
                assert!(deviation < 4.0, "{one} {other}: {count}, not {expected}");
            }
        }
    }

    #[test]
    fn a_position_belongs_to_the_first_share_that_exceeds_it() {
        for (position, expected) in [(0.0, 1), (0.249, 1), (0.25, 3), (0.999_999_9, 3)] {
            assert_eq!(
                variant_at(position, [0.0, 0.25, 0.0, 0.749_999, 0.0]),
                Some(expected)
            );
        }
        assert_eq!(variant_at(0.5, [0.0]), None);
    }
}
