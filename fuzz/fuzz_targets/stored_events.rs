#![no_main]

use recsys::domain::{event_member, ids::UserId, time::Timestamp};

// A readable member is the same event after it is written.
libfuzzer_sys::fuzz_target!(|text: &str| {
    let user = UserId::parse("visitor").unwrap();
    let score = Timestamp::from_micros(1_781_092_800_000_000);
    if let Ok(stored) = event_member::decode(&user, text, score) {
        let written = event_member::encode(stored.event).unwrap();
        let read = event_member::decode(&user, &written.member, Timestamp::from_micros(1)).unwrap();
        assert_eq!(read, written);
    }
});
