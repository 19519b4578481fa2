//! UpdateItems and ListItems through the API.

mod json;
mod lists;
mod updates;
