//! What goes wrong on purpose, and what was called.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tonic::Status;

#[derive(Debug, Clone)]
pub enum Fault {
    Status(Status),
    Hang,
    Empty,
}

#[derive(Debug, Default)]
pub struct Faults {
    pub delay: Duration,
    /// What every call meets.
    pub always: Option<Fault>,
    /// What calls of one kind meet.
    pub of_rpc: HashMap<String, Fault>,
    /// What the next calls of any kind meet, before all else.
    pub next: VecDeque<Fault>,
    pub api_key: Option<String>,
    /// A collection that is made anew once the next call of an RPC is
    /// answered, with its vectors' size.
    pub anew: Option<(String, String, u64)>,
}

impl Faults {
    pub fn next(&mut self, rpc: &str) -> (Duration, Option<Fault>) {
        let next = self.next.pop_front();
        let of_rpc = || self.of_rpc.get(rpc).cloned();
        let fault = next.or_else(of_rpc).or_else(|| self.always.clone());
        (self.delay, fault)
    }
}

/// How many requests are kept to be looked at.
const KEPT: usize = 256;

#[derive(Debug, Default)]
pub struct Calls {
    counts: HashMap<&'static str, usize>,
    requests: VecDeque<(&'static str, Box<dyn Any + Send>)>,
}

impl Calls {
    pub fn note<Q: Clone + Send + 'static>(&mut self, rpc: &'static str, request: &Q) {
        *self.counts.entry(rpc).or_default() += 1;
        if self.requests.len() == KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back((rpc, Box::new(request.clone())));
    }

    pub fn count(&self, rpc: &str) -> usize {
        self.counts.get(rpc).copied().unwrap_or_default()
    }

    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// The kept requests of one kind, oldest first.
    pub fn requests<Q: Clone + 'static>(&self, rpc: &str) -> Vec<Q> {
        self.requests
            .iter()
            .filter(|(name, _)| *name == rpc)
            .map(|(_, request)| request.downcast_ref::<Q>().expect("the RPC's type").clone())
            .collect()
    }
}
