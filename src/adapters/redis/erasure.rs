//! The marker that an erasure leaves in a user's buffer: one member at score 0. It
//! holds no data of the user, and every reader ignores it.

/// The start of a marker. Its time in microseconds and its version follow, with 17
/// digits each.
const MARKER_START: &[u8] = br#"{"erased":true,"at":""#;

/// Whether a member of a buffer is a marker.
pub(super) fn is_marker(member: &[u8], score: f64) -> bool {
    score == 0.0 && member.starts_with(MARKER_START)
}

#[cfg(test)]
mod tests {
    use super::is_marker;

    #[test]
    fn a_marker_is_recognized_by_its_score_and_its_start() {
        let marker = br#"{"erased":true,"at":"01795202581123456","version":"00001797794581124"}"#;
        assert!(is_marker(marker, 0.0));
        assert!(!is_marker(marker, 1.0));
        assert!(!is_marker(br#"{"event":"T"}"#, 0.0));
        for script in [include_str!("erase_events.lua"), include_str!("append.lua")] {
            assert!(script.contains(r#"{"erased":true,"at":""#));
        }
    }
}
