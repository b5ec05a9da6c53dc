//! Who publishes and subscribes to what: the scenario's `access.acl`.

use anyhow::{Context, bail};
use std::path::Path;

/// The rules of the scenario.
pub struct Matrix(Vec<Rule>);

struct Rule {
    client: String,
    publishes: bool,
    topic: String,
}

impl Matrix {
    pub fn load(path: &Path) -> anyhow::Result<Matrix> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        Matrix::parse(&text).with_context(|| format!("failed to parse {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Matrix> {
        let mut rules = Vec::new();
        let mut client = None;
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (words.as_slice(), &client) {
                ([], _) => {}
                ([first, ..], _) if first.starts_with('#') => {}
                (["user", name], _) => client = Some((*name).to_owned()),
                (["topic", access @ ("read" | "write"), topic], Some(client)) => rules.push(Rule {
                    client: client.clone(),
                    publishes: *access == "write",
                    topic: (*topic).to_owned(),
                }),
                _ => bail!("line {}: expected `user NAME` or `topic read|write TOPIC`", index + 1),
            }
        }
        Ok(Matrix(rules))
    }

    /// The topics that a client publishes to.
    pub fn publishes(&self, client: &str) -> Vec<&str> {
        self.topics(client, true)
    }

    /// The topics that a client subscribes to.
    pub fn subscribes(&self, client: &str) -> Vec<&str> {
        self.topics(client, false)
    }

    fn topics(&self, client: &str, publishes: bool) -> Vec<&str> {
        let rules = self.0.iter().filter(|rule| rule.client == client && rule.publishes == publishes);
        rules.map(|rule| rule.topic.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_belong_to_the_client_above_them() {
        let matrix =
            Matrix::parse("# lab\nuser a\ntopic write x\ntopic read y\n\nuser b\ntopic read x\n").unwrap();
        assert_eq!((matrix.publishes("a"), matrix.subscribes("a")), (vec!["x"], vec!["y"]));
        assert_eq!((matrix.publishes("b"), matrix.subscribes("b")), (vec![], vec!["x"]));
    }

    #[test]
    fn a_rule_of_nobody_is_an_error_at_its_line() {
        let error = Matrix::parse("\ntopic read x").err().expect("an error").to_string();
        assert!(error.starts_with("line 2:"), "{error}");
    }
}
