//! Survey answers that seed the model, mapped by the ranking file.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::domain::{
    event::{EventLog, InteractionEvent, event_types},
    ranking_config::{Preset, ProfileRule, RankingConfig},
};

/// Number of the newest events with answers that count, under the preset
/// `recsys`.
const MAX_PROFILE_EVENTS: usize = 50;

/// A tag that an answer adds to the affinity, without decay.
pub(super) struct Seed<'a> {
    pub(super) facet: &'a str,
    pub(super) label: String,
    pub(super) weight: f64,
}

/// The mapped answers.
pub(super) struct ProfileAnswers<'a> {
    pub(super) demographics: Map<String, Value>,
    pub(super) seeds: Vec<Seed<'a>>,
}

/// Applies each rule to the latest answer of the first of its questions that has
/// one. A list of answers seeds one tag per answer.
pub(super) fn answers<'a>(log: &EventLog, config: &'a RankingConfig) -> ProfileAnswers<'a> {
    let rules = &config.profile;
    let mut mapped = ProfileAnswers {
        demographics: Map::new(),
        seeds: Vec::new(),
    };
    if rules.is_empty() {
        return mapped;
    }
    let max_events = match config.preset {
        Preset::Recsys => MAX_PROFILE_EVENTS,
        Preset::Reference => usize::MAX,
    };
    let latest = latest_answers(log, max_events);
    for rule in rules {
        let Some(answer) = rule
            .questions
            .iter()
            .find_map(|question| latest.get(question.as_str()))
        else {
            continue;
        };
        if let Some(field) = &rule.field {
            mapped.demographics.insert(field.clone(), (*answer).clone());
        }
        let Some(facet) = &rule.facet else { continue };
        for text in texts(answer) {
            if let Some(label) = label(rule, text) {
                mapped.seeds.push(Seed {
                    facet,
                    label,
                    weight: rule.weight,
                });
            }
        }
    }
    mapped
}

/// The latest answer to each question, from the newest `max_events` events.
fn latest_answers(log: &EventLog, max_events: usize) -> HashMap<&str, &Value> {
    let is_profile = |event: &&InteractionEvent| {
        event_types::PROFILE.contains(&event.event_type.as_str())
            && !event.survey_answers.is_empty()
    };
    let mut latest = HashMap::new();
    for event in log.iter().rev().filter(is_profile).take(max_events) {
        for (question, answer) in &event.survey_answers {
            if !texts(answer).is_empty() {
                latest.entry(question.as_str()).or_insert(answer);
            }
        }
    }
    latest
}

/// The answer as texts; empty for an empty answer. Whole numbers have no
/// fraction.
fn texts(answer: &Value) -> Vec<String> {
    match answer {
        Value::String(text) => Some(text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .into_iter()
            .collect(),
        Value::Bool(flag) => vec![flag.to_string()],
        Value::Number(number) => vec![match number.as_f64() {
            Some(value) if value.fract() == 0.0 => format!("{value:.0}"),
            _ => number.to_string(),
        }],
        Value::Array(answers) => answers.iter().flat_map(texts).collect(),
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

fn label(rule: &ProfileRule, answer: String) -> Option<String> {
    if rule.values.is_empty() {
        return Some(answer);
    }
    rule.values.get(&answer).cloned().or_else(|| {
        let folded = answer.to_lowercase();
        rule.values
            .iter()
            .find(|(value, _)| value.trim().to_lowercase() == folded)
            .map(|(_, label)| label.clone())
    })
}
