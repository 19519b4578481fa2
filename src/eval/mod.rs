//! How good lists are, measured on a log of events.
//!
//! A replay goes through a log in the order of time. Before each event that
//! counts as a like it requests a list as of that moment from every ranker, records
//! the rank of the liked item, and then passes the event to the ranker:
//! test, then train. So no list knows anything of what came after it.
//!
//! * [`log`]: events and items, sorted, without duplicates; [`likes`] decides
//!   what counts as a like.
//! * [`plan`]: which events lists are made for. The same for every ranker.
//! * [`ranker`]: what is measured. [`engine_ranker`] is the engine over embedded
//!   stores, with a clock that the events move; [`baselines`] is what it is
//!   compared with.
//! * [`replay`] runs one ranker, [`runs`] several at the same time.
//! * [`measures`], [`bootstrap`] and [`summary`] make numbers of the ranks;
//!   [`report`] writes them for readers and programs.
//! * [`tune`] searches for better weights on the first part of a log and
//!   measures them on the rest.
//! * [`world`] makes logs whose truth is known.
//!
//! The same input and seed give the same bytes of every report, on any number of
//! threads: nothing that is written depends on the wall clock or on the order in
//! which rankers finish.

pub mod baselines;
pub mod bootstrap;
pub mod engine_ranker;
pub mod likes;
pub mod log;
pub mod measures;
pub mod plan;
pub mod ranker;
pub mod replay;
pub mod report;
pub mod rng;
pub mod runs;
pub mod summary;
pub mod tune;
pub mod world;
