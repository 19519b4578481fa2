//! Tokens of the pages of lists.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{domain::ids::TenantId, ports::ListPosition};

const CHECKSUM_BYTES: usize = 8;

/// Makes and reads the tokens of one list. A token is a position and a checksum over the
/// position, the tenant and the filter: it detects mistakes. It is no secret and needs
/// none, as a token grants nothing: who makes one up chooses where a page of their own
/// list begins.
pub(crate) struct PageTokens {
    list: u64,
}

impl PageTokens {
    /// The tokens of a tenant's list of the items that meet a filter.
    pub(crate) fn new(tenant: Option<&TenantId>, filter: &str) -> Self {
        // No name of a tenant holds a line break.
        let tenant = tenant.map_or("", TenantId::as_str);
        let list = format!("{tenant}\n{}", filter.trim());
        Self {
            list: xxh3_64(list.as_bytes()),
        }
    }

    pub(crate) fn write(&self, position: &ListPosition) -> String {
        let position = position.0.as_bytes();
        let token = [&self.checksum(position)[..], position].concat();
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The position of a token; `None` if it is no token of this list.
    pub(crate) fn read(&self, token: &str) -> Option<ListPosition> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (checksum, position) = token.split_at_checked(CHECKSUM_BYTES)?;
        if checksum != self.checksum(position) {
            return None;
        }
        String::from_utf8(position.to_vec()).ok().map(ListPosition)
    }

    fn checksum(&self, position: &[u8]) -> [u8; CHECKSUM_BYTES] {
        xxh3_64_with_seed(position, self.list).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PageTokens;
    use crate::{domain::ids::TenantId, ports::ListPosition};

    #[test]
    fn a_token_is_of_one_tenant_and_one_filter() {
        let tenant = |name: &str| TenantId::parse(name).unwrap();
        let position = ListPosition("SKU-1".to_owned());
        let lists = [
            PageTokens::new(None, ""),
            PageTokens::new(None, "price < 5"),
            PageTokens::new(Some(&tenant("a")), ""),
            PageTokens::new(Some(&tenant("b")), ""),
        ];
        for (index, list) in lists.iter().enumerate() {
            let token = list.write(&position);
            for (other, reader) in lists.iter().enumerate() {
                let expected = (index == other).then(|| position.clone());
                assert_eq!(reader.read(&token), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn a_token_is_read_as_it_is_written_and_no_other_text_is(
            position in "\\PC{0,40}",
            text in "[A-Za-z0-9_-]{0,60}",
            at in any::<prop::sample::Index>(),
        ) {
            let list = PageTokens::new(None, "price < 5");
            let position = ListPosition(position);
            let token = list.write(&position);
            prop_assert_eq!(list.read(&token), Some(position));
            prop_assert_eq!(list.read(&text), None);
            let mut damaged = token.into_bytes();
            let at = at.index(damaged.len());
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            prop_assert_eq!(list.read(std::str::from_utf8(&damaged).unwrap()), None);
        }
    }
}
