//! From requests to the engine's types. Invalid input is refused here, with every
//! rule that it breaks and the path of each field from the request's root.

mod checks;
mod event;
mod item;
mod item_list;
mod item_signals;
mod item_update;
mod recommend;

pub(crate) use checks::Checks;
pub(crate) use event::{UncheckedEvent, event, validate};
pub(crate) use item::item;
pub(crate) use item_list::{ItemListRequest, item_list, unknown_position};
pub(crate) use item_signals::item_signals;
pub(crate) use item_update::item_update;
pub(crate) use recommend::{ListSettings, popular_items, recommend, similar_items};
