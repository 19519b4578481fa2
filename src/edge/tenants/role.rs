//! The roles of keys.

use std::{fmt, str::FromStr};

/// A permission of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Send events.
    Ingest,
    /// Request lists, and read items.
    Serve,
    /// Read a user's model and events: personal data.
    ReadProfile,
    /// Write the catalogue.
    Catalog,
    /// Erase users.
    Erase,
    /// Move the events of a user to another one.
    Merge,
    /// Everything, for any tenant.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 7] = [
        Self::Ingest,
        Self::Serve,
        Self::ReadProfile,
        Self::Catalog,
        Self::Erase,
        Self::Merge,
        Self::Admin,
    ];

    /// The role's name in files, on the command line and in errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Serve => "serve",
            Self::ReadProfile => "read-profile",
            Self::Catalog => "catalog",
            Self::Erase => "erase",
            Self::Merge => "merge",
            Self::Admin => "admin",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|role| role.name() == text);
        named.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|role| role.name()).collect();
            format!("{text:?} is no role; there are {}", names.join(", "))
        })
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Whether a key with these roles has `role`. An admin has every role.
    #[must_use]
    pub fn allow(self, role: Role) -> bool {
        self.0 & (role.bit() | Role::Admin.bit()) != 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | role.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Role, Roles};

    #[test]
    fn a_set_allows_its_roles_and_admin_allows_all() {
        for held in Role::ALL {
            let roles: Roles = [held].into_iter().collect();
            for required in Role::ALL {
                let allowed = required == held || held == Role::Admin;
                assert_eq!(roles.allow(required), allowed, "{held} for {required}");
            }
        }
        assert!(Role::ALL.iter().all(|role| !Roles::default().allow(*role)));
    }

    #[test]
    fn every_name_is_parsed_as_its_role() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        let error = "root".parse::<Role>().unwrap_err();
        assert!(error.contains("read-profile"), "{error}");
    }
}
