//! What the console answers itself.

use crate::edge::{
    methods::{Method, Methods},
    tenants::Role,
};

pub(super) const SESSION: &str = "/console/session";
pub(super) const LOGIN: &str = "/console/login";
pub(super) const LOGOUT: &str = "/console/logout";
pub(super) const USER: &str = "/console/user";
pub(super) const DATA: &str = "/console/data";
pub(super) const RANKING: &str = "/console/ranking";
pub(super) const PREVIEW: &str = "/console/preview";
pub(super) const RESULTS: &str = "/console/results";
pub(super) const HEALTH: &str = "/console/health";

/// All paths. Looking at a user takes the role that reads profiles. The first three are
/// answered before roles are checked.
pub(super) const METHODS: Methods = Methods(&[
    Method::unary(SESSION, &[]),
    Method::unary(LOGIN, &[]),
    Method::unary(LOGOUT, &[]),
    Method::unary(USER, &[Role::ReadProfile]),
    Method::unary(DATA, &[Role::Serve]),
    Method::unary(RANKING, &[Role::Serve]),
    Method::unary(PREVIEW, &[Role::Serve]),
    Method::unary(RESULTS, &[Role::Serve]),
    Method::unary(HEALTH, &[Role::Serve]),
]);

/// Whether the console answers this path itself.
pub(super) fn is_own(path: &str) -> bool {
    METHODS.0.iter().any(|method| method.path == path)
}

/// Whether this path needs no session.
pub(super) fn is_about_sessions(path: &str) -> bool {
    [SESSION, LOGIN, LOGOUT].contains(&path)
}
