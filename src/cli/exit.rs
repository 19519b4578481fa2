//! Exit codes: 0 success, 1 failure, 2 settings or files to fix first, 3 imported
//! except for refused lines.

use std::{fmt::Display, process::ExitCode};

const BAD_INPUT: u8 = 2;
const LINES_REFUSED: u8 = 3;

/// Prints an error; the exit code says whether settings or files must be fixed
/// before the next try.
pub(super) fn failed(error: impl Display, is_bad_input: bool) -> ExitCode {
    anstream::eprintln!("recsys: {error}");
    code(is_bad_input)
}

pub(super) fn code(is_bad_input: bool) -> ExitCode {
    if is_bad_input {
        ExitCode::from(BAD_INPUT)
    } else {
        ExitCode::FAILURE
    }
}

/// The exit code of an import.
pub(super) fn imported(any_refused: bool) -> ExitCode {
    if any_refused {
        ExitCode::from(LINES_REFUSED)
    } else {
        ExitCode::SUCCESS
    }
}
