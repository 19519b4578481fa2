//! What makes a user choose an item, and how likely each item is.

use std::collections::HashSet;

use super::{
    items::WorldItem,
    settings::{Causes, WorldSettings},
};
use crate::eval::rng::SeededRng;

/// Items on the front page.
pub(super) const FRONT_PAGE: usize = 10;
/// Share of a user's interest that is in the main theme, and in the second one;
/// the rest is spread over all.
const MAIN_INTEREST: f64 = 0.7;
const SECOND_INTEREST: f64 = 0.2;

/// Items with cumulative weights, to draw from.
#[derive(Clone, Debug, Default)]
struct Weighted {
    items: Vec<u32>,
    sums: Vec<f64>,
}

impl Weighted {
    fn add(&mut self, item: u32, weight: f64) {
        let sum = self.sums.last().copied().unwrap_or_default();
        self.items.push(item);
        self.sums.push(sum + weight);
    }

    fn draw(&self, rng: &mut SeededRng) -> Option<u32> {
        let all = self.sums.last().copied().filter(|sum| *sum > 0.0)?;
        let point = rng.unit() * all;
        let place = self.sums.partition_point(|sum| *sum <= point);
        self.items.get(place).copied()
    }

    fn weights(&self) -> impl Iterator<Item = (u32, f64)> {
        let before = [0.0].into_iter().chain(self.sums.iter().copied());
        let weights = self
            .sums
            .iter()
            .zip(before)
            .map(|(sum, before)| sum - before);
        self.items.iter().copied().zip(weights)
    }
}

/// How likely items are on one day, independent of the user.
pub(super) struct WorldDay {
    popular: Weighted,
    by_theme: Vec<Weighted>,
    /// All items, the most popular first.
    ranking: Vec<u32>,
    /// Of each item, whether it can be chosen at all.
    is_available: Vec<bool>,
}

impl WorldDay {
    pub(super) fn new(settings: &WorldSettings, items: &[WorldItem], day: u32) -> Self {
        let mut popular = Weighted::default();
        let mut by_theme = vec![Weighted::default(); settings.themes.max(1)];
        let mut ranking = Vec::with_capacity(items.len());
        let mut is_available = vec![false; items.len()];
        for (index, item) in (0..).zip(items) {
            let weight = item.weight_on(day);
            if weight > 0.0 {
                popular.add(index, weight);
                by_theme[item.theme].add(index, weight);
                ranking.push((index, weight));
                is_available[index as usize] = true;
            }
        }
        ranking.sort_by(|(a, a_weight), (b, b_weight)| {
            b_weight.total_cmp(a_weight).then_with(|| a.cmp(b))
        });
        Self {
            popular,
            by_theme,
            ranking: ranking.into_iter().map(|(index, _)| index).collect(),
            is_available,
        }
    }

    /// What the front page shows to a user who has seen `seen`: the most popular
    /// of the others.
    pub(super) fn front_page(&self, seen: &HashSet<u32>) -> Vec<u32> {
        let unseen = self.ranking.iter().filter(|item| !seen.contains(item));
        unseen.take(FRONT_PAGE).copied().collect()
    }
}

/// Who chooses, and when.
pub(super) struct Chooser<'a> {
    pub(super) settings: &'a WorldSettings,
    pub(super) items: &'a [WorldItem],
    pub(super) day: &'a WorldDay,
    /// The user's main and second theme.
    pub(super) interests: [usize; 2],
    /// Items that the user has seen, which are not chosen again.
    pub(super) seen: &'a HashSet<u32>,
    /// What the user chose last.
    pub(super) last: Option<u32>,
    /// What the front page shows.
    pub(super) shown: &'a [u32],
}

/// A cause with the items that it may lead to, and their weights.
enum ChoiceCause<'a> {
    Interest,
    CoPurchase(Vec<u32>),
    Popularity,
    FrontPage(&'a [u32]),
}

impl Chooser<'_> {
    /// Draws an item that the user has not seen; `None` if none is left.
    pub(super) fn choose(&self, rng: &mut SeededRng) -> Option<u32> {
        let causes = self.causes();
        let all: f64 = causes.iter().map(|(_, weight)| weight).sum();
        let mut point = rng.unit() * all;
        let cause = causes.iter().find(|(_, weight)| {
            point -= weight;
            point < 0.0
        });
        let (cause, _) = cause.or(causes.last())?;
        match cause {
            ChoiceCause::CoPurchase(items) => Some(items[rng.below(items.len())]),
            ChoiceCause::FrontPage(shown) => {
                let mut weighted = Weighted::default();
                for (place, item) in shown.iter().enumerate() {
                    weighted.add(*item, self.attention(place));
                }
                weighted.draw(rng)
            }
            // Drawn again until it is unseen: each is as likely as its share of
            // the unseen ones.
            ChoiceCause::Interest => self.until_unseen(|| {
                let theme = self.theme(rng);
                self.day.by_theme[theme].draw(rng)
            }),
            ChoiceCause::Popularity => self.until_unseen(|| self.day.popular.draw(rng)),
        }
    }

    fn until_unseen(&self, mut draw: impl FnMut() -> Option<u32>) -> Option<u32> {
        const TRIES: usize = 100_000;
        (0..TRIES).find_map(|_| draw().filter(|item| !self.seen.contains(item)))
    }

    fn theme(&self, rng: &mut SeededRng) -> usize {
        let point = rng.unit();
        if point < MAIN_INTEREST {
            self.interests[0]
        } else if point < MAIN_INTEREST + SECOND_INTEREST {
            self.interests[1]
        } else {
            rng.below(self.settings.themes.max(1))
        }
    }

    fn attention(&self, place: usize) -> f64 {
        ((place + 1) as f64).powf(-self.settings.position_bias)
    }

    /// The causes that can act, with their weights.
    fn causes(&self) -> Vec<(ChoiceCause<'_>, f64)> {
        let Causes {
            interest,
            co_purchase,
            popularity,
            front_page,
        } = self.settings.causes;
        let complements: Vec<u32> = self
            .last
            .map(|last| self.items[last as usize].complements.as_slice())
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|item| !self.seen.contains(item) && self.day.is_available[*item as usize])
            .collect();
        let mut causes = vec![
            (ChoiceCause::Interest, interest),
            (ChoiceCause::Popularity, popularity),
        ];
        if !complements.is_empty() {
            causes.push((ChoiceCause::CoPurchase(complements), co_purchase));
        }
        if !self.shown.is_empty() {
            causes.push((ChoiceCause::FrontPage(self.shown), front_page));
        }
        causes.retain(|(_, weight)| *weight > 0.0);
        causes
    }

    /// How likely each item is to be chosen now: exactly what
    /// [`Chooser::choose`] draws from.
    pub(super) fn probabilities(&self) -> Vec<f64> {
        let mut probabilities = vec![0.0; self.items.len()];
        let causes = self.causes();
        let all: f64 = causes.iter().map(|(_, weight)| weight).sum();
        for (cause, weight) in &causes {
            let mut weights: Vec<(u32, f64)> = match cause {
                ChoiceCause::CoPurchase(items) => items.iter().map(|item| (*item, 1.0)).collect(),
                ChoiceCause::FrontPage(shown) => shown
                    .iter()
                    .enumerate()
                    .map(|(place, item)| (*item, self.attention(place)))
                    .collect(),
                ChoiceCause::Popularity => self.day.popular.weights().collect(),
                ChoiceCause::Interest => self.interest_weights(),
            };
            weights.retain(|(item, _)| !self.seen.contains(item));
            let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
            for (item, part) in weights {
                probabilities[item as usize] += weight / all * part / sum;
            }
        }
        probabilities
    }

    fn interest_weights(&self) -> Vec<(u32, f64)> {
        let themes = self.day.by_theme.len() as f64;
        let mut weights = Vec::new();
        for (theme, items) in self.day.by_theme.iter().enumerate() {
            let Some(sum) = items.sums.last().filter(|sum| **sum > 0.0) else {
                continue;
            };
            let mut share = (1.0 - MAIN_INTEREST - SECOND_INTEREST) / themes;
            for (interest, part) in self.interests.iter().zip([MAIN_INTEREST, SECOND_INTEREST]) {
                share += if *interest == theme { part } else { 0.0 };
            }
            weights.extend(
                items
                    .weights()
                    .map(|(item, weight)| (item, share * weight / sum)),
            );
        }
        weights
    }
}
