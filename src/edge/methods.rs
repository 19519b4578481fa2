//! The methods of a port, as far as the edge needs them. The tables are those of the ports:
//! `api/methods.rs`, `http/webhook/mod.rs`.

use crate::edge::tenants::Role;

/// A method of a port.
#[derive(Debug)]
pub(crate) struct Method {
    /// The path of its URL.
    pub(crate) path: &'static str,
    pub(crate) kind: MethodKind,
}

impl Method {
    pub(crate) const fn unary(path: &'static str, roles: &'static [Role]) -> Self {
        Self {
            path,
            kind: MethodKind::Unary(roles),
        }
    }

    pub(crate) const fn replies(path: &'static str, roles: &'static [Role]) -> Self {
        Self {
            path,
            kind: MethodKind::Replies(roles),
        }
    }

    pub(crate) const fn stream(path: &'static str, roles: &'static [Role]) -> Self {
        Self {
            path,
            kind: MethodKind::Stream(roles),
        }
    }

    pub(crate) const fn free(path: &'static str, call_bytes: usize) -> Self {
        Self {
            path,
            kind: MethodKind::Free { call_bytes },
        }
    }
}

/// How the edge treats the calls of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodKind {
    /// One request, one reply. The key needs one of the roles.
    Unary(&'static [Role]),
    /// One request, then replies for as long as the client reads. The key needs one of
    /// the roles.
    Replies(&'static [Role]),
    /// Requests and replies alternate for as long as the client sends. The key needs
    /// one of the roles.
    Stream(&'static [Role]),
    /// Health and reflection: no key, no trace, and a share of the memory of their own.
    Free {
        /// What an open call occupies, at most.
        call_bytes: usize,
    },
}

impl MethodKind {
    /// The roles of which a key needs one; `None`: no key is needed.
    pub(crate) fn roles(self) -> Option<&'static [Role]> {
        match self {
            Self::Unary(roles) | Self::Replies(roles) | Self::Stream(roles) => Some(roles),
            Self::Free { .. } => None,
        }
    }
}

/// The methods of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Methods(pub(crate) &'static [Method]);

impl Methods {
    /// The kind of the method at a path. A path that is not listed is free if a free
    /// method has the same service; any other is for admins.
    pub(crate) fn kind(self, path: &str) -> MethodKind {
        if let Some(method) = self.0.iter().find(|method| method.path == path) {
            return method.kind;
        }
        let is_free = |method: &&Method| {
            method.kind.roles().is_none() && service(method.path) == service(path)
        };
        match self.0.iter().find(is_free) {
            Some(method) => method.kind,
            None => MethodKind::Unary(&[Role::Admin]),
        }
    }
}

/// The path up to the name of the method.
fn service(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(service, _)| service)
}
