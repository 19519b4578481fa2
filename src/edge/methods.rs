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

    pub(crate) const fn stream(path: &'static str, roles: &'static [Role]) -> Self {
        Self {
            path,
            kind: MethodKind::Stream(roles),
        }
    }

    pub(crate) const fn free(path: &'static str) -> Self {
        Self {
            path,
            kind: MethodKind::Free,
        }
    }
}

/// How the edge treats the calls of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodKind {
    /// One request, one reply. The key needs one of the roles.
    Unary(&'static [Role]),
    /// Requests and replies alternate for as long as the client sends. The key needs
    /// one of the roles.
    Stream(&'static [Role]),
    /// Health and reflection: no key, no limit on load, no trace.
    Free,
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
            method.kind == MethodKind::Free && service(method.path) == service(path)
        };
        if self.0.iter().any(|method| is_free(&method)) {
            MethodKind::Free
        } else {
            MethodKind::Unary(&[Role::Admin])
        }
    }
}

/// The path up to the name of the method.
fn service(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(service, _)| service)
}
