//! Writes the log of a shop that does not exist, as `recsys eval` and `recsys tune`
//! read it:
//!
//! ```sh
//! cargo run --release --example synthetic_shop -- shop 1 DIRECTORY
//! recsys eval --events DIRECTORY/events.jsonl --catalog DIRECTORY/catalogue.jsonl
//! ```
//!
//! The kinds are `shop`, `trends`, `tags` and `large`; a fourth argument sets the
//! number of users, a fifth that of items.

use std::{
    error::Error,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    process::ExitCode,
};

use recsys::eval::world::{WorldSettings, catalogue_lines, event_lines, generate};

const USAGE: &str = "usage: synthetic_shop shop|trends|tags|large SEED DIRECTORY [USERS] [ITEMS]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [kind, seed, directory, sizes @ ..] = arguments else {
        return Err(USAGE.into());
    };
    let seed = seed.parse()?;
    let mut settings = match kind.as_str() {
        "shop" => WorldSettings::shop(seed),
        "trends" => WorldSettings::trends(seed),
        "tags" => WorldSettings::tags_only(seed),
        "large" => WorldSettings::large(seed),
        _ => return Err(USAGE.into()),
    };
    if let Some(users) = sizes.first() {
        settings.users = users.parse()?;
    }
    if let Some(items) = sizes.get(1) {
        settings.items = items.parse()?;
    }
    let world = generate(&settings);
    let directory = Path::new(directory);
    fs::create_dir_all(directory)?;
    write(&directory.join("events.jsonl"), event_lines(&world))?;
    write(&directory.join("catalogue.jsonl"), catalogue_lines(&world))?;
    Ok(())
}

fn write(path: &Path, lines: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in lines {
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}
