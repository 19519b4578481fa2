#![no_main]

use recsys::{adapters::redis::model_json, domain::ids::UserId, ports::ModelSlot};

// A readable model is the same model after it is written.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let user = UserId::parse("visitor").unwrap();
    if let Ok(ModelSlot::Present(model)) = model_json::decode(&user, bytes) {
        let written = model_json::encode(&model).unwrap();
        let read = model_json::decode(&user, written.as_bytes()).unwrap();
        assert_eq!(read, ModelSlot::Present(model));
    }
});
