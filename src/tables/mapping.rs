//! `--map`: which column is which field.

use std::{collections::BTreeMap, fs, path::Path};

/// Which columns hold which fields, as the user says: field name -> column name,
/// or the column's position from 1 in a file without a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    columns: BTreeMap<String, String>,
}

/// Why a `--map` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMapping(String);

impl Mapping {
    /// Reads the values of `--map`: each is `field=column`, several of them
    /// separated by commas, or the name of a file with one `field=column` a
    /// line. Of several entries for one field the last counts.
    ///
    /// # Errors
    /// [`InvalidMapping`] for an entry without `=`, or a file that cannot be
    /// read.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidMapping> {
        let mut mapping = Self::default();
        for value in values {
            if value.contains('=') {
                value
                    .split(',')
                    .try_for_each(|entry| mapping.add(entry, value))?;
                continue;
            }
            let text = fs::read_to_string(Path::new(value)).map_err(|error| {
                InvalidMapping(format!(
                    "--map {value}: give field=column, or a file of such lines ({error})"
                ))
            })?;
            for line in text.lines() {
                let line = line.split('#').next().unwrap_or_default().trim();
                if !line.is_empty() {
                    mapping.add(line, value)?;
                }
            }
        }
        Ok(mapping)
    }

    fn add(&mut self, entry: &str, whole: &str) -> Result<(), InvalidMapping> {
        let unquoted = |text: &str| text.trim().trim_matches(['"', '\'']).trim().to_owned();
        let pair = entry
            .split_once('=')
            .map(|(field, column)| (unquoted(field), unquoted(column)))
            .filter(|(field, column)| !field.is_empty() && !column.is_empty());
        let Some((field, column)) = pair else {
            return Err(InvalidMapping(format!(
                "--map {whole}: {entry:?} is not field=column, such as content_id=movieId"
            )));
        };
        self.columns.insert(field, column);
        Ok(())
    }

    /// The fields with their columns.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns
            .iter()
            .map(|(field, column)| (field.as_str(), column.as_str()))
    }

    /// The columns' positions, from 0, if all columns are given as numbers: the
    /// file then has no header.
    pub(super) fn positions(&self) -> Option<Vec<(&str, usize)>> {
        if self.columns.is_empty() {
            return None;
        }
        self.entries()
            .map(|(field, column)| Some((field, column.parse::<usize>().ok()?.checked_sub(1)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::Mapping;

    #[test]
    fn entries_come_from_arguments_and_files() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            file,
            "# MovieLens\ncontent_id = \"movieId\"\n\nrating=stars # 0 to 5"
        )
        .unwrap();
        let path = file.path().to_str().unwrap();
        let mapping = Mapping::parse(["user_id=u,event_time=ts", path]).unwrap();
        let entries: Vec<_> = mapping.entries().collect();
        assert_eq!(
            entries,
            [
                ("content_id", "movieId"),
                ("event_time", "ts"),
                ("rating", "stars"),
                ("user_id", "u"),
            ]
        );
        assert_eq!(mapping.positions(), None);
    }

    #[test]
    fn numbers_are_positions_of_a_file_without_header() {
        let mapping = Mapping::parse(["user_id=1,content_id=3"]).unwrap();
        assert_eq!(
            mapping.positions(),
            Some(vec![("content_id", 2), ("user_id", 0)])
        );
        assert_eq!(Mapping::parse(["user_id=0"]).unwrap().positions(), None);
    }

    #[test]
    fn a_wrong_entry_says_what_to_write() {
        let wrong = Mapping::parse(["content_id="]).unwrap_err().to_string();
        assert!(wrong.contains("is not field=column"), "{wrong}");
        let wrong = Mapping::parse(["no-such-file"]).unwrap_err().to_string();
        assert!(wrong.contains("give field=column, or a file"), "{wrong}");
    }
}
