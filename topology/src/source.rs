//! The `source` of a rule: `HOST[:PORT]/REPO`, `node://NODE/REPO` or `parent://REPO`.
//!
//! Grammar and Docker Hub's aliases only. Which node a name is, what the parent is, and whether a host is a node's endpoint is
//! for `validate`, which knows the mesh.

use wire::pattern::Pattern;

use crate::value;

/// A source as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Who is asked.
    pub upstream: Upstream,
    /// For which repositories.
    pub repositories: Pattern,
}

/// Who is asked, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// `HOST[:PORT]`, in lower case, `docker.io` for its aliases; perhaps a node's endpoint.
    Host(String),
    /// A node, by name.
    Node(String),
    /// The parent of the rule's node.
    Parent,
}

/// Why a text is no source or target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It has a tag or a digest.
    Tag,
    /// Its host is none.
    Host,
    /// Its repository is none, or `*` is not the whole last component.
    Repository,
    /// There is no `/` after the host, or a scheme that sources do not have.
    Shape,
}

/// Reads a `source`.
///
/// # Errors
/// The first `Fault` found.
pub fn source(text: &str) -> Result<Written, Fault> {
    let (upstream, repositories) = if let Some(rest) = text.strip_prefix("node://") {
        let (node, repositories) = rest.split_once('/').ok_or(Fault::Shape)?;
        (Upstream::Node(node.to_owned()), target(repositories)?)
    } else if let Some(rest) = text.strip_prefix("parent://") {
        (Upstream::Parent, target(rest)?)
    } else if text.contains("://") {
        return Err(Fault::Shape);
    } else {
        at_host(text)?
    };
    Ok(Written {
        upstream,
        repositories,
    })
}

fn at_host(text: &str) -> Result<(Upstream, Pattern), Fault> {
    let Some((host, repositories)) = text.split_once('/') else {
        return Err(if has_tag(text) {
            Fault::Tag
        } else {
            Fault::Shape
        });
    };
    let host = value::host(host).ok_or(Fault::Host)?;
    let repositories = target(repositories)?;
    let repositories = match repositories {
        Pattern::Exact(name) if host == "docker.io" && name.components().count() == 1 => {
            let official = format!("library/{name}").parse();
            Pattern::Exact(official.map_err(|_| Fault::Repository)?)
        }
        Pattern::Exact(_) | Pattern::Below(_) | Pattern::All => repositories,
    };
    Ok((Upstream::Host(host), repositories))
}

/// Reads a `target`, or the repositories of a source.
///
/// # Errors
/// `Fault::Tag` or `Fault::Repository`.
pub fn target(text: &str) -> Result<Pattern, Fault> {
    if has_tag(text) {
        return Err(Fault::Tag);
    }
    text.parse().map_err(|_| Fault::Repository)
}

fn has_tag(text: &str) -> bool {
    text.contains('@')
        || text
            .rsplit_once(':')
            .is_some_and(|(_, tag)| !tag.is_empty() && !tag.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_name_their_upstream_and_repositories() {
        let host = |h: &str| Upstream::Host(h.to_owned());
        let node = |n: &str| Upstream::Node(n.to_owned());
        let cases = [
            (
                "docker.io/ubuntu",
                Ok((host("docker.io"), "library/ubuntu")),
            ),
            (
                "index.docker.io/ubuntu",
                Ok((host("docker.io"), "library/ubuntu")),
            ),
            ("docker.io/library/*", Ok((host("docker.io"), "library/*"))),
            ("docker.io/*", Ok((host("docker.io"), "*"))),
            (
                "docker.io/grafana/loki",
                Ok((host("docker.io"), "grafana/loki")),
            ),
            ("localhost:5000/a/b", Ok((host("localhost:5000"), "a/b"))),
            ("ghcr.io/x", Ok((host("ghcr.io"), "x"))),
            ("node://dev/team-a/api", Ok((node("dev"), "team-a/api"))),
            ("node://dev/*", Ok((node("dev"), "*"))),
            ("parent://golden/*", Ok((Upstream::Parent, "golden/*"))),
            ("localhost:5000/a:1.0", Err(Fault::Tag)),
            ("localhost:5000/a@sha256:00", Err(Fault::Tag)),
            ("ubuntu:22.04", Err(Fault::Tag)),
            ("node://dev/a:1", Err(Fault::Tag)),
            ("parent://a:latest", Err(Fault::Tag)),
            ("node://dev", Err(Fault::Shape)),
            ("docker.io", Err(Fault::Shape)),
            ("https://docker.io/a", Err(Fault::Shape)),
            ("docker.io/", Err(Fault::Repository)),
            ("docker.io/a/*/b", Err(Fault::Repository)),
            ("docker.io/a*", Err(Fault::Repository)),
            ("docker.io/A", Err(Fault::Repository)),
            ("parent://", Err(Fault::Repository)),
            ("a_b!/x", Err(Fault::Host)),
        ];
        for (text, expected) in cases {
            let found = source(text).map(|s| (s.upstream, s.repositories.to_string()));
            let expected = expected.map(|(u, r)| (u, r.to_owned()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
