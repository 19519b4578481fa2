//! `--map`: which column is which field.

use std::{collections::BTreeMap, fs, path::Path};

/// The flag or setting that holds a mapping. Messages name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MappingOption {
    /// The flag `--map`.
    #[default]
    Map,
    /// The flag `--catalog-map`.
    CatalogMap,
    /// The setting `CATALOG_PATH_MAP`.
    CatalogPathMap,
}

impl MappingOption {
    /// The option with a value, as a command line or an environment has it.
    #[must_use]
    pub fn with(self, value: &str) -> String {
        match self {
            Self::Map => format!("--map {value}"),
            Self::CatalogMap => format!("--catalog-map {value}"),
            Self::CatalogPathMap => format!("CATALOG_PATH_MAP={value}"),
        }
    }

    /// How an entry is added to what is there.
    pub(super) fn addition(self, entry: &str) -> String {
        match self {
            Self::Map | Self::CatalogMap => format!("add {}", self.with(entry)),
            Self::CatalogPathMap => format!("add {entry} to CATALOG_PATH_MAP"),
        }
    }
}

/// Which columns hold which fields, as the user says: field name -> column name,
/// or the column's position from 1 in a file without a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    option: MappingOption,
    columns: BTreeMap<String, String>,
}

/// Why a `--map` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMapping(String);

impl Mapping {
    /// Reads the values of an option: each is `field=column`, several of them
    /// separated by commas, or the name of a file with one `field=column` a
    /// line.
    ///
    /// # Errors
    /// [`InvalidMapping`] for an entry without `=`, two columns for one field, or a file
    /// that cannot be read.
    pub fn parse<'a>(
        option: MappingOption,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidMapping> {
        let mut mapping = Self {
            option,
            columns: BTreeMap::new(),
        };
        for value in values {
            if value.contains('=') {
                value
                    .split(',')
                    .try_for_each(|entry| mapping.add(entry, value))?;
                continue;
            }
            let text = fs::read_to_string(Path::new(value)).map_err(|error| {
                InvalidMapping(format!(
                    "{}: give field=column, or a file of such lines ({error})",
                    option.with(value)
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
                "{}: {entry:?} is not field=column, such as content_id=movieId",
                self.option.with(whole)
            )));
        };
        if let Some(other) = self.columns.get(&field).filter(|other| **other != column) {
            return Err(InvalidMapping(format!(
                "{}: {field} has two columns, {other} and {column}; give one",
                self.option.with(whole)
            )));
        }
        self.columns.insert(field, column);
        Ok(())
    }

    pub(super) fn option(&self) -> MappingOption {
        self.option
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

    use super::{Mapping, MappingOption};

    #[test]
    fn entries_come_from_arguments_and_files() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            file,
            "# MovieLens\ncontent_id = \"movieId\"\n\nrating=stars # 0 to 5"
        )
        .unwrap();
        let path = file.path().to_str().unwrap();
        let mapping =
            Mapping::parse(MappingOption::Map, ["user_id=u,event_time=ts", path]).unwrap();
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
        let mapping = Mapping::parse(MappingOption::Map, ["user_id=1,content_id=3"]).unwrap();
        assert_eq!(
            mapping.positions(),
            Some(vec![("content_id", 2), ("user_id", 0)])
        );
        assert_eq!(
            Mapping::parse(MappingOption::Map, ["user_id=0"])
                .unwrap()
                .positions(),
            None
        );
    }

    #[test]
    fn a_wrong_entry_says_what_to_write() {
        let wrong = Mapping::parse(MappingOption::Map, ["content_id="])
            .unwrap_err()
            .to_string();
        assert!(wrong.contains("is not field=column"), "{wrong}");
        let two = Mapping::parse(MappingOption::Map, ["title=a", "title=a,title=b"]).unwrap_err();
        assert_eq!(
            two.to_string(),
            "--map title=a,title=b: title has two columns, a and b; give one"
        );
        let wrong = Mapping::parse(MappingOption::Map, ["no-such-file"])
            .unwrap_err()
            .to_string();
        assert!(wrong.contains("give field=column, or a file"), "{wrong}");
    }

    #[test]
    fn messages_name_the_option_that_holds_the_mapping() {
        for (option, expected) in [
            (MappingOption::Map, "--map id: give field=column"),
            (MappingOption::CatalogMap, "--catalog-map id: give"),
            (MappingOption::CatalogPathMap, "CATALOG_PATH_MAP=id: give"),
        ] {
            let wrong = Mapping::parse(option, ["id"]).unwrap_err().to_string();
            assert!(wrong.starts_with(expected), "{wrong}");
        }
    }
}
