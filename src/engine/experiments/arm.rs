//! A placement with a variant: its ranking, and its counts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    domain::{experiments::ArmId, meaning::EventMeaning, ranking_config::RankingConfig},
    telemetry::meters::ArmSeries,
};

/// The placement of a list, and the variant of its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// The placement, if the request names one.
    pub placement: Option<Arc<str>>,
    /// The experiment that applies, if any.
    pub experiment: Option<Arc<str>>,
    /// The user's variant in it.
    pub variant: Option<Arc<str>>,
}

/// What was counted of a placement and a variant since the engine started. Its process
/// alone counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArmResult {
    /// The placement and the variant; `None` if the events' lists are of names that the
    /// ranking file no longer has.
    pub treatment: Option<Treatment>,
    /// Lists served.
    pub lists: u64,
    /// Items of these lists.
    pub items: u64,
    /// Events that are attributed to these lists, by meaning. Each item of a list counts
    /// once for each meaning.
    pub events: Vec<(EventMeaning, u64)>,
}

/// A placement with a variant, or without one.
pub(crate) struct Arm {
    /// Its names; `None` stands for the names that the ranking file no longer has.
    treatment: Option<Treatment>,
    /// How its lists are ranked.
    pub(crate) config: Arc<RankingConfig>,
    lists: AtomicU64,
    items: AtomicU64,
    events: [AtomicU64; EventMeaning::ALL.len()],
    series: ArmSeries<{ EventMeaning::ALL.len() }>,
}

impl Arm {
    pub(super) fn new(treatment: Option<Treatment>, config: Arc<RankingConfig>) -> Self {
        let label = |name: fn(&Treatment) -> &Option<Arc<str>>| match &treatment {
            Some(treatment) => name(treatment).as_deref().unwrap_or("none"),
            None => "other",
        };
        let series = ArmSeries::new(
            label(|treatment| &treatment.placement),
            label(|treatment| &treatment.variant),
            EventMeaning::ALL.map(EventMeaning::as_str),
        );
        Self {
            treatment,
            config,
            lists: AtomicU64::new(0),
            items: AtomicU64::new(0),
            events: [const { AtomicU64::new(0) }; EventMeaning::ALL.len()],
            series,
        }
    }

    pub(crate) fn treatment(&self) -> Treatment {
        self.treatment.clone().unwrap_or_default()
    }

    /// Whether it has a placement or a variant. Others are not counted.
    pub(super) fn is_counted(&self) -> bool {
        self.treatment != Some(Treatment::default())
    }

    pub(super) fn id(&self) -> Option<ArmId> {
        let treatment = self.treatment.as_ref()?;
        let variant = (treatment.experiment.as_deref()).zip(treatment.variant.as_deref());
        Some(ArmId::of(treatment.placement.as_deref(), variant))
    }

    /// Counts a list of this many items.
    pub(super) fn count_list(&self, items: usize) {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.items.fetch_add(items as u64, Ordering::Relaxed);
        self.series.count_items(items);
    }

    pub(super) fn count_event(&self, meaning: EventMeaning) {
        let mut each = EventMeaning::ALL.into_iter().zip(&self.events).enumerate();
        if let Some((index, (_, count))) = each.find(|(_, (other, _))| *other == meaning) {
            count.fetch_add(1, Ordering::Relaxed);
            self.series.count_event(index);
        }
    }

    /// Starts its series at 0.
    pub(super) fn start_series(&self) {
        if self.is_counted() && self.treatment.is_some() {
            self.series.start();
        }
    }

    /// `None` if it is not counted, or stands for unknown names and has no event.
    pub(super) fn result(&self) -> Option<ArmResult> {
        let events = EventMeaning::ALL.into_iter().zip(&self.events);
        let result = ArmResult {
            treatment: self.treatment.clone(),
            lists: self.lists.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            events: events
                .map(|(meaning, count)| (meaning, count.load(Ordering::Relaxed)))
                .collect(),
        };
        let has_events = result.events.iter().any(|(_, count)| *count > 0);
        let is_shown = self.is_counted() && (self.treatment.is_some() || has_events);
        is_shown.then_some(result)
    }
}
