//! The arms of a ranking file: each placement with each variant that applies to it.

use std::{collections::HashMap, sync::Arc};

use tracing::error;

use super::arm::{Arm, Treatment};
use crate::domain::{
    experiments::{ArmId, position, variant_at},
    ids::UserId,
    ranking_config::{ExperimentConfig, RankingConfig},
};

/// The arms of one placement, or of lists without one.
struct PlacementArms {
    /// For users without a variant.
    base: Arc<Arm>,
    experiment: Option<Experiment>,
}

/// The experiment of a placement. At most one applies: the ranking file is refused if two
/// do.
struct Experiment {
    salt: String,
    shares: Vec<f64>,
    variants: Vec<Arc<Arm>>,
}

/// All arms of a ranking file. Their rankings are built once.
pub(super) struct Arms {
    without_placement: PlacementArms,
    placements: Vec<(Arc<str>, PlacementArms)>,
    by_id: HashMap<ArmId, Arc<Arm>>,
    /// Stands for the names that the ranking file no longer has.
    other: Arc<Arm>,
}

impl Arms {
    /// The arms of a checked ranking file.
    pub(super) fn new(config: &RankingConfig) -> Self {
        let base = Arc::new(config.without_experiments());
        let mut rankings = Vec::new();
        for experiment in &config.experiments {
            let variants = experiment.variants.iter();
            let variants = variants.map(|variant| match config.of_variant(variant) {
                Ok(ranking) => Arc::new(ranking),
                // The check of the ranking file refuses such a variant.
                Err(error) => {
                    error!(%error, "variant is ranked as without experiment");
                    Arc::clone(&base)
                }
            });
            rankings.push((experiment, variants.collect::<Vec<_>>()));
        }
        let of_placement = |placement: Option<&Arc<str>>| {
            let applies = |experiment: &&(&ExperimentConfig, _)| {
                experiment.0.applies_to(placement.map(|name| &**name))
            };
            let applying = rankings.iter().find(applies);
            PlacementArms::new(placement, &base, applying)
        };
        let placements = config.placements.iter();
        let placements: Vec<(Arc<str>, PlacementArms)> = placements
            .map(|placement| {
                let name: Arc<str> = placement.name.as_str().into();
                let arms = of_placement(Some(&name));
                (name, arms)
            })
            .collect();
        let mut arms = Self {
            without_placement: of_placement(None),
            placements,
            by_id: HashMap::new(),
            other: Arc::new(Arm::new(None, base)),
        };
        arms.by_id = arms
            .all()
            .filter(|arm| arm.is_counted())
            .filter_map(|arm| Some((arm.id()?, Arc::clone(arm))))
            .collect();
        arms
    }

    /// The names of the placements, in the order of the ranking file.
    pub(super) fn placements(&self) -> impl Iterator<Item = &Arc<str>> {
        self.placements.iter().map(|(name, _)| name)
    }

    /// The arm of a list. Without a user there is no variant.
    pub(super) fn of(&self, placement: Option<&str>, user: Option<&UserId>) -> &Arc<Arm> {
        let mut placements = self.placements.iter();
        let found = placements.find(|(name, _)| placement == Some(&**name));
        let arms = found.map_or(&self.without_placement, |(_, arms)| arms);
        let variant = arms.experiment.as_ref().zip(user);
        let variant = variant.and_then(|(experiment, user)| experiment.variant_of(user));
        variant.unwrap_or(&arms.base)
    }

    /// The arm with this id, or the one that stands for unknown ones.
    pub(super) fn with_id(&self, id: ArmId) -> &Arc<Arm> {
        self.by_id.get(&id).unwrap_or(&self.other)
    }

    /// All arms, those with unknown names last.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Arm>> {
        let placements = self.placements.iter().map(|(_, arms)| arms);
        let placements = [&self.without_placement].into_iter().chain(placements);
        let arms = placements.flat_map(|arms| {
            let experiment = arms.experiment.iter();
            let variants = experiment.flat_map(|experiment| &experiment.variants);
            [&arms.base].into_iter().chain(variants)
        });
        arms.chain([&self.other])
    }
}

impl PlacementArms {
    fn new(
        placement: Option<&Arc<str>>,
        base: &Arc<RankingConfig>,
        experiment: Option<&(&ExperimentConfig, Vec<Arc<RankingConfig>>)>,
    ) -> Self {
        let without_variant = Treatment {
            placement: placement.cloned(),
            ..Treatment::default()
        };
        let experiment = experiment.map(|(experiment, rankings)| {
            let variants = experiment.variants.iter().zip(rankings);
            Experiment {
                salt: experiment.salt.clone(),
                shares: experiment.variants.iter().map(|one| one.share).collect(),
                variants: variants
                    .map(|(variant, ranking)| {
                        let treatment = Treatment {
                            placement: placement.cloned(),
                            experiment: Some(experiment.name.as_str().into()),
                            variant: Some(variant.name.as_str().into()),
                        };
                        Arc::new(Arm::new(Some(treatment), Arc::clone(ranking)))
                    })
                    .collect(),
            }
        });
        Self {
            base: Arc::new(Arm::new(Some(without_variant), Arc::clone(base))),
            experiment,
        }
    }
}

impl Experiment {
    fn variant_of(&self, user: &UserId) -> Option<&Arc<Arm>> {
        let position = position(&self.salt, user);
        let index = variant_at(position, self.shares.iter().copied())?;
        self.variants.get(index)
    }
}
