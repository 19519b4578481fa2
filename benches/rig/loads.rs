//! The loads, and the targets for the ratios between them.

use std::collections::HashMap;

use super::{
    driver::RpcCall,
    fill,
    floor::FloorRequest,
    report::{Bound, Row, Target, median},
};

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerKind {
    Floor,
    Common,
    Deep,
    Embedded,
    Large,
    Mirrored,
    LargeQdrant,
    LargeMirrored,
}

impl ServerKind {
    pub fn has_many_items(self) -> bool {
        matches!(self, Self::Large | Self::LargeQdrant | Self::LargeMirrored)
    }
}

/// How the calls of a load follow each other.
pub enum LoadKind {
    /// Callers on several connections, each of which waits for its reply.
    Unary,
    /// One caller.
    AloneInFlight,
    /// One caller, which makes this call before each that is measured.
    After(RpcCall),
    /// Two callers; each call has this many elements, which its row counts.
    Batch { elements: usize },
    /// One stream on each connection, whose messages hold this many events. Its row
    /// counts events.
    Stream { events: usize },
}

pub struct BenchLoad {
    pub name: &'static str,
    pub server: ServerKind,
    pub call: RpcCall,
    pub kind: LoadKind,
}

/// With the loads over a real Qdrant, or else those over the stand-in.
pub fn all(real_qdrant: bool) -> Vec<BenchLoad> {
    let load = |name, server, call| BenchLoad {
        name,
        server,
        call,
        kind: LoadKind::Unary,
    };
    let floor = |name, method| {
        let call = fill::call(method, fill::user(), |user_id| FloorRequest { user_id });
        load(name, ServerKind::Floor, call)
    };
    let ingest = |name, server, who| load(name, server, fill::ingest(who));
    let signals = |name, vectors| {
        let call = fill::signals(fill::user(), vectors);
        load(name, ServerKind::Common, call)
    };
    let recommend = |name, server| load(name, server, fill::recommend(fill::user()));
    let of_kind = |kind, load: BenchLoad| BenchLoad { kind, ..load };
    let stream = load(
        "StreamIngestEvents",
        ServerKind::Common,
        fill::ingest_batch(),
    );
    let embedded = ServerKind::Embedded;
    let mut loads = vec![
        floor("floor echo", "/floor.Floor/Echo"),
        recommend("Recommend, embedded", embedded),
        load("Recommend, visitor", embedded, fill::recommend_visitor()),
        load("SimilarItems", embedded, fill::similar_items()),
        load("PopularItems", embedded, fill::popular_items()),
        recommend("Recommend, 100,000 items", ServerKind::Large),
        load(
            "Recommend, 100,000 items, where",
            ServerKind::Large,
            fill::recommend_where(),
        ),
        floor("floor get", "/floor.Floor/Get"),
        signals("GetUserSignals", false),
        signals("GetUserSignals, vectors", true),
        of_kind(
            LoadKind::AloneInFlight,
            signals("GetUserSignals, alone", false),
        ),
        of_kind(
            LoadKind::After(fill::ingest(fill::user())),
            signals("GetUserSignals, after ingest", false),
        ),
        floor("floor write", "/floor.Floor/Write"),
        ingest("IngestEvent, 50", ServerKind::Common, fill::user()),
        ingest("IngestEvent, 5000", ServerKind::Deep, fill::deep_user()),
        of_kind(
            LoadKind::Stream {
                events: fill::BATCH_USERS * fill::BATCH_EVENTS_EACH,
            },
            stream,
        ),
        of_kind(
            LoadKind::Batch {
                elements: fill::UPDATES_AT_ONCE,
            },
            load("UpdateItems", ServerKind::Common, fill::update_items()),
        ),
    ];
    if real_qdrant {
        loads.extend([
            floor("floor query", "/floor.Floor/Query"),
            recommend("Recommend, Qdrant", ServerKind::Common),
            recommend("Recommend, Qdrant, mirrored", ServerKind::Mirrored),
            recommend("Recommend, Qdrant, 100,000 items", ServerKind::LargeQdrant),
            recommend(
                "Recommend, Qdrant, 100,000 items, mirrored",
                ServerKind::LargeMirrored,
            ),
        ]);
    } else {
        loads.extend([
            floor("floor query, stand-in", "/floor.Floor/Query"),
            recommend("Recommend, stand-in", ServerKind::Common),
        ]);
    }
    loads
}

/// The medians, over the rounds, of what is compared, with its bounds.
pub fn targets(rounds: &[HashMap<&str, Row>]) -> Vec<Target> {
    let speed: fn(&Row) -> f64 = |row| row.per_second;
    let cpu: fn(&Row) -> f64 = |row| row.server_us + row.redis_us;
    let latency: fn(&Row) -> f64 = |row| row.p50_us as f64;
    let ratio = |what, of: &str, to: &str, value: fn(&Row) -> f64, bound| {
        let of_round =
            |rows: &HashMap<&str, Row>| Some(value(rows.get(of)?) / value(rows.get(to)?));
        let ratios: Vec<f64> = rounds.iter().filter_map(of_round).collect();
        (!ratios.is_empty()).then(|| Target {
            what,
            value: median(ratios),
            bound,
        })
    };
    let rate = |what, of: &str, least| {
        let rows = rounds.iter().filter_map(|rows| rows.get(of));
        let rates: Vec<f64> = rows.map(speed).collect();
        (!rates.is_empty()).then(|| Target {
            what,
            value: median(rates),
            bound: Bound::AtLeast(least),
        })
    };
    [
        ratio(
            "GetUserSignals / floor get",
            "GetUserSignals",
            "floor get",
            speed,
            Bound::AtLeast(0.8),
        ),
        ratio(
            "GetUserSignals, vectors / floor get",
            "GetUserSignals, vectors",
            "floor get",
            speed,
            Bound::AtLeast(0.6),
        ),
        ratio(
            "GetUserSignals, alone / after ingest: p50",
            "GetUserSignals, alone",
            "GetUserSignals, after ingest",
            latency,
            Bound::AtLeast(0.5),
        ),
        ratio(
            "IngestEvent, 50 / floor write",
            "IngestEvent, 50",
            "floor write",
            speed,
            Bound::AtLeast(0.8),
        ),
        ratio(
            "IngestEvent, 5000 / 50: CPU",
            "IngestEvent, 5000",
            "IngestEvent, 50",
            cpu,
            Bound::AtMost(1.5),
        ),
        ratio(
            "IngestEvent, 5000 / 50: p50",
            "IngestEvent, 5000",
            "IngestEvent, 50",
            latency,
            Bound::AtMost(1.5),
        ),
        rate(
            "StreamIngestEvents, events a second",
            "StreamIngestEvents",
            30_000.0,
        ),
        rate(
            "UpdateItems, items a second",
            "UpdateItems",
            100_000.0 / 60.0,
        ),
        ratio(
            "Recommend, Qdrant / floor query",
            "Recommend, Qdrant",
            "floor query",
            speed,
            Bound::AtLeast(0.7),
        ),
        ratio(
            "Recommend, Qdrant, mirrored / floor query",
            "Recommend, Qdrant, mirrored",
            "floor query",
            speed,
            Bound::AtLeast(3.0),
        ),
        ratio(
            "Recommend, Qdrant, 100,000 items, mirrored / not",
            "Recommend, Qdrant, 100,000 items, mirrored",
            "Recommend, Qdrant, 100,000 items",
            speed,
            Bound::AtLeast(4.0),
        ),
        // The stand-in does not cost what Qdrant costs: this has no target.
        ratio(
            "Recommend / floor query, both over the stand-in",
            "Recommend, stand-in",
            "floor query, stand-in",
            speed,
            Bound::None,
        ),
        ratio(
            "Recommend, embedded / floor echo",
            "Recommend, embedded",
            "floor echo",
            speed,
            Bound::AtLeast(0.06),
        ),
        ratio(
            "Recommend, visitor / user",
            "Recommend, visitor",
            "Recommend, embedded",
            speed,
            Bound::AtLeast(1.0),
        ),
        ratio(
            "SimilarItems / Recommend",
            "SimilarItems",
            "Recommend, embedded",
            speed,
            Bound::AtLeast(2.0),
        ),
        ratio(
            "PopularItems / Recommend",
            "PopularItems",
            "Recommend, embedded",
            speed,
            Bound::AtLeast(2.0),
        ),
        ratio(
            "Recommend, 100,000 items, where / without: CPU",
            "Recommend, 100,000 items, where",
            "Recommend, 100,000 items",
            cpu,
            Bound::AtMost(1.3),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
