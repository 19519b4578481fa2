//! Faults to inject, and a record of the calls.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tonic::Status;

#[derive(Debug, Clone)]
pub enum InjectedFault {
    Status(Status),
    Hang,
}

#[derive(Debug, Default)]
pub struct Faults {
    pub delay: Duration,
    /// The fault of every call.
    pub always: Option<InjectedFault>,
    /// The fault of each call of one RPC.
    pub by_rpc: HashMap<String, InjectedFault>,
    /// The faults of the next calls of any RPC, before all others.
    pub next: VecDeque<InjectedFault>,
    pub api_key: Option<String>,
    /// A collection to recreate after the next call of an RPC, with the size of its
    /// vectors.
    pub recreate: Option<(String, String, u64)>,
}

impl Faults {
    pub fn next(&mut self, rpc: &str) -> (Duration, Option<InjectedFault>) {
        let next = self.next.pop_front();
        let by_rpc = || self.by_rpc.get(rpc).cloned();
        let fault = next.or_else(by_rpc).or_else(|| self.always.clone());
        (self.delay, fault)
    }
}

/// How many requests are recorded.
const RECORDED: usize = 256;

#[derive(Debug, Default)]
pub struct CallLog {
    counts: HashMap<&'static str, usize>,
    requests: VecDeque<(&'static str, Box<dyn Any + Send>)>,
}

impl CallLog {
    pub fn record<Q: Clone + Send + 'static>(&mut self, rpc: &'static str, request: &Q) {
        *self.counts.entry(rpc).or_default() += 1;
        if self.requests.len() == RECORDED {
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

    /// The recorded requests of one RPC, oldest first.
    pub fn requests<Q: Clone + 'static>(&self, rpc: &str) -> Vec<Q> {
        self.requests
            .iter()
            .filter(|(name, _)| *name == rpc)
            .map(|(_, request)| request.downcast_ref::<Q>().expect("the RPC's type").clone())
            .collect()
    }
}
