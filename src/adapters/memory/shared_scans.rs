//! Scans of a large index that answer searches of several calls together.
//!
//! An index that is larger than the processor's cache is read from memory for each scan,
//! which takes longer than the arithmetic. So calls wait for a scanner, and a scanner
//! answers all that wait, up to [`MAX_TOGETHER`], with one scan. There are at most as many
//! scanners as processors: a call that finds a free one does not wait.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{adapters::memory::index::CosineCall, blocking, domain::item::CatalogueItem};

/// The most calls that a scan answers: their intermediate results stay in the cache.
const MAX_TOGETHER: usize = 8;

/// What each search of a call found.
type FoundOfCall = Vec<Vec<Arc<CatalogueItem>>>;

/// Calls that wait for a scan.
pub(super) struct SharedScans {
    queue: Mutex<Queue>,
    max_scanners: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<WaitingCall>,
    scanners: usize,
}

struct WaitingCall {
    call: CosineCall,
    reply: oneshot::Sender<FoundOfCall>,
}

impl SharedScans {
    pub(super) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            max_scanners: blocking::processors(),
        }
    }

    /// Runs a call with `scan`, which answers several: perhaps together with others.
    /// `None` if the scanner stopped before; then nothing is known.
    pub(super) async fn run<S>(self: &Arc<Self>, call: CosineCall, scan: S) -> Option<FoundOfCall>
    where
        S: Fn(&[CosineCall]) -> Vec<FoundOfCall> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let starts = {
            let mut queue = self.queue();
            queue.waiting.push_back(WaitingCall { call, reply });
            let starts = queue.scanners < self.max_scanners;
            queue.scanners += usize::from(starts);
            starts
        };
        if starts {
            let scanner = Scanner {
                scans: Arc::clone(self),
                is_done: false,
            };
            tokio::spawn(async move { scanner.run(scan) });
        }
        answer.await.ok()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers waiting calls until there are none.
struct Scanner {
    scans: Arc<SharedScans>,
    is_done: bool,
}

impl Scanner {
    fn run(mut self, scan: impl Fn(&[CosineCall]) -> Vec<FoundOfCall>) {
        while let Some((calls, replies)) = self.next() {
            let found = blocking::in_place(|| scan(&calls));
            for (reply, found) in replies.into_iter().zip(found) {
                // The caller may be gone.
                let _ = reply.send(found);
            }
        }
    }

    /// The next calls whose callers still wait. Without any, this scanner is done: the
    /// next call starts another one.
    fn next(&mut self) -> Option<(Vec<CosineCall>, Vec<oneshot::Sender<FoundOfCall>>)> {
        let mut queue = self.scans.queue();
        let (mut calls, mut replies) = (Vec::new(), Vec::new());
        while calls.len() < MAX_TOGETHER
            && let Some(waiting) = queue.waiting.pop_front()
        {
            if !waiting.reply.is_closed() {
                calls.push(waiting.call);
                replies.push(waiting.reply);
            }
        }
        if calls.is_empty() {
            queue.scanners -= 1;
            self.is_done = true;
            return None;
        }
        Some((calls, replies))
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        if !self.is_done {
            // It panicked, or the runtime is shutting down. Nobody may wait for it.
            let mut queue = self.scans.queue();
            queue.scanners -= 1;
            queue.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::{MAX_TOGETHER, SharedScans};
    use crate::{
        adapters::memory::index::CosineCall,
        domain::{
            item::{CatalogueItem, Item},
            restriction::Restriction,
            tags::Canonicalizer,
            vector::UnitVector,
        },
        ports::{Search, SearchOrder},
    };

    /// A call that excludes an item of this number.
    fn call(number: usize) -> CosineCall {
        let search = Search {
            order: SearchOrder::NearestTo(UnitVector::new(&[1.0]).unwrap()),
            restriction: &Restriction::default(),
            exclude: &HashSet::from([number.to_string().into()]),
            exclude_afterwards: &HashSet::new(),
            limit: 1,
        };
        CosineCall::of(&[search]).unwrap().0
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn each_of_many_callers_gets_its_own_answer() {
        let scans = Arc::new(SharedScans::new());
        let largest = Arc::new(AtomicUsize::new(0));
        let callers = (0..200_usize).map(|number| {
            let (scans, largest) = (Arc::clone(&scans), Arc::clone(&largest));
            tokio::spawn(async move {
                let found = scans.run(call(number), move |calls: &[CosineCall]| {
                    largest.fetch_max(calls.len(), Ordering::Relaxed);
                    calls.iter().map(|call| vec![vec![item(call)]]).collect()
                });
                (number, found.await.unwrap())
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            let (number, found) = caller.await.unwrap();
            assert_eq!(found[0][0].id().as_str(), number.to_string());
        }
        assert!(largest.load(Ordering::Relaxed) <= MAX_TOGETHER);
        // A scanner stops after its last reply.
        while scans.queue().scanners > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_scanner_that_failed() {
        let scans = Arc::new(SharedScans::new());
        let fails = |_: &[CosineCall]| -> Vec<_> { panic!("a scan that fails") };
        assert!(scans.run(call(1), fails).await.is_none());
        let works = |calls: &[CosineCall]| calls.iter().map(|_| Vec::new()).collect();
        assert!(scans.run(call(2), works).await.is_some());
    }

    /// The item that a call excludes.
    fn item(call: &CosineCall) -> Arc<CatalogueItem> {
        let item = Item::new(call.excluded[0].clone());
        Arc::new(CatalogueItem::new(item, &Canonicalizer::default()))
    }
}
