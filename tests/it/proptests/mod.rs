//! Properties of everything that reads bytes from outside: valid input is damaged, and
//! whatever is accepted must keep its promises.
//!
//! `PROPTEST_CASES=20000 cargo test --test it proptests` tries more cases than the
//! default.

mod damage;
mod stored;
mod wire;

use std::{fs, path::Path};

/// The files of `fuzz/seeds/TARGET`, which the fuzz targets start from, too.
fn seeds(target: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}
