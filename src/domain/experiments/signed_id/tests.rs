//! Tests of signed ids.

use std::time::Duration;

use super::{ArmId, InvalidKeys, RequestIdKeys, SignedId};
use crate::domain::{
    ids::{ContentId, UserId},
    time::Timestamp,
};

const FIRST: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SECOND: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn keys(text: &str) -> RequestIdKeys {
    RequestIdKeys::parse(text).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn issued_at(issued: Timestamp) -> SignedId {
    let arm = ArmId::of(Some("home"), Some(("weights", "b")));
    let items = ["clock", "77"].map(ContentId::from);
    SignedId::new(arm, issued, 0x0123_4567_89ab_cdef, items.iter())
}

fn an_id() -> SignedId {
    issued_at(at(1_767_225_600))
}

#[test]
fn an_id_has_the_documented_form() {
    let ids = [
        keys(FIRST).sign(&an_id(), Some(&user("ada"))),
        keys(FIRST).in_scope("shop:").sign(&an_id(), None),
    ];
    // Computed with Python's hmac and xxhash from the documented form.
    let expected = [
        "AQEIln0NKnNHpWlVuQABI0VniavN7yiuO5DpWu2-Tpps4A",
        "AQAIln0NKnNHpWlVuQABI0VniavN7yiuO5B_A3Qjo3-IRw",
    ];
    assert_eq!(ids, expected.map(|id| Some(id.to_owned())));
}

#[test]
fn the_id_of_an_arm_depends_on_each_of_its_names() {
    let all = [
        ArmId::of(None, None),
        ArmId::of(Some("home"), None),
        ArmId::of(Some("home"), Some(("a", "b"))),
        ArmId::of(Some("home"), Some(("b", "a"))),
        ArmId::of(Some("a"), Some(("home", "b"))),
        ArmId::of(None, Some(("a", "b"))),
    ];
    for (index, arm) in all.iter().enumerate() {
        assert!(!all[..index].contains(arm), "{index}");
    }
}

#[test]
fn an_id_is_valid_for_its_user_and_scope_only() {
    let (ada, eve) = (user("ada"), user("eve"));
    let shop = keys(FIRST).in_scope("shop:");
    let id = shop.sign(&an_id(), Some(&ada)).unwrap();
    assert_eq!(shop.verify(&id, &ada), Some(an_id()));
    assert_eq!(shop.verify(&id, &eve), None);
    assert_eq!(keys(FIRST).in_scope("museum:").verify(&id, &ada), None);
    assert_eq!(keys(FIRST).verify(&id, &ada), None);
    let of_nobody = shop.sign(&an_id(), None).unwrap();
    assert_eq!(shop.verify(&of_nobody, &ada), Some(an_id()));
    assert_eq!(shop.verify(&of_nobody, &eve), Some(an_id()));
}

#[test]
fn a_changed_id_and_other_texts_are_not_valid() {
    let (keys, ada) = (keys(FIRST), user("ada"));
    let id = keys.sign(&an_id(), Some(&ada)).unwrap();
    for at in 0..id.len() {
        for other in ['A', 'b', '_', '='] {
            let mut changed: Vec<char> = id.chars().collect();
            if changed[at] == other {
                continue;
            }
            changed[at] = other;
            let changed: String = changed.into_iter().collect();
            assert_eq!(keys.verify(&changed, &ada), None, "{changed}");
        }
    }
    let uuid = "0bd9c1a7-7f3c-4a57-9c3f-2b1f9d0c7a11";
    let (cut, longer) = (&id[..40], format!("{id}AAA"));
    for text in ["", uuid, cut, &longer, &"é".repeat(20), &"A".repeat(40)] {
        assert_eq!(keys.verify(text, &ada), None, "{text}");
    }
}

#[test]
fn the_first_key_signs_and_both_verify() {
    let ada = user("ada");
    let old = keys(FIRST).sign(&an_id(), Some(&ada)).unwrap();
    let rotated = keys(&format!("{SECOND}\n\n{FIRST}\n"));
    let new = rotated.sign(&an_id(), Some(&ada)).unwrap();
    assert_ne!(old, new);
    assert_eq!(rotated.verify(&old, &ada), Some(an_id()));
    assert_eq!(rotated.verify(&new, &ada), Some(an_id()));
    assert_eq!(keys(SECOND).verify(&new, &ada), Some(an_id()));
    assert_eq!(keys(SECOND).verify(&old, &ada), None);
}

#[test]
fn a_wrong_key_file_is_refused_with_what_is_wrong() {
    let (short, letter) = (&FIRST[..62], FIRST.replace('f', "g"));
    for (text, expected) in [
        (String::new(), InvalidKeys::Count(0)),
        ("\n \n".to_owned(), InvalidKeys::Count(0)),
        (
            format!("{FIRST}\n{SECOND}\n{}", "ab".repeat(32)),
            InvalidKeys::Count(3),
        ),
        (format!("{FIRST}\n{short}"), InvalidKeys::Form(2)),
        (format!("\n{letter}"), InvalidKeys::Form(2)),
        ("é".repeat(32), InvalidKeys::Form(1)),
        (format!("{FIRST}\n{FIRST}"), InvalidKeys::Same),
        (
            format!("{FIRST}\n{}", FIRST.to_uppercase()),
            InvalidKeys::Same,
        ),
    ] {
        assert_eq!(RequestIdKeys::parse(&text).unwrap_err(), expected, "{text}");
    }
    assert!(!format!("{:?}", keys(FIRST)).contains("0001"));
}

#[test]
fn only_events_within_a_day_of_the_list_result_from_it() {
    let (id, day) = (an_id(), 86_400);
    let issued = 1_767_225_600;
    for (event, now, expected) in [
        (0, 0, true),
        (60, 61, true),
        (-300, 0, true),
        (-301, 0, false),
        (0, -301, false),
        (day, day, true),
        (0, day + 1, false),
        (day + 1, day, false),
    ] {
        let result = id.can_lead_to(at(issued + event), at(issued + now));
        assert_eq!(result, expected, "{event} {now}");
    }
}

#[test]
fn a_time_that_an_id_cannot_hold_has_none() {
    let last = at(i64::from(u32::MAX));
    assert!(keys(FIRST).sign(&issued_at(last), None).is_some());
    assert_eq!(
        keys(FIRST).sign(&issued_at(last.plus(Duration::from_secs(1))), None),
        None
    );
    assert_eq!(keys(FIRST).sign(&issued_at(at(-1)), None), None);
}

#[test]
fn an_id_has_the_items_of_its_list_and_is_no_longer_than_ids_may_be() {
    let items: Vec<ContentId> = (0..200).map(|n| format!("item-{n}").into()).collect();
    let id = SignedId::new(ArmId::of(None, None), at(1), 7, items.iter());
    let text = keys(FIRST).sign(&id, None).unwrap();
    assert_eq!(text.len(), 440);
    let id = keys(FIRST).verify(&text, &user("ada")).unwrap();
    assert!(items[..150].iter().all(|item| id.has(item)));
    let others = (0..1_000).map(|n| ContentId::from(format!("other-{n}")));
    let wrong = others.filter(|item| id.has(item)).count();
    assert!(wrong <= 10, "{wrong} of 1,000");
    let empty = SignedId::new(ArmId::of(None, None), at(1), 7, [].iter());
    let text = keys(FIRST).sign(&empty, None).unwrap();
    assert_eq!(text.len(), 40);
    assert!(
        !keys(FIRST)
            .verify(&text, &user("ada"))
            .unwrap()
            .has(&items[0])
    );
}
