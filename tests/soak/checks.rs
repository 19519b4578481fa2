//! What a run is judged by.

/// Problems that are told in full.
const TOLD: usize = 10;

#[derive(Clone, Debug)]
pub struct Check {
    pub name: &'static str,
    problems: usize,
    not_judged: Option<&'static str>,
    told: Vec<String>,
    figures: Vec<String>,
}

impl Check {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            problems: 0,
            not_judged: None,
            told: Vec::new(),
            figures: Vec::new(),
        }
    }

    pub fn problem(&mut self, what: impl Into<String>) {
        self.problems += 1;
        if self.told.len() < TOLD {
            self.told.push(what.into());
        }
    }

    pub fn figure(&mut self, what: impl Into<String>) {
        self.figures.push(what.into());
    }

    /// The run was too short for it.
    pub fn cannot_judge(&mut self, why: &'static str) {
        self.not_judged = Some(why);
    }

    pub fn result(&self) -> &'static str {
        match (self.passed(), self.not_judged) {
            (false, _) => "FAIL",
            (true, Some(_)) => "not judged",
            (true, None) => "PASS",
        }
    }

    pub fn passed(&self) -> bool {
        self.problems == 0
    }

    pub fn problems(&self) -> usize {
        self.problems
    }

    pub fn told(&self) -> &[String] {
        &self.told
    }

    pub fn figures(&self) -> String {
        let why = self.not_judged.into_iter();
        why.chain(self.figures.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("; ")
    }
}
