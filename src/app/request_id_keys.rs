//! The file of the keys that sign ids of lists.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use super::{error::StartError, files::read};
use crate::{
    config::Settings,
    domain::experiments::{MAX_SIGNED_ID_BYTES, RequestIdKeys},
};

/// The permissions of users outside a file's group.
const OTHERS: u32 = 0o007;

/// The keys of the settings' file, if they name one.
///
/// # Errors
/// [`StartError`] if the file cannot be read, every user of the machine may open it, it
/// is not a key file, or events could not hold the ids.
pub fn request_id_keys(settings: &Settings) -> Result<Option<RequestIdKeys>, StartError> {
    let Some(path) = &settings.request_id_key_file else {
        return Ok(None);
    };
    let max_id_bytes = settings.limits.max_id_bytes;
    if max_id_bytes < MAX_SIGNED_ID_BYTES {
        return Err(StartError::RequestIdLimit { max_id_bytes });
    }
    let text = read(path)?;
    check_mode(path)?;
    let keys = RequestIdKeys::parse(&text);
    keys.map(Some).map_err(|source| StartError::RequestIdKeys {
        path: path.clone(),
        source,
    })
}

fn check_mode(path: &Path) -> Result<(), StartError> {
    let metadata = std::fs::metadata(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(StartError::RequestIdKeysOpen {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}
