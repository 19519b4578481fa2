//! `recsys` is an online recommender service. Backends send it what their
//! users do; it keeps a fresh model of each user; it answers what each should
//! see next, and why. One binary, a gRPC API, and nothing else needed: without
//! other stores named, everything is in memory.
//!
//! # The house
//!
//! ```text
//! main ──> app ──> grpc ──> engine ──> ports ──> domain
//!           │       └────> webhook ────────────────┤
//!           └────> adapters ───────────┘           │
//!                     └────────────────────────────┘
//! ```
//!
//! * [`domain`]: pure. Events + items + now -> user model; candidates + user
//!   model -> ranked list. No clock, no randomness, no input or output.
//! * [`ports`]: the traits of the stores, with their contracts, and their error.
//! * [`engine`]: the use cases: ingest, read signals, recommend, keep the
//!   catalogue. Imports the domain and the ports, nothing else of the house.
//! * [`adapters`]: the ports implemented. Never import the engine or gRPC.
//! * [`grpc`]: the edge. Parses and checks requests, calls the engine,
//!   converts replies, maps errors once.
//! * [`webhook`]: what deliveries of RudderStack and Segment say, in the API's
//!   words. `grpc/webhook/` takes them in.
//! * [`app`]: settings -> adapters -> engine -> server. The one place that
//!   decides between memory and real stores.
//! * [`causes`]: what is behind an error, for logs and commands.
//! * [`meters`]: every metric, for whichever room counts something; [`spans`]:
//!   likewise every span of a trace; [`throttle`]: a few log lines a second where
//!   there would be thousands; [`reactor`]: long work that holds up nobody else.
//! * [`tenants`]: the tenants file, its keys and roles.
//! * [`config`] (values read by [`parsers`]), [`telemetry`], [`cli`]: settings,
//!   logs, metrics and traces, and the commands besides `serve`.
//! * `fuzzing`: what must hold of any bytes that come in, for the tests and for
//!   `fuzz/`. It looks into every room, and is in no build but those.
//!
//! Arrows run one way; `tests/it/house.rs` reads the `use` lines and fails on
//! one that runs back.
//!
//! # Follow an event
//!
//! 1. `proto/recsys/v1/recommender.proto`: a client calls `IngestEvent`.
//! 2. `grpc/recommender.rs`: the handler has `grpc/parse/event.rs` check the
//!    event and give it its stored form (`domain/member.rs`), then calls
//!    [`engine::Engine::ingest`].
//! 3. `engine/ingest.rs`: the event is appended to the user's buffer, in a
//!    task that ends even if the client goes away; then the model is refreshed
//!    (`engine/refresh.rs`): read the buffer, unless the append told what it
//!    holds, read the items it names, build the model (`domain/signals/`), save
//!    it.
//! 4. `ports.rs`: [`ports::EventBuffer`] and [`ports::ModelStore`] say what
//!    must hold meanwhile.
//! 5. `adapters/redis/events.rs` and its scripts: the buffer itself; without
//!    Redis `adapters/memory/events.rs`.
//!
//! The next `Recommend` reads that model (`engine/signals.rs`), gathers
//! candidates (`engine/recommend/candidates.rs`) and ranks them
//! (`domain/ranking/`).

pub mod adapters;
pub mod api;
pub mod app;
pub mod blocking;
pub mod cli;
pub mod config;
pub mod domain;
pub mod edge;
pub mod engine;
pub mod http;
pub mod parsers;
pub mod ports;
pub mod proto;
pub mod telemetry;
