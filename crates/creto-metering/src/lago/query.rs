//! Queries of Lago's clients: each parameter is taken by its name, and what nobody took is refused.

use crate::lago::refusal::{Faults, INVALID, No, UNKNOWN};
use crate::model::page::{PER_PAGE_DEFAULT, Page};

/// The parameters of a request that were not read yet.
#[derive(Debug)]
pub(super) struct Parameters {
    left: Vec<(String, String)>,
    faults: Faults,
}

impl Parameters {
    pub(super) fn of(pairs: Vec<(String, String)>) -> Self {
        Self { left: pairs, faults: Faults::default() }
    }

    /// The last value of a parameter; an empty one is none.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.all(name).pop().filter(|value| !value.is_empty())
    }

    /// Every value of a parameter, sent as `name` or as `name[]`.
    pub(super) fn all(&mut self, name: &str) -> Vec<String> {
        let (found, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.left).into_iter().partition(|(key, _)| key == name || key.strip_suffix("[]") == Some(name));
        self.left = left;
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// Every value of a parameter that is an object, sent as `name[key]`.
    pub(super) fn keyed(&mut self, name: &str) -> Vec<(String, String)> {
        let key_of =
            |key: &str| key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']').filter(|key| !key.is_empty()).map(str::to_owned);
        let (found, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.left).into_iter().partition(|(key, _)| key_of(key).is_some());
        self.left = left;
        found.into_iter().filter_map(|(key, value)| Some((key_of(&key)?, value))).collect()
    }

    /// A parameter read by its type.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.fault(name, &format!("`{text}` is not what `{name}` must be"));
        }
        value
    }

    /// `page` and `per_page`.
    pub(super) fn page(&mut self) -> Page {
        Page::new(self.parsed("page").unwrap_or(1), self.parsed("per_page").unwrap_or(PER_PAGE_DEFAULT))
    }

    /// What is wrong with a parameter.
    pub(super) fn fault(&mut self, name: &str, said: &str) {
        self.fault_of(name, INVALID, said);
    }

    /// What is wrong with a parameter, in this word.
    pub(super) fn fault_of(&mut self, name: &str, word: &str, said: &str) {
        self.faults.add(name, word, said);
    }

    /// Refuses what was not read, and what was wrong.
    pub(super) fn done(mut self) -> Result<(), No> {
        for (name, _) in std::mem::take(&mut self.left) {
            self.faults.add(&name, UNKNOWN, format!("there is no parameter `{name}` here"));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn parameters_are_read_in_every_form_that_clients_send() {
        let mut read =
            parameters(&[("status[]", "active"), ("status[]", "pending"), ("group[region]", "eu"), ("page", "2"), ("empty", "")]);
        assert_eq!(read.all("status"), ["active", "pending"]);
        assert_eq!(read.keyed("group"), [("region".to_owned(), "eu".to_owned())]);
        assert_eq!((read.page().page, read.text("empty")), (2, None));
        assert!(read.done().is_ok());
    }

    #[test]
    fn what_nobody_reads_is_refused_by_its_name() {
        let mut read = parameters(&[("page", "two"), ("colour", "red")]);
        read.page();
        let refusal = Value::from(read.done().unwrap_err());
        assert_eq!(refusal["error_details"], json!({ "colour": [UNKNOWN], "page": [INVALID] }), "{refusal}");
    }
}
