//! What people write for an image on a node: `NODE/REPO`, `NODE/REPO:TAG`, `NODE/REPO@DIGEST`; and for nodes: a selector.

use std::str::FromStr;

use anyhow::Context;
use wire::{
    api::mesh::NodeInTree, name::NodeName, reference::Reference, repository::RepositoryName,
};

use crate::fault::Code;

/// A repository on a node, perhaps with a tag or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which node.
    pub node: NodeName,
    /// Which repository.
    pub repository: RepositoryName,
    /// Tag or digest.
    pub reference: Option<Reference>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, rest) = text.split_once('/').ok_or_else(|| {
            format!("'{text}' names no node: write NODE/REPOSITORY[:TAG|@DIGEST]")
        })?;
        let node = node
            .parse()
            .map_err(|error| format!("'{node}' is no name of a node: {error}"))?;
        let (repository, reference) = image(rest)?;
        Ok(Self {
            node,
            repository,
            reference,
        })
    }
}

/// `REPO[:TAG|@DIGEST]`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn image(text: &str) -> Result<(RepositoryName, Option<Reference>), String> {
    let told = |what: &str, error: &dyn std::fmt::Display| format!("'{what}': {error}");
    let (name, reference) = match (text.split_once('@'), text.split_once(':')) {
        (Some((name, digest)), _) => {
            let parsed = digest.parse().map_err(|error| told(digest, &error))?;
            (name, Some(Reference::Digest(parsed)))
        }
        (None, Some((name, tag))) => {
            let parsed = tag.parse().map_err(|error| told(tag, &error))?;
            (name, Some(Reference::Tag(parsed)))
        }
        (None, None) => (text, None),
    };
    let repository = name
        .parse()
        .map_err(|error: wire::name::NameError| error.to_string())?;
    Ok((repository, reference))
}

impl Target {
    /// The reference; `latest` where none was written, as clients do.
    #[must_use]
    pub fn reference_or_latest(&self) -> Reference {
        self.reference
            .clone()
            .unwrap_or_else(|| Reference::Tag("latest".parse().expect("`latest` is a tag")))
    }
}

/// Which nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// All of them.
    All,
    /// By name.
    Names(Vec<NodeName>),
    /// All labels must match; judged by the control plane's topology.
    Labels(Vec<(String, String)>),
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "all" | "*") {
            return Ok(Self::All);
        }
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        if parts.iter().all(|part| part.contains('=')) {
            let labels = parts.iter().filter_map(|part| part.split_once('='));
            return Ok(Self::Labels(
                labels
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
            ));
        }
        let names: Result<Vec<NodeName>, _> = parts.iter().map(|part| part.parse()).collect();
        names.map(Self::Names).map_err(|error| {
            format!("'{text}' selects no nodes ({error}): write names like `prod,eu`, labels like `env=prod`, or `all`")
        })
    }
}

impl Selector {
    /// The selected ones among `nodes`; `labels` says what a node's labels are.
    ///
    /// # Errors
    /// When a named node does not exist, or none is selected.
    pub fn select(
        &self,
        nodes: &[NodeInTree],
        has: impl Fn(&NodeName, &str, &str) -> bool,
    ) -> anyhow::Result<Vec<NodeName>> {
        let all = nodes.iter().map(|node| node.name.clone());
        let chosen: Vec<NodeName> = match self {
            Self::All => all.collect(),
            Self::Names(names) => {
                for name in names {
                    nodes
                        .iter()
                        .find(|node| node.name == *name)
                        .with_context(|| {
                            Code::NotFound.says(format!("there is no node '{name}'"))
                        })?;
                }
                names.clone()
            }
            Self::Labels(labels) => all
                .filter(|node| labels.iter().all(|(key, value)| has(node, key, value)))
                .collect(),
        };
        anyhow::ensure!(
            !chosen.is_empty(),
            Code::NotFound.says("no node has these labels")
        );
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_as_it_is_written() {
        let target: Target = "prod/promoted/team-a/api:1.4.0".parse().unwrap();
        assert_eq!(target.node.as_str(), "prod");
        assert_eq!(target.repository.to_string(), "promoted/team-a/api");
        assert_eq!(target.reference_or_latest().to_string(), "1.4.0");
        let digest = format!("prod/a@sha256:{}", "0".repeat(64));
        let target: Target = digest.parse().unwrap();
        assert!(matches!(target.reference, Some(Reference::Digest(_))));
        let target: Target = "prod/a/b".parse().unwrap();
        assert_eq!(target.reference_or_latest().to_string(), "latest");
    }

    #[test]
    fn what_names_no_image_is_told() {
        for text in [
            "prod",
            "prod/",
            "Prod/a",
            "prod/A:1",
            "prod/a:",
            "prod/a@1.0",
            "prod/a@sha256:1",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_selector_is_names_or_labels() {
        assert_eq!("all".parse(), Ok(Selector::All));
        let labels = vec![
            ("env".to_owned(), "prod".to_owned()),
            ("region".to_owned(), "eu".to_owned()),
        ];
        assert_eq!("env=prod,region=eu".parse(), Ok(Selector::Labels(labels)));
        assert!("a,B".parse::<Selector>().is_err());
    }
}
