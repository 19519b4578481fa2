//! `recsys` is an online recommender service. Backends send it what their users do; it
//! keeps a current model of each user; it answers what each user should see next, and
//! why. It is one binary with a gRPC API. Without the addresses of other stores,
//! everything is in memory.
//!
//! # Rooms
//!
//! ```text
//! main ──> cli ──> app ──> http ──> api ──> edge ──> engine ──> ports ──> domain
//!                   │                                             ▲          ▲
//!                   └────> adapters ──────────────────────────────┴──────────┘
//! ```
//!
//! * [`domain`]: pure. Events, items and the time give a user model; a user model and
//!   candidates give a ranked list. No clock, no randomness, no IO.
//! * [`ports`]: the traits of the stores with their contracts, and their errors.
//! * [`engine`]: the use cases: ingest events, read a user's model, rank lists, erase and
//!   export users, write the catalogue. Imports domain and ports.
//! * [`adapters`]: the ports over memory, Redis and Qdrant.
//! * [`edge`]: what every call passes before its handler: accept, TLS, keys, load,
//!   deadlines, the call log. It knows neither services nor protocols.
//! * [`api`]: the gRPC services. A handler parses, calls the engine, converts. Its
//!   `methods.rs` lists every method with its roles.
//! * [`http`]: the webhook with its mapping, and the admin port.
//! * [`app`]: the composition root: settings, then adapters, engine, servers. The one
//!   place that decides between memory and other stores.
//! * [`cli`]: the commands other than `serve`.
//! * [`config`]: all settings. Each room declares its own; the config joins them.
//! * [`proto`]: the messages of the contract, generated.
//! * [`telemetry`]: logs, metrics, spans, throttled logs, error chains.
//!
//! Two rooms serve the others:
//!
//! * [`parsers`]: values of settings, such as durations. Rooms that declare settings use
//!   it, and they must not import the config.
//! * [`blocking`]: long computations that must not block the runtime. The engine, the
//!   adapters and the webhook have some.
//!
//! Rooms import each other in the direction of the arrows only. Any room but domain and
//! ports may import telemetry, parsers and blocking. The files of a room import each
//! other without circles. `tests/it/house.rs` checks this.
//!
//! # Follow an event
//!
//! 1. `proto/recsys/v1/recommender.proto`: a client calls IngestEvent.
//! 2. `api/recommender.rs`: the handler parses the event, which checks it and encodes it
//!    for the store, and calls the engine.
//! 3. `engine/ingest.rs`: appends the event to the user's buffer, in a task that finishes
//!    even if the client cancels the call. `engine/models/` saves the user's model behind
//!    the acknowledgement.
//! 4. `ports/events.rs`: what an append guarantees.
//! 5. `adapters/redis/events.rs`: the append as a script in Redis.
//!
//! # Follow a list
//!
//! 1. `api/recommender.rs`: a client calls Recommend; the handler parses the request and
//!    calls the engine.
//! 2. `engine/lists/`: reads the user's model (`engine/models/`, which builds it from the
//!    event buffer if none is current), collects candidates from several generators, and
//!    ranks them.
//! 3. `domain/ranking/`: scores each candidate, adds up the scores, orders the list by
//!    relevance and diversity, and places one exploration item.
//! 4. `api/reply.rs`: converts the list, with each item's score parts, and the
//!    diagnostics.

pub mod adapters;
pub mod api;
pub mod app;
pub mod blocking;
pub mod cli;
pub mod config;
pub mod domain;
pub mod edge;
pub mod engine;
pub mod eval;
pub mod http;
pub mod parsers;
pub mod ports;
pub mod proto;
pub mod tables;
pub mod telemetry;
