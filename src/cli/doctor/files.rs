//! Files that the settings name.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use super::report::Finding;

/// Any right of those who are neither the owner nor of its group.
const OF_OTHERS: u32 = 0o007;

/// A text as a shell takes it for one word.
pub(super) fn quoted_text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path as a shell takes it for one word.
pub(super) fn quoted(path: &Path) -> String {
    quoted_text(&path.to_string_lossy())
}

/// A warning if everyone on this machine may read a file that should be secret.
pub(super) fn open_to_all(check: &'static str, setting: &str, path: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & OF_OTHERS != 0).then(|| {
        let (shown, mode) = (path.display(), mode & 0o777);
        let found = format!("{setting}: everyone on this machine may open {shown} (mode {mode:o})");
        Finding::warn(check, found).todo(format!("chmod o= {}", quoted(path)))
    })
}
