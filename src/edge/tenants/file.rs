//! The format of the tenants file: TOML; unknown keys are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    path::PathBuf,
};

use serde::Deserialize;

use crate::{
    domain::{
        ids::{InvalidTenantId, TenantId},
        toml_fault::plain,
    },
    edge::tenants::{
        key::{KeyHash, KeyId},
        role::{Role, Roles},
    },
};

/// Words of at least this length may be secrets and are hidden in messages. No keyword
/// of the format is as long.
const MIN_SECRET_BYTES: usize = 32;

/// Why a tenants file is refused. Never contains a key or a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantsFileError {
    /// Not TOML of this format.
    #[error("{0}")]
    Form(String),
    /// A tenant's name is invalid.
    #[error("tenant {tenant:?}: {rule}")]
    Name {
        /// The name.
        tenant: String,
        /// The rule it breaks.
        rule: InvalidTenantId,
    },
    /// An entry of a tenant is invalid.
    #[error("tenant {tenant}: {rule}")]
    Tenant {
        /// The tenant.
        tenant: TenantId,
        /// The rule it breaks.
        rule: String,
    },
    /// A key of a tenant is invalid.
    #[error("tenant {tenant}, key {number}: {rule}")]
    Key {
        /// The tenant.
        tenant: TenantId,
        /// The key's position in the file, from 1.
        number: usize,
        /// The rule it breaks.
        rule: String,
    },
    /// No tenants: no call could be authorized.
    #[error("there is no tenant in it")]
    Empty,
}

/// A validated tenants file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantsFile {
    /// By name.
    pub tenants: BTreeMap<TenantId, TenantEntry>,
}

/// A tenant: where its data is stored, and its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantEntry {
    /// The prefix of its Redis keys, after `REDIS_KEY_PREFIX`.
    pub key_prefix: String,
    /// The Qdrant collection of its items; unique per tenant.
    pub collection: String,
    /// Its ranking file, relative to the tenants file; `None`: the service's.
    pub ranking: Option<PathBuf>,
    /// Its keys.
    pub keys: Vec<KeyEntry>,
}

/// A key with its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Its public id.
    pub id: KeyId,
    /// Its hash.
    pub hash: KeyHash,
    /// Its roles.
    pub roles: Roles,
    /// Limit on calls; `None`: no limit.
    pub calls: Option<Quota>,
    /// Limit on events; `None`: no limit.
    pub events: Option<Quota>,
}

/// A rate limit: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Sustained rate.
    pub per_second: NonZeroU32,
    /// Size of the bucket; `None`: one second's worth.
    pub burst: Option<NonZeroU32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    tenants: BTreeMap<String, RawTenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTenant {
    collection: String,
    key_prefix: Option<String>,
    ranking: Option<PathBuf>,
    #[serde(default)]
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: String,
    hash: String,
    roles: Vec<String>,
    calls_per_second: Option<NonZeroU32>,
    calls_burst: Option<NonZeroU32>,
    events_per_second: Option<NonZeroU32>,
    events_burst: Option<NonZeroU32>,
}

impl TenantsFile {
    /// Parses and validates the text of a file.
    ///
    /// # Errors
    /// [`TenantsFileError`], the first that is found.
    pub fn parse(text: &str) -> Result<Self, TenantsFileError> {
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            // Without the excerpt that the error shows: it may contain a hash.
            let line = error.span().map_or(0, |span| {
                1 + text[..span.start].bytes().filter(|b| *b == b'\n').count()
            });
            TenantsFileError::Form(format!(
                "line {line}: {}",
                hide_secrets(&plain(error.message()))
            ))
        })?;
        if raw.tenants.is_empty() {
            return Err(TenantsFileError::Empty);
        }
        let (mut ids, mut prefixes, mut collections) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut tenants = BTreeMap::new();
        for (name, raw) in raw.tenants {
            let tenant = TenantId::parse(&name).map_err(|error| TenantsFileError::Name {
                tenant: name,
                rule: error,
            })?;
            let entry = entry(&tenant, raw, &mut ids)?;
            let broken = |rule: String| TenantsFileError::Tenant {
                tenant: tenant.clone(),
                rule,
            };
            if !prefixes.insert(entry.key_prefix.clone()) {
                let rule = format!("key_prefix {:?} is another tenant's", entry.key_prefix);
                return Err(broken(rule));
            }
            if !collections.insert(entry.collection.clone()) {
                let rule = format!("collection {:?} is another tenant's", entry.collection);
                return Err(broken(rule));
            }
            tenants.insert(tenant, entry);
        }
        Ok(Self { tenants })
    }

    /// The number of keys of all tenants.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.keys.len()).sum()
    }
}

fn entry(
    tenant: &TenantId,
    raw: RawTenant,
    ids: &mut BTreeSet<KeyId>,
) -> Result<TenantEntry, TenantsFileError> {
    let broken = |rule: &str| TenantsFileError::Tenant {
        tenant: tenant.clone(),
        rule: rule.to_owned(),
    };
    if raw.collection.trim().is_empty() {
        return Err(broken("collection must not be empty"));
    }
    let key_prefix = raw.key_prefix.unwrap_or_else(|| format!("{tenant}:"));
    // Either empty, or a name with a colon: then no prefix is a prefix or suffix of
    // another one, and keys of two tenants never collide.
    let is_name = |prefix: &str| TenantId::parse(prefix.strip_suffix(':').unwrap_or("")).is_ok();
    if !key_prefix.is_empty() && !is_name(&key_prefix) {
        return Err(broken(
            "key_prefix must be empty, or a name like a tenant's with a colon behind it",
        ));
    }
    let keys = raw
        .keys
        .into_iter()
        .zip(1..)
        .map(|(raw, number)| {
            key(raw, ids).map_err(|rule| TenantsFileError::Key {
                tenant: tenant.clone(),
                number,
                rule,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(TenantEntry {
        key_prefix,
        collection: raw.collection,
        ranking: raw.ranking,
        keys,
    })
}

fn key(raw: RawKey, ids: &mut BTreeSet<KeyId>) -> Result<KeyEntry, String> {
    let id: KeyId = raw.id.parse().map_err(|rule| format!("id {rule}"))?;
    let hash = raw.hash.parse().map_err(|rule| format!("hash {rule}"))?;
    if raw.roles.is_empty() {
        return Err("roles must not be empty".to_owned());
    }
    let roles = raw
        .roles
        .iter()
        .map(|role| role.parse::<Role>().map_err(|rule| hide_secrets(&rule)))
        .collect::<Result<Roles, _>>()?;
    if !ids.insert(id.clone()) {
        return Err(format!("id {id} is another key's, too"));
    }
    let quota = |name: &str, per_second, burst| match (per_second, burst) {
        (Some(per_second), burst) => Ok(Some(Quota { per_second, burst })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(format!("{name}_burst needs {name}_per_second")),
    };
    Ok(KeyEntry {
        id,
        hash,
        roles,
        calls: quota("calls", raw.calls_per_second, raw.calls_burst)?,
        events: quota("events", raw.events_per_second, raw.events_burst)?,
    })
}

/// Replaces words that are as long as a secret: a key or a hash may be in the wrong
/// place of the file.
fn hide_secrets(text: &str) -> String {
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    text.split_inclusive(ends)
        .map(|piece| {
            let word = piece.trim_end_matches(ends);
            match word.len() {
                0..MIN_SECRET_BYTES => piece.to_owned(),
                _ => format!("(hidden){}", &piece[word.len()..]),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::TenantsFile;
    use crate::edge::tenants::Role;

    const GOOD: &str = r#"
[tenants.shop]
collection = "shop-items"
ranking = "shop.toml"

[[tenants.shop.keys]]
id = "1a"
hash = "sha256:HASH"
roles = ["ingest", "serve"]
calls_per_second = 100
events_per_second = 1000
events_burst = 5000

[tenants.museum]
collection = "museum"
key_prefix = ""

[[tenants.museum.keys]]
id = "2b"
hash = "sha256:HASH"
roles = ["admin"]
"#;

    /// Parses the good file with one text replaced wherever it occurs.
    fn parse(good: &str, bad: &str) -> Result<TenantsFile, String> {
        let text = GOOD.replace(good, bad);
        let text = text.replace("HASH", &"0".repeat(64));
        TenantsFile::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_valid_file_is_parsed() {
        let file = parse("shop.toml", "shop.toml").unwrap();
        let names: Vec<String> = file.tenants.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["museum", "shop"]);
        let prefixes: Vec<&str> = file
            .tenants
            .values()
            .map(|tenant| tenant.key_prefix.as_str())
            .collect();
        assert_eq!(prefixes, ["", "shop:"]);
        let shop = file.tenants.values().next_back().unwrap();
        let key = &shop.keys[0];
        assert!(key.roles.allow(Role::Serve) && !key.roles.allow(Role::Erase));
        assert_eq!(key.calls.unwrap().per_second.get(), 100);
        assert_eq!(key.events.unwrap().burst.unwrap().get(), 5_000);
    }

    #[test]
    fn a_file_that_would_grant_access_by_mistake_is_refused() {
        for (good, bad, rule) in [
            ("tenants.shop", "tenants.Shop", "a-z"),
            ("tenants.shop", "tenants.evt", "evt"),
            ("\"ingest\", \"serve\"", "", "roles must not be empty"),
            ("\"serve\"", "\"root\"", "is no role"),
            ("sha256:HASH", "HASH", "hash must be sha256"),
            ("sha256:HASH", "sha256:12", "hash must be sha256"),
            ("id = \"2b\"", "id = \"1a\"", "is another key's"),
            ("id = \"2b\"", "id = \"\"", "id must be"),
            ("\"museum\"", "\"shop-items\"", "another tenant's"),
            ("\"museum\"", "\" \"", "must not be empty"),
            (
                "key_prefix = \"\"",
                "key_prefix = \"shop:\"",
                "another tenant's",
            ),
            (
                "key_prefix = \"\"",
                "key_prefix = \"evt:\"",
                "key_prefix must be",
            ),
            (
                "key_prefix = \"\"",
                "key_prefix = \"shop\"",
                "key_prefix must be",
            ),
            ("events_per_second = 1000", "", "events_burst needs"),
            ("calls_per_second = 100", "calls_per_second = 0", "line"),
            ("ranking", "rank", "unknown key"),
        ] {
            let error = parse(good, bad).unwrap_err();
            assert!(error.contains(rule), "{bad:?}: {error}");
            assert!(!error.contains("0000"), "a hash is shown: {error}");
        }
        assert!(TenantsFile::parse("").is_err());
        assert!(TenantsFile::parse("[tenants]").is_err());
    }
}
