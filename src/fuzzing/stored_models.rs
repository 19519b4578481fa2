//! Models as any program may have left them.

use super::{
    checks::{check_lists, check_stored, check_vector, check_views},
    world,
};
use crate::{
    adapters::redis::model_json,
    domain::{ranking_config::RankingConfig, tags::Canonicalizer},
    ports::ModelSlot,
};

/// Reads what is at a user's model key.
///
/// What can be read names the items that the user has met each once, is the
/// same when it is written and read, begins with a rank of fixed width when it
/// is written, and ranks with scores in bounds.
pub fn stored_models(data: &[u8]) -> bool {
    match model_json::decode(&world::user(), data) {
        Ok(ModelSlot::Present(model)) => {
            check_vector(model.signals.taste_vector.as_ref());
            check_vector(model.signals.recency_vector.as_ref());
            check_views(&model.signals);
            check_stored(&model);
            let items = world::items(&Canonicalizer::default());
            check_lists(&model.signals, &items, &RankingConfig::default());
            true
        }
        Ok(ModelSlot::Erased) => true,
        Ok(ModelSlot::Missing | ModelSlot::Unreadable) | Err(_) => false,
    }
}
