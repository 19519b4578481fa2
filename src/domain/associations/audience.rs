//! The users who recently engaged with an item.

use foldhash::HashSet;

use crate::domain::{ids::UserId, time::Timestamp};

/// A user of an audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudienceMember {
    /// The user.
    pub user: UserId,
    /// When the user last engaged with the item.
    pub time: Timestamp,
}

/// The users who recently engaged with an item, each once, the newest first; at
/// equal times the bytewise larger user id first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience(Vec<AudienceMember>);

impl Audience {
    /// The newest `audience_max` of these members, given in any order. Of several
    /// entries of one user the latest counts.
    #[must_use]
    pub fn new(mut members: Vec<AudienceMember>, audience_max: usize) -> Self {
        members.sort_by(|a, b| (b.time, &b.user).cmp(&(a.time, &a.user)));
        let mut users: HashSet<UserId> = HashSet::default();
        members.retain(|member| users.insert(member.user.clone()));
        members.truncate(audience_max);
        Self(members)
    }

    /// The members, the newest first.
    #[must_use]
    pub fn members(&self) -> &[AudienceMember] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::any, prop_assert, prop_assert_eq, proptest};

    use super::{Audience, AudienceMember};
    use crate::domain::{ids::UserId, time::Timestamp};

    fn member((user, micros): (&str, i64)) -> AudienceMember {
        AudienceMember {
            user: UserId::parse(user).unwrap(),
            time: Timestamp::from_micros(micros),
        }
    }

    #[test]
    fn the_newest_members_are_kept_and_the_larger_id_comes_first() {
        let members = [
            ("a", 1),
            ("u9", 5),
            ("u10", 5),
            ("é", 5),
            ("b", 9),
            ("b", 2),
        ];
        let audience = Audience::new(members.map(member).to_vec(), 4);
        let users: Vec<_> = audience
            .members()
            .iter()
            .map(|member| member.user.as_str())
            .collect();
        assert_eq!(users, ["b", "é", "u9", "u10"]);
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter_and_the_bound_holds(
            members in vec(("[a-d]", 0_i64..5), 0..12),
            keys in vec(any::<u32>(), 24),
            audience_max in 1_usize..6,
        ) {
            let members: Vec<_> = members
                .iter()
                .map(|(user, micros)| member((user, *micros)))
                .collect();
            let audience = Audience::new(members.clone(), audience_max);
            let mut shuffled: Vec<_> = keys.iter().zip(members.iter().chain(&members)).collect();
            shuffled.sort_by_key(|(key, _)| *key);
            let shuffled = shuffled.into_iter().map(|(_, member)| member.clone()).collect();
            prop_assert_eq!(&Audience::new(shuffled, audience_max), &audience);
            prop_assert!(audience.members().len() <= audience_max);
        }
    }
}
