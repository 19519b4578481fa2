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
        if !ENABLED.load(Ordering::Acquire) {
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

/// The histograms of one metric whose label values are not known beforehand.
pub(super) struct NamedHistograms<const N: usize> {
    name: &'static str,
    labels: [&'static str; N],
    handles: RwLock<BTreeMap<[&'static str; N], Histogram>>,
}

impl<const N: usize> NamedHistograms<N> {
    pub(super) const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self {
            name,
            labels,
            handles: RwLock::new(BTreeMap::new()),
        }
    }

    pub(super) fn record(&self, values: [&'static str; N], value: f64) {
        if !ENABLED.load(Ordering::Acquire) {
            return;
        }
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = handles.get(&values) {
            series.record(value);
            return;
        }
        drop(handles);
        let labels = self.labels.into_iter().zip(values);
        let labels: Vec<Label> = labels
            .map(|(name, value)| Label::from_static_parts(name, value))
            .collect();
        let series = histogram!(self.name, labels);
        series.record(value);
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        handles.insert(values, series);
    }
}
