//! The tenants file: TOML, unknown keys refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    path::PathBuf,
};

use serde::Deserialize;

use crate::{
    domain::ids::{InvalidTenantId, TenantId},
    edge::tenants::{
        key::{KeyHash, KeyId},
        role::{Role, Roles},
    },
};

/// Bytes from which on a word may be a secret. No key of the file is as long.
const SECRET_LENGTH: usize = 32;

/// Why a tenants file is refused. Never holds a key or a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantsFileError {
    /// It is no TOML of this form.
    #[error("{0}")]
    Form(String),
    /// A tenant's name cannot be one.
    #[error("tenant {tenant:?}: {rule}")]
    Name {
        /// The name.
        tenant: String,
        /// What is wrong with it.
        rule: InvalidTenantId,
    },
    /// Something of a tenant breaks a rule.
    #[error("tenant {tenant}: {rule}")]
    Tenant {
        /// Whose.
        tenant: TenantId,
        /// What is wrong.
        rule: String,
    },
    /// A key of a tenant breaks a rule.
    #[error("tenant {tenant}, key {number}: {rule}")]
    Key {
        /// Whose.
        tenant: TenantId,
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        rule: String,
    },
    /// Nobody could ever call.
    #[error("there is no tenant in it")]
    Empty,
}

/// All tenants, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantsFile {
    /// By name.
    pub tenants: BTreeMap<TenantId, TenantEntry>,
}

/// A tenant: where its data is, and who may come to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantEntry {
    /// What its Redis keys begin with, after `REDIS_KEY_PREFIX`.
    pub key_prefix: String,
    /// The Qdrant collection of its items: no other tenant's.
    pub collection: String,
    /// Its ranking file, from the tenants file's folder; `None` takes the
    /// service's.
    pub ranking: Option<PathBuf>,
    /// Its keys.
    pub keys: Vec<KeyEntry>,
}

/// A key: who it is and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// What it is known by.
    pub id: KeyId,
    /// What is kept of it.
    pub hash: KeyHash,
    /// What it may do.
    pub roles: Roles,
    /// How many calls it may make.
    pub calls: Option<Quota>,
    /// How many events it may send.
    pub events: Option<Quota>,
}

/// So many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// A second.
    pub per_second: NonZeroU32,
    /// At once; `None` is as many as a second's.
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
    /// Reads and checks the file's text.
    ///
    /// # Errors
    /// [`TenantsFileError`], the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, TenantsFileError> {
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            // Not the excerpt that the error's text shows: it may hold a hash.
            let line = error.span().map_or(0, |span| {
                1 + text[..span.start].bytes().filter(|b| *b == b'\n').count()
            });
            TenantsFileError::Form(format!("line {line}: {}", veiled(error.message())))
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

    /// How many keys there are in all.
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
    // Either none, or one that no other prefix can begin with or end in: no
    // two tenants' keys ever meet.
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
        .map(|role| role.parse::<Role>().map_err(|rule| veiled(&rule)))
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

/// A text without the words in it that are as long as a secret: a key or a hash
/// may stand where something else should.
fn veiled(text: &str) -> String {
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    text.split_inclusive(ends)
        .map(|piece| {
            let word = piece.trim_end_matches(ends);
            match word.len() {
                0..SECRET_LENGTH => piece.to_owned(),
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

    /// The good file with one thing replaced, wherever it stands.
    fn parse(good: &str, bad: &str) -> Result<TenantsFile, String> {
        let text = GOOD.replace(good, bad);
        let text = text.replace("HASH", &"0".repeat(64));
        TenantsFile::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_good_file_says_where_data_is_and_who_may_come() {
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
    fn each_thing_that_would_let_someone_in_by_mistake_is_refused() {
        for (good, bad, told) in [
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
            ("ranking", "rank", "unknown field"),
        ] {
            let error = parse(good, bad).unwrap_err();
            assert!(error.contains(told), "{bad:?}: {error}");
            assert!(!error.contains("0000"), "a hash is told: {error}");
        }
        assert!(TenantsFile::parse("").is_err());
        assert!(TenantsFile::parse("[tenants]").is_err());
    }
}
