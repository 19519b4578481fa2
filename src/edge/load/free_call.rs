//! Calls of health and reflection, which need no key. What they occupy together is a
//! fixed part of all memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    edge::{
        budget::{Load, Share, overloaded},
        connections::{Connection, OpenStream},
        refusal::Refusal,
    },
    telemetry::meters::Shed,
};

/// Calls without a key occupy at most 1 of this number of all bytes.
const PART: usize = 8;

/// Several calls of one connection occupy at most 1 of this number of those bytes.
const CONNECTION_PART: usize = 8;

/// All open calls without a key.
pub(crate) struct FreeCalls {
    load: Arc<Load>,
    share: Arc<Share>,
    /// By the address of the connection.
    connections: Mutex<HashMap<usize, Occupied>>,
}

/// What the free calls of a connection occupy.
struct Occupied {
    connection: Arc<Connection>,
    bytes: usize,
}

/// A call without a key, and what it occupies, which is released when this is dropped.
pub(crate) struct FreeCall {
    calls: Arc<FreeCalls>,
    connection: Option<Arc<Connection>>,
    _stream: Option<OpenStream>,
    bytes: usize,
}

impl FreeCalls {
    pub(crate) fn new(load: &Arc<Load>) -> Arc<Self> {
        Arc::new(Self {
            load: Arc::clone(load),
            share: Arc::new(Share::part(PART)),
            connections: Mutex::default(),
        })
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<usize, Occupied>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that starts now and occupies at most `bytes`. If there is no room, the
    /// connection that occupies most is closed to make some: a probe is let in. The caller's
    /// connection is closed if its free calls would occupy too much together, unless it has
    /// calls with a key.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] if the caller's connection is one of those, or if those that
    /// were closed still occupy as much again.
    pub(crate) fn start(
        self: &Arc<Self>,
        connection: Option<Arc<Connection>>,
        bytes: usize,
    ) -> Result<FreeCall, Refusal> {
        let max = self.load.max_reservation(Some(&self.share));
        if let Some(own) = &connection
            && self.is_full(own, bytes, max / CONNECTION_PART)
        {
            if !own.has_keyed_stream() {
                own.aborted.cancel();
            }
            return Err(overloaded(Shed::Bytes));
        }
        // Only the share counts: at the limit of all bytes, health is still served.
        let _ = self.load.hold(Some(&self.share), bytes);
        if self.share.held() > max {
            let closed = self.close_largest();
            let is_own = match (&closed, &connection) {
                (Some(closed), Some(own)) => Arc::ptr_eq(closed, own),
                _ => false,
            };
            if is_own || self.share.held() > 2 * max {
                self.load.release(Some(&self.share), bytes);
                return Err(overloaded(Shed::Bytes));
            }
        }
        if let Some(connection) = &connection {
            let mut connections = self.connections();
            let occupied = connections.entry(address(connection)).or_insert(Occupied {
                connection: Arc::clone(connection),
                bytes: 0,
            });
            occupied.bytes += bytes;
        }
        Ok(FreeCall {
            calls: Arc::clone(self),
            _stream: connection.as_ref().map(Connection::free_stream),
            connection,
            bytes,
        })
    }

    /// Whether a connection has calls and would occupy more than `max` with another one.
    fn is_full(&self, connection: &Arc<Connection>, bytes: usize, max: usize) -> bool {
        let connections = self.connections();
        let occupied = connections.get(&address(connection));
        occupied.is_some_and(|occupied| occupied.bytes + bytes > max)
    }

    /// Closes the connection whose free calls occupy most, of those without other calls
    /// if there is one.
    fn close_largest(&self) -> Option<Arc<Connection>> {
        let connections = self.connections();
        let largest = connections
            .values()
            .filter(|occupied| !occupied.connection.aborted.is_cancelled())
            .max_by_key(|occupied| (!occupied.connection.has_keyed_stream(), occupied.bytes))?;
        largest.connection.aborted.cancel();
        Some(Arc::clone(&largest.connection))
    }

    fn end(&self, connection: &Arc<Connection>, bytes: usize) {
        let mut connections = self.connections();
        let Some(occupied) = connections.get_mut(&address(connection)) else {
            return;
        };
        occupied.bytes = occupied.bytes.saturating_sub(bytes);
        if occupied.bytes == 0 {
            connections.remove(&address(connection));
        }
    }
}

fn address(connection: &Arc<Connection>) -> usize {
    Arc::as_ptr(connection) as usize
}

impl FreeCall {
    pub(crate) fn connection(&self) -> Option<&Arc<Connection>> {
        self.connection.as_ref()
    }

    /// Counts bytes of a reply until they are written to the socket. A connection that
    /// does not take them is closed once they exceed the share.
    pub(crate) fn send(&self, bytes: usize) {
        if let Some(connection) = &self.connection {
            let calls = &self.calls;
            if !connection.send(bytes, &calls.load, Some(&calls.share)) {
                connection.aborted.cancel();
            }
        }
    }
}

impl Drop for FreeCall {
    fn drop(&mut self) {
        self.calls.load.release(Some(&self.calls.share), self.bytes);
        if let Some(connection) = &self.connection {
            self.calls.end(connection, self.bytes);
        }
    }
}
