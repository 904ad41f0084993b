//! Does an upstream let us pull from a repository, now? Asked without moving content, and without making a node ask further up.
//!
//! A registry outside the mesh is asked by the HEAD that a pull would begin with; after a 404 also for one tag of its list, since some
//! registries say 404 to whoever may not know. A node is asked for a list of no tags: it decides as for any pull, and nothing
//! about its own store or upstream is touched by the answer.

use wire::{page::Page, reference::Reference, refusal::Refusal, repository::RepositoryName};

use super::{Error, ManifestHead, Patience, Upstream, error::Kind};
use crate::request::Request;

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The repository, as the upstream names it.
    pub repository: &'a RepositoryName,
    /// What a pull would ask for; without it the list of tags is asked for.
    pub reference: Option<&'a Reference>,
    /// Whether the upstream is a node of the mesh.
    pub is_node: bool,
}

/// What it said.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Whether we may pull; none when that cannot be told from the answer.
    pub granted: Option<bool>,
    /// Why not, by name.
    pub refusal: Option<Refusal>,
    /// What was seen and what it means, for people.
    pub detail: String,
    /// The answer itself.
    pub answer: Answer,
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The reference is there.
    Head(ManifestHead),
    /// We may pull; nothing was asked about the reference.
    Allowed,
    /// Anything else.
    Failed(Error),
}

/// Asks. As long as a check may take, twice at most.
pub async fn ask(
    upstream: &dyn Upstream,
    question: Question<'_>,
    patience: Patience,
    request: &Request,
) -> Grant {
    let Question {
        repository,
        reference,
        is_node,
    } = question;
    let head = reference.filter(|_| !is_node);
    let asked = match head {
        Some(reference) => upstream
            .head_manifest(repository, reference, patience, request)
            .await
            .map(Answer::Head),
        None => list(upstream, question, patience, request).await,
    };
    let hidden = match &asked {
        Err(error) if error.kind == Kind::Gone && head.is_some() => {
            list(upstream, question, patience, request).await.is_err()
        }
        Err(error) => error.kind == Kind::Gone && !is_node,
        Ok(_) => false,
    };
    judge(repository, asked, hidden)
}

async fn list(
    upstream: &dyn Upstream,
    question: Question<'_>,
    patience: Patience,
    request: &Request,
) -> Result<Answer, Error> {
    let page = Page {
        n: Some(usize::from(!question.is_node)),
        last: None,
    };
    let asked = upstream.tags(question.repository, &page, patience, request);
    asked.await.map(|_| Answer::Allowed)
}

/// What an answer means for the right to pull; `hidden` says that nothing of the repository can be seen.
fn judge(repository: &RepositoryName, asked: Result<Answer, Error>, hidden: bool) -> Grant {
    let error = match asked {
        Ok(answer) => {
            return Grant {
                granted: Some(true),
                refusal: None,
                detail: format!("pull on '{repository}' is granted"),
                answer,
            };
        }
        Err(error) => error,
    };
    let (granted, means) = match (error.kind, error.refusal) {
        (Kind::Denied, Refusal::UpstreamUnauthorized) if error.status == Some(401) => {
            (Some(false), "401, the credential itself is not accepted")
        }
        (Kind::Denied, Refusal::UpstreamUnauthorized) => {
            (Some(false), "the credential itself is not accepted")
        }
        (Kind::Denied, Refusal::UpstreamDenied) => (
            Some(false),
            "403, the credential is accepted and may not pull this repository",
        ),
        (Kind::Denied, Refusal::NetworkRefused) => {
            (Some(false), "403, this node's address is not let in")
        }
        (Kind::Denied, _) => (Some(false), "not allowed"),
        (Kind::Gone, _) if hidden => (
            None,
            "404, which is either absence or how this registry answers who may not know",
        ),
        (Kind::Gone, _) => (Some(true), "pull is granted and there is no such thing"),
        (Kind::Recalled, _) => (Some(true), "pull is granted, and it was recalled there"),
        (Kind::Away { .. } | Kind::Broken, _) => (None, "cannot be asked"),
        (Kind::Wrong, _) => (None, "not an answer of a registry"),
        (Kind::Loop, _) => (None, "the chain of upstreams goes in a circle"),
    };
    Grant {
        granted,
        refusal: Some(error.refusal),
        detail: format!("{means}: {}", error.detail),
        answer: Answer::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        conformance::request,
        scripted::{Scripted, Verb},
    };

    async fn grant(upstream: &Scripted, is_node: bool) -> Grant {
        let (repository, reference) = ("a/b".parse().unwrap(), "1".parse().unwrap());
        let question = Question {
            repository: &repository,
            reference: Some(&reference),
            is_node,
        };
        ask(upstream, question, Patience::Long, &request()).await
    }

    #[tokio::test]
    async fn a_401_a_403_a_disguised_404_and_a_true_one_are_four_answers() {
        use Refusal::{UpstreamDenied, UpstreamNotFound, UpstreamUnauthorized};
        let unauthorized = Error::new(Kind::Denied, UpstreamUnauthorized, "401").with_status(401);
        let cases = [
            (
                unauthorized,
                false,
                Some(false),
                UpstreamUnauthorized,
                "401,",
            ),
            (
                Error::denied("403"),
                false,
                Some(false),
                UpstreamDenied,
                "403,",
            ),
            (
                Error::gone("404"),
                false,
                None,
                UpstreamNotFound,
                "may not know",
            ),
            (
                Error::gone("404"),
                true,
                Some(true),
                UpstreamNotFound,
                "no such thing",
            ),
        ];
        for (error, seen, granted, refusal, words) in cases {
            let origin = Scripted::new("origin");
            if seen {
                origin.manifest("a/b", Some("2"), "t", "{}");
            }
            origin.fail(Verb::HeadManifest, 1, error);
            let grant = grant(&origin, false).await;
            assert_eq!((grant.granted, grant.refusal), (granted, Some(refusal)));
            assert!(grant.detail.contains(words), "{}", grant.detail);
        }
    }

    #[tokio::test]
    async fn a_node_is_asked_for_nothing_but_the_right() {
        let node = Scripted::new("dev");
        node.manifest("a/b", Some("1"), "t", "{}");
        let granted = grant(&node, true).await;
        assert_eq!(granted.granted, Some(true));
        assert!(matches!(granted.answer, Answer::Allowed));
        assert_eq!((node.count(Verb::Tags), node.total()), (1, 1));
        let nothing = grant(&Scripted::new("dev"), true).await;
        assert_eq!(
            nothing.granted,
            Some(true),
            "a node says 403 to who may not"
        );
    }
}
