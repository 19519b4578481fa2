//! Placements and variants: which ranking a list gets, and what its users did then.

mod arm;
mod arms;
mod attribution;
mod counted;

pub use arm::{ArmResult, Treatment};
pub(super) use {
    arm::Arm,
    attribution::{Attribution, Experiments},
};
