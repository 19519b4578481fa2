//! Handles of series, each looked up in the recorder once.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{
        OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use metrics::{Counter, Histogram, Label, counter, histogram};

use super::labels::{Labels, MOST_VALUES};

/// Whether there is a recorder. A handle that is looked up without one has no effect
/// forever.
static ENABLED: AtomicBool = AtomicBool::new(false);

/// Looks handles up from now on: there is a recorder.
pub(super) fn enable() {
    ENABLED.store(true, Ordering::Release);
}

/// Whether there is a recorder.
pub(super) fn is_enabled() -> bool {
    ENABLED.load(Ordering::Acquire)
}

/// The series of one metric, by their labels.
pub(super) struct Series<L, H> {
    name: &'static str,
    handles: [OnceLock<H>; MOST_VALUES],
    labels: PhantomData<fn(L)>,
}

pub(super) type Counters<L> = Series<L, Counter>;
pub(super) type Histograms<L> = Series<L, Histogram>;

impl<L: Labels, H> Series<L, H> {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            handles: [const { OnceLock::new() }; MOST_VALUES],
            labels: PhantomData,
        }
    }

    /// `None` if there is no recorder.
    fn handle(&self, labels: L, look_up: impl Fn(&'static str, Vec<Label>) -> H) -> Option<&H> {
        let handle = self.handles.get(labels.index())?;
        if !is_enabled() {
            return None;
        }
        Some(handle.get_or_init(|| {
            let label = |(name, value)| Label::from_static_parts(name, value);
            look_up(self.name, labels.pairs().into_iter().map(label).collect())
        }))
    }
}

impl<L: Labels> Counters<L> {
    pub(super) fn add(&self, labels: L, count: usize) {
        if let Some(counter) = self.handle(labels, |name, labels| counter!(name, labels)) {
            counter.increment(count as u64);
        }
    }

    /// Registers all series with 0.
    pub(super) fn init(&self) {
        for labels in L::all() {
            self.add(labels, 0);
        }
    }
}

impl<L: Labels> Histograms<L> {
    pub(super) fn record(&self, labels: L, value: f64, count: usize) {
        if let Some(series) = self.handle(labels, |name, labels| histogram!(name, labels)) {
            series.record_many(value, count);
        }
    }

    /// Registers all series without a value.
    pub(super) fn init(&self) {
        for labels in L::all() {
            self.record(labels, 0.0, 0);
        }
    }
}

/// The series of one metric whose label values other rooms define.
pub(super) struct Named<const N: usize, H> {
    name: &'static str,
    labels: [&'static str; N],
    handles: RwLock<BTreeMap<[&'static str; N], H>>,
}

pub(super) type NamedCounters<const N: usize> = Named<N, Counter>;
pub(super) type NamedHistograms<const N: usize> = Named<N, Histogram>;

impl<const N: usize, H> Named<N, H> {
    pub(super) const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self {
            name,
            labels,
            handles: RwLock::new(BTreeMap::new()),
        }
    }

    /// Runs `record` on the series of these label values, if there is a recorder.
    fn with(
        &self,
        values: [&'static str; N],
        look_up: impl Fn(&'static str, Vec<Label>) -> H,
        record: impl Fn(&H),
    ) {
        if !is_enabled() {
            return;
        }
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&values) {
            record(handle);
            return;
        }
        drop(handles);
        let labels = self.labels.into_iter().zip(values);
        let labels: Vec<Label> = labels
            .map(|(name, value)| Label::from_static_parts(name, value))
            .collect();
        let handle = look_up(self.name, labels);
        record(&handle);
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        handles.insert(values, handle);
    }
}

impl<const N: usize> NamedCounters<N> {
    pub(super) fn add(&self, values: [&'static str; N], count: usize) {
        let look_up = |name, labels| counter!(name, labels);
        self.with(values, look_up, |counter| counter.increment(count as u64));
    }
}

impl<const N: usize> NamedHistograms<N> {
    /// Records a value `count` times; with 0, only starts the series.
    pub(super) fn record(&self, values: [&'static str; N], value: f64, count: usize) {
        let look_up = |name, labels| histogram!(name, labels);
        self.with(values, look_up, |histogram| {
            histogram.record_many(value, count)
        });
    }
}
