//! What the targets share.

use std::{fs, path::Path};

#[doc(hidden)]
pub use libfuzzer_sys;
#[doc(hidden)]
pub use recsys;

/// A target: runs the function of this name in `recsys::fuzzing`.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::plant(stringify!($name)),
            |data: &[u8]| {
                $crate::recsys::fuzzing::$name(data);
            }
        );
    };
}

/// Puts the seeds of a target into its corpus, where cargo-fuzz looks for it.
/// libFuzzer reads the corpus after this.
pub fn plant(name: &str) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    fs::create_dir_all(&corpus).expect("the corpus cannot be made");
    let mut targets = recsys::fuzzing::TARGETS.into_iter();
    let target = targets.find(|target| target.name == name);
    let target = target.expect("no such target");
    for (index, seed) in (target.seeds)().into_iter().enumerate() {
        let path = corpus.join(format!("seed-{index:03}"));
        fs::write(path, seed).expect("a seed cannot be written");
    }
}
