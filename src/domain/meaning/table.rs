//! The rules of all event types.

use foldhash::HashMap;

use super::{
    defaults,
    normal_form::NormalForm,
    rule::{EventEntry, EventRule},
};

/// Event types with their rules. Lookup is independent of a type's spelling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventTable {
    /// Rules by the bytes of the normal form.
    rules: HashMap<Box<[u8]>, EventRule>,
}

impl EventTable {
    /// A table without types: every event that names an item is a view without
    /// strength. The table of the preset `reference`.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The default table of the preset `recsys`.
    #[must_use]
    pub fn standard() -> Self {
        let rules = defaults::RULES.into_iter().flat_map(|(rule, types)| {
            types
                .iter()
                .map(move |event_type| (Box::from(event_type.as_bytes()), rule))
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// This table with the rules of a ranking file's `[[events]]`. An entry for a
    /// type replaces the type's rule; types that no entry names keep theirs. A
    /// type with strength 0 that is weak has no effect: that is how to remove one.
    ///
    /// # Errors
    /// Everything that is wrong with the entries, each text with its entry's
    /// index: no types, a type without letters and digits or longer than
    /// [`NormalForm::MAX_BYTES`], a type that has the normal form of an earlier
    /// one, a strength outside −1 to 1, a negative one that is `done`.
    pub fn with_entries(mut self, entries: &[EventEntry]) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut places: HashMap<Box<[u8]>, (usize, &str)> = HashMap::default();
        for (index, entry) in entries.iter().enumerate() {
            if entry.types.is_empty() {
                wrong.push(format!(
                    "events[{index}].types must name one or more event types"
                ));
            }
            if !(-1.0..=1.0).contains(&entry.strength) {
                wrong.push(format!("events[{index}].strength must be -1 to 1"));
            }
            if entry.done && entry.strength < 0.0 {
                wrong.push(format!(
                    "events[{index}].done needs a strength of at least 0"
                ));
            }
            for event_type in &entry.types {
                let Some(form) = NormalForm::of(event_type) else {
                    wrong.push(format!(
                        "events[{index}].types: a type is longer than {} bytes: {event_type:?}",
                        NormalForm::MAX_BYTES
                    ));
                    continue;
                };
                let key = form.as_bytes();
                if key.is_empty() {
                    wrong.push(format!(
                        "events[{index}].types: {event_type:?} has neither letters nor digits"
                    ));
                } else if let Some((earlier, spelling)) = places.get(key) {
                    wrong.push(format!(
                        "events[{index}].types: {event_type:?} is the same type as \
                         {spelling:?} of events[{earlier}]"
                    ));
                } else {
                    places.insert(key.into(), (index, event_type));
                    self.rules.insert(key.into(), entry.rule());
                }
            }
        }
        if wrong.is_empty() {
            Ok(self)
        } else {
            Err(wrong)
        }
    }

    /// This table with the rules of another one, which replace those of the same
    /// types.
    #[must_use]
    pub fn extended_by(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self
    }

    /// Whether no type has a rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule of an event type, if it has one. Allocates nothing for a type in
    /// ASCII.
    #[must_use]
    pub fn rule(&self, event_type: &str) -> Option<EventRule> {
        if self.rules.is_empty() {
            return None;
        }
        // A type whose form is too long is not in the table.
        let form = NormalForm::of(event_type)?;
        self.rules.get(form.as_bytes()).copied()
    }

    /// The whole table as entries of a ranking file: types in normal form and
    /// sorted, one entry for each rule, the strongest first.
    #[must_use]
    pub fn entries(&self) -> Vec<EventEntry> {
        let mut rules: Vec<(EventRule, &[u8])> = self
            .rules
            .iter()
            .map(|(form, rule)| (*rule, &**form))
            .collect();
        rules.sort_unstable_by(|(a, a_form), (b, b_form)| {
            b.strength
                .total_cmp(&a.strength)
                .then_with(|| b.done.cmp(&a.done))
                .then_with(|| a.weak.cmp(&b.weak))
                .then_with(|| a_form.cmp(b_form))
        });
        rules
            .chunk_by(|(a, _), (b, _)| a == b)
            .map(|entry| {
                let (rule, _) = entry[0];
                let types = entry
                    .iter()
                    .map(|(_, form)| String::from_utf8_lossy(form).into_owned());
                EventEntry {
                    types: types.collect(),
                    strength: rule.strength,
                    weak: rule.weak,
                    done: rule.done,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{EventEntry, EventRule, EventTable, NormalForm, defaults};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        events: Vec<EventEntry>,
    }

    fn entries(text: &str) -> Vec<EventEntry> {
        toml::from_str::<File>(text).unwrap().events
    }

    fn rule(strength: f64, weak: bool, done: bool) -> Option<EventRule> {
        Some(EventRule {
            strength,
            weak,
            done,
        })
    }

    #[test]
    fn default_types_are_found_in_five_spellings() {
        let table = EventTable::standard();
        let mut types = 0;
        for (rule, forms) in defaults::RULES {
            for form in forms {
                assert_eq!(NormalForm::of(form).unwrap().as_str(), *form);
                let title: Vec<String> = form
                    .split(' ')
                    .map(|word| word[..1].to_uppercase() + &word[1..])
                    .collect();
                for spelling in [
                    form.replace(' ', "_"),
                    form.replace(' ', "-").to_uppercase(),
                    title.join(" "),
                    title.concat(),
                    form.replace(' ', "."),
                ] {
                    assert_eq!(table.rule(&spelling), Some(rule), "{spelling}");
                }
                types += 1;
            }
        }
        assert_eq!(types, table.rules.len(), "no type is listed twice");
        assert_eq!(types, 55);
    }

    #[test]
    fn the_default_table_gives_ordinary_events_their_strength() {
        let table = EventTable::standard();
        for (event_type, expected) in [
            ("purchase", rule(1.0, false, true)),
            ("Order Completed", rule(1.0, false, true)),
            ("thumbs_up", rule(0.8, false, false)),
            ("add_to_cart", rule(0.6, false, false)),
            ("product_view", None),
            ("Product Viewed", rule(0.3, true, false)),
            ("view_item", rule(0.3, true, false)),
            ("remove_from_cart", rule(0.0, false, false)),
            ("Order Refunded", rule(-0.5, false, false)),
            ("notInterested", rule(-1.0, false, false)),
            ("CONTENT_VIEW_STARTED", None),
            ("button_click", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(table.rule(event_type), expected, "{event_type}");
        }
    }

    #[test]
    fn the_empty_table_knows_no_type() {
        assert_eq!(EventTable::empty().rule("purchase"), None);
        assert_eq!(EventTable::empty().entries(), []);
    }

    #[test]
    fn an_entry_replaces_the_rule_of_its_types_and_no_other() {
        let table = EventTable::standard()
            .with_entries(&entries(
                r#"
                [[events]]
                types = ["PRODUCT_VIEWED", "Video 75% Watched"]
                strength = 0.5
                [[events]]
                types = ["click"]
                strength = 0.0
                weak = true
                [[events]]
                types = ["lesson finished"]
                strength = 1
                done = true
                "#,
            ))
            .unwrap();
        assert_eq!(table.rule("ProductViewed"), rule(0.5, false, false));
        assert_eq!(table.rule("video_75_watched"), rule(0.5, false, false));
        assert_eq!(table.rule("Click"), rule(0.0, true, false));
        assert_eq!(table.rule("LessonFinished"), rule(1.0, false, true));
        assert_eq!(table.rule("view"), rule(0.3, true, false));
    }

    #[test]
    fn the_entries_of_a_table_make_the_same_table() {
        let table = EventTable::standard()
            .with_entries(&entries(
                "events = [{ types = ['Ж', 'view'], strength = -0.25, weak = true }]",
            ))
            .unwrap();
        let entries = table.entries();
        assert_eq!(entries.len(), 8);
        assert_eq!(entries[0].types[0], "booking completed");
        assert_eq!(EventTable::empty().with_entries(&entries).unwrap(), table);
    }

    #[test]
    fn everything_wrong_is_named_with_its_entry() {
        let long = "x".repeat(129);
        let text = format!(
            r#"
            [[events]]
            types = []
            strength = 1.5
            [[events]]
            types = ["ProductViewed", "--", "{long}"]
            strength = nan
            [[events]]
            types = ["product_viewed", "refund", "Refund"]
            strength = -0.5
            done = true
            "#
        );
        let wrong = EventTable::standard()
            .with_entries(&entries(&text))
            .unwrap_err();
        let expected = [
            "events[0].types must name",
            "events[0].strength must be -1 to 1",
            "events[1].strength must be -1 to 1",
            "events[1].types: \"--\" has neither letters nor digits",
            "events[1].types: a type is longer than 128 bytes",
            "events[2].done needs a strength of at least 0",
            "\"product_viewed\" is the same type as \"ProductViewed\" of events[1]",
            "\"Refund\" is the same type as \"refund\" of events[2]",
        ];
        assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
        for (text, expected) in wrong.iter().zip(expected) {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn an_entry_with_an_unknown_key_or_without_strength_is_refused() {
        for (text, name) in [
            ("types = ['a']\nstrength = 1\nstrenght = 1", "strenght"),
            ("types = ['a']", "strength"),
            ("strength = 1", "types"),
        ] {
            let error = toml::from_str::<File>(&format!("[[events]]\n{text}"))
                .err()
                .unwrap();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
