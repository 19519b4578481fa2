#![no_main]

use recsys::http::webhook::{elements::elements, mapping};

// Every element of a delivery is mapped to an event or to a reason for skipping it.
libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    for element in elements(body, 1_000).unwrap_or_default() {
        let _ = mapping::read(element);
    }
});
