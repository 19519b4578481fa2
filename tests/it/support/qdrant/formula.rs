//! Formulas: scores made of scores, payloads and conditions.

use std::collections::HashMap;

use qdrant_client::qdrant::{Expression, Formula, Value, expression::Variant};
use serde_json::Value as Json;
use tonic::Status;

use super::{
    filter::{self, Subject},
    payload::{self, Path, Payload},
    store::{Collection, bad_input, unsupported},
};

/// A point with its score in each prefetch that found it.
pub struct Candidate<'a> {
    pub subject: Subject<'a>,
    pub scores: &'a [Option<f32>],
}

pub type Score = Box<dyn Fn(&Candidate<'_>) -> Result<f64, Status>>;

pub fn compile(formula: &Formula, collection: &Collection) -> Result<Score, Status> {
    let compiler = Compiler {
        collection,
        defaults: formula
            .defaults
            .iter()
            .map(|(name, value): (_, &Value)| Ok((name.clone(), payload::json(value.clone())?)))
            .collect::<Result<_, Status>>()?,
    };
    compiler.expression(formula.expression.as_ref())
}

struct Compiler<'a> {
    collection: &'a Collection,
    defaults: HashMap<String, Json>,
}

impl Compiler<'_> {
    fn expression(&self, expression: Option<&Expression>) -> Result<Score, Status> {
        let Some(variant) = expression.and_then(|expression| expression.variant.as_ref()) else {
            return Err(Status::invalid_argument("missing field: expression"));
        };
        match variant {
            Variant::Constant(number) => {
                let number = f64::from(*number);
                Ok(Box::new(move |_| Ok(number)))
            }
            Variant::Variable(name) => self.variable(name),
            Variant::Condition(condition) => {
                let test = filter::compile_condition(condition, self.collection)?;
                Ok(Box::new(move |of| {
                    Ok(if test(of.subject) { 1.0 } else { 0.0 })
                }))
            }
            Variant::GeoDistance(distance) => {
                let origin = distance.origin.unwrap_or_default();
                let value = self.payload_value(&distance.to, "geo point", |value| {
                    filter::point(value).ok_or("not an object of lat and lon")
                })?;
                Ok(Box::new(move |of| {
                    Ok(filter::haversine(origin, value(of.subject.payload)?))
                }))
            }
            Variant::Mult(mult) => {
                let parts = self.expressions(&mult.mult)?;
                Ok(Box::new(move |of| {
                    let mut product = 1.0;
                    for part in &parts {
                        let value = part(of)?;
                        // What comes after a zero is not evaluated.
                        if value == 0.0 {
                            return Ok(0.0);
                        }
                        product *= value;
                    }
                    Ok(product)
                }))
            }
            Variant::Sum(sum) => {
                let parts = self.expressions(&sum.sum)?;
                Ok(Box::new(move |of| parts.iter().map(|part| part(of)).sum()))
            }
            Variant::Max(max) => self.extreme(&max.max, f64::max),
            Variant::Min(min) => self.extreme(&min.min, f64::min),
            Variant::Div(div) => {
                let left = self.expression(div.left.as_deref())?;
                let right = self.expression(div.right.as_deref())?;
                let by_zero = div.by_zero_default.map(f64::from);
                Ok(Box::new(move |of| {
                    let left = left(of)?;
                    if left == 0.0 {
                        return Ok(0.0);
                    }
                    let right = right(of)?;
                    match by_zero {
                        Some(instead) if right == 0.0 => Ok(instead),
                        _ => finite(left / right, || format!("{left}/{right}")),
                    }
                }))
            }
            Variant::Pow(pow) => {
                let base = self.expression(pow.base.as_deref())?;
                let exponent = self.expression(pow.exponent.as_deref())?;
                Ok(Box::new(move |of| {
                    let (base, exponent) = (base(of)?, exponent(of)?);
                    finite(base.powf(exponent), || format!("{base}^{exponent}"))
                }))
            }
            Variant::Neg(part) => self.function(part, "neg", |x| -x),
            Variant::Abs(part) => self.function(part, "abs", f64::abs),
            Variant::Sqrt(part) => self.function(part, "√", f64::sqrt),
            Variant::Exp(part) => self.function(part, "exp", f64::exp),
            Variant::Log10(part) => self.function(part, "log10", f64::log10),
            Variant::Ln(part) => self.function(part, "ln", f64::ln),
            Variant::Acosh(part) => self.function(part, "acosh", f64::acosh),
            Variant::Datetime(_) | Variant::DatetimeKey(_) => {
                Err(unsupported("datetime expressions"))
            }
            Variant::ExpDecay(_) | Variant::GaussDecay(_) | Variant::LinDecay(_) => {
                Err(unsupported("decay expressions"))
            }
        }
    }

    fn expressions(&self, parts: &[Expression]) -> Result<Vec<Score>, Status> {
        parts.iter().map(|one| self.expression(Some(one))).collect()
    }

    fn extreme(&self, parts: &[Expression], of_two: fn(f64, f64) -> f64) -> Result<Score, Status> {
        let parts = self.expressions(parts)?;
        if parts.is_empty() {
            return Err(unsupported("max and min of nothing"));
        }
        Ok(Box::new(move |of| {
            let values: Result<Vec<f64>, Status> = parts.iter().map(|part| part(of)).collect();
            Ok(values?.into_iter().reduce(of_two).unwrap_or_default())
        }))
    }

    fn function(
        &self,
        part: &Expression,
        name: &'static str,
        function: fn(f64) -> f64,
    ) -> Result<Score, Status> {
        let part = self.expression(Some(part))?;
        Ok(Box::new(move |of| {
            let x = part(of)?;
            finite(function(x), || format!("{name}({x})"))
        }))
    }

    fn variable(&self, name: &str) -> Result<Score, Status> {
        if let Some(rest) = name.strip_prefix('$') {
            let index = match rest.strip_prefix("score") {
                Some("") => Some(0),
                Some(index) => index
                    .strip_prefix('[')
                    .and_then(|index| index.strip_suffix(']'))
                    .and_then(|index| index.parse().ok()),
                None => None,
            };
            let Some(index) = index else {
                return Err(Status::invalid_argument(format!(
                    "Invalid reserved variable: {name}"
                )));
            };
            let default = self.score_default(index);
            return Ok(Box::new(move |of| {
                let score: Option<f32> = of.scores.get(index).copied().flatten();
                Ok(score.map_or(default, f64::from))
            }));
        }
        let value = self.payload_value(name, "number", |value| {
            value.as_f64().ok_or("Value is not a number")
        })?;
        Ok(Box::new(move |of| value(of.subject.payload)))
    }

    /// `$score` and `$score[0]` are one variable.
    fn score_default(&self, index: usize) -> f64 {
        let named = self.defaults.get(&format!("$score[{index}]"));
        let named = named.or_else(|| self.defaults.get("$score").filter(|_| index == 0));
        named.and_then(Json::as_f64).unwrap_or_default()
    }

    fn payload_value<T>(
        &self,
        name: &str,
        kind: &'static str,
        convert: fn(&Json) -> Result<T, &'static str>,
    ) -> Result<impl Fn(&Payload) -> Result<T, Status> + use<T>, Status> {
        let path = Path::parse(name)?;
        let name = name.to_owned();
        let default = self.defaults.get(&name).cloned();
        Ok(move |payload: &Payload| {
            let mut values: Vec<&Json> = path
                .values(payload)
                .into_iter()
                .flat_map(|value| match value.as_array() {
                    Some(values) => values.iter().collect(),
                    None => vec![value],
                })
                .collect();
            let found = match (values.len(), values.pop()) {
                (1, Some(one)) => convert(one),
                (0, _) => match &default {
                    Some(default) => convert(default),
                    None => Err("No value found in a payload nor defaults"),
                },
                _ => Err("There is more than one value"),
            };
            found.map_err(|error| {
                bad_input(format!(
                    "Expected {kind} value for {name} in the payload and/or in the formula \
                     defaults. Error: {error}"
                ))
            })
        })
    }
}

fn finite(value: f64, said: impl Fn() -> String) -> Result<f64, Status> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(bad_input(format!(
        "The expression {} = {value} produced a non-finite number",
        said()
    )))
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::Expression as E;
    use serde_json::json;

    use super::{super::vectors::NamedVectors, *};

    fn value(expression: E) -> Result<f64, Status> {
        let collection = Collection::new(None, None, None).unwrap();
        let formula = Formula {
            expression: Some(expression),
            defaults: HashMap::from([("missing".to_owned(), 7.into())]),
        };
        let Json::Object(payload) = json!({"n": 4, "one": [3], "two": [1, 2], "text": "x"}) else {
            unreachable!()
        };
        let subject = Subject {
            place: 0,
            payload: &payload,
            vectors: &NamedVectors::new(),
        };
        compile(&formula, &collection)?(&Candidate {
            subject,
            scores: &[Some(0.5), None],
        })
    }

    fn variable(name: &str) -> E {
        E::variable(name)
    }

    #[test]
    fn formulas_calculate_as_documented() {
        let n = || variable("n");
        let constant = E::constant;
        let cases: Vec<(E, f64)> = vec![
            (constant(1.5), 1.5),
            (variable("$score"), 0.5),
            (variable("$score[1]"), 0.0),
            (n(), 4.0),
            (variable("one"), 3.0),
            (variable("missing"), 7.0),
            (E::sum_with([n(), constant(1.0), variable("$score")]), 5.5),
            (E::mult_with([n(), constant(2.0)]), 8.0),
            (E::mult_with([constant(0.0), variable("text")]), 0.0),
            (E::neg(n()), -4.0),
            (E::abs(constant(-2.0)), 2.0),
            (E::div_with(n(), constant(8.0), None), 0.5),
            (E::div_with(n(), constant(0.0), Some(9.0)), 9.0),
            (E::div_with(constant(0.0), constant(0.0), None), 0.0),
            (E::sqrt(n()), 2.0),
            (E::pow_with(n(), constant(0.5)), 2.0),
            (E::exp(constant(0.0)), 1.0),
            (E::log10(constant(1000.0)), 3.0),
            (E::ln(constant(1.0)), 0.0),
        ];
        for (expression, wanted) in cases {
            let told = format!("{expression:?}");
            let got = value(expression).unwrap();
            assert!((got - wanted).abs() < 1e-12, "{told} is {got}");
        }
    }

    #[test]
    fn formulas_without_a_number_are_refused() {
        for expression in [
            variable("absent"),
            variable("text"),
            variable("two"),
            variable("$other"),
            E::ln(E::constant(0.0)),
            E::sqrt(E::constant(-1.0)),
            E::div_with(E::constant(1.0), E::constant(0.0), None),
        ] {
            let told = format!("{expression:?}");
            let status = value(expression).expect_err(&told);
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{told}");
        }
    }
}
