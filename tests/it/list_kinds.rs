//! Lists of every kind: for a user, a session, both, nobody; similar and popular items.

mod commands;
mod context;
mod deadlines;
mod generated_shop;
mod kinds;
mod options;
mod popular;
mod similar;
mod wrong_use;
