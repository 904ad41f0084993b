//! Lists: a page of tags, and everything that refers to a manifest.
//!
//! A `Link` is read for what it asks, or followed on the upstream's own origin; it never chooses a host. Referrers come from the
//! API, all pages joined, or from the fallback tag; that there are none is only what the upstream says itself, by an empty list or
//! by 404 for both. Filters are never asked for: what was stored for one kind would be missing for another. Source: OCI
//! distribution-spec 1.1.1 "Listing Referrers"; `reference/clients-and-peers.md` section 4.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::Url;
use wire::{
    digest::Digest,
    media_type::{self, OCI_INDEX},
    page::{self, Page},
    reference::{Reference, Tag},
    repository::RepositoryName,
    route::Route,
};

use super::{Remote, answer::Answer, body, manifest, send::Ask};
use crate::{
    request::Request,
    upstream::{Error, Patience, Referrers, TagPage, error::Kind},
};

/// The longest page of tags: some registries know no pages.
const MAX_TAGS_BODY: usize = 16 * 1024 * 1024;
/// The longest page of referrers.
const MAX_REFERRERS_BODY: usize = 4 * 1024 * 1024;
/// Pages and entries of one list of referrers.
const MAX_PAGES: usize = 100;
const MAX_REFERRERS: usize = 10_000;

pub(super) async fn tags(
    remote: &Remote,
    repository: &RepositoryName,
    page: &Page,
    patience: Patience,
    request: &Request,
) -> Result<TagPage, Error> {
    #[derive(Deserialize)]
    struct List {
        tags: Option<Vec<String>>,
    }
    let repository = remote.config.profile.repository(repository);
    let route = Route::Tags {
        repository: repository.clone(),
        page: page.clone(),
    };
    let answer = remote
        .send(&ask(
            route.path_and_query(),
            &repository,
            remote.until(patience, request),
            request,
            "application/json",
        ))
        .await?;
    if answer.status() != StatusCode::OK {
        return Err(remote.refusal(answer).await);
    }
    manifest::refuse_encoding(&answer)?;
    let (link, warning) = (next_link(&answer), answer.warning());
    let cache_status = answer.cache_status();
    let bytes = body::whole(remote, answer.response, MAX_TAGS_BODY, patience).await?;
    let list: List = serde_json::from_slice(&bytes)
        .map_err(|_| Error::wrong("the answer is not a list of tags"))?;
    let tags = list.tags.unwrap_or_default();
    let next = link.and_then(|link| following(&link, &tags, page));
    Ok(TagPage {
        tags,
        next,
        cache_status,
        warning,
    })
}

/// The page that a link asks for, in our words; a link without `last` goes on after the last tag.
fn following(link: &str, tags: &[String], asked: &Page) -> Option<Page> {
    let linked = page::of_target(link).filter(|next| next.last.is_some());
    let next = linked.or_else(|| tags.last().map(|last| asked.after(last)))?;
    // A link to the same page would go on for ever.
    (next.last != asked.last).then_some(next)
}

pub(super) async fn referrers(
    remote: &Remote,
    repository: &RepositoryName,
    subject: &Digest,
    patience: Patience,
    request: &Request,
) -> Result<Referrers, Error> {
    let source = remote.config.profile.repository(repository);
    let route = Route::Referrers {
        repository: source.clone(),
        digest: subject.clone(),
        artifact_type: None,
        page: Page::default(),
    };
    match by_api(remote, route.path_and_query(), &source, patience, request).await? {
        Some(referrers) => Ok(referrers),
        None => by_tag(remote, repository, subject, patience, request).await,
    }
}

/// `None` when the registry does not know the API.
async fn by_api(
    remote: &Remote,
    first: String,
    repository: &RepositoryName,
    patience: Patience,
    request: &Request,
) -> Result<Option<Referrers>, Error> {
    let mut joined: Option<Joined> = None;
    let (mut cache_status, mut warning) = (None, None);
    let mut target = first;
    for _ in 0..MAX_PAGES {
        let answer = remote
            .send(&ask(
                target.clone(),
                repository,
                remote.until(patience, request),
                request,
                OCI_INDEX,
            ))
            .await?;
        match answer.status().as_u16() {
            200 => {}
            404 | 405 | 501 if joined.is_none() && !answer.elsewhere => return Ok(None),
            _ => return Err(remote.refusal(answer).await),
        }
        manifest::refuse_encoding(&answer)?;
        let link = next_link(&answer);
        cache_status = cache_status.or_else(|| answer.cache_status());
        warning = warning.or_else(|| answer.warning());
        let content_type = answer.header(header::CONTENT_TYPE).unwrap_or_default();
        let essence = media_type::essence(content_type);
        let bytes = body::whole(remote, answer.response, MAX_REFERRERS_BODY, patience).await?;
        let page = Joined::read(bytes, &essence)?;
        let all = match joined.take() {
            None => page,
            Some(before) => before.and(page)?,
        };
        let Some(link) = link else {
            return Ok(Some(Referrers {
                index: all.into_bytes(),
                cache_status,
                warning,
            }));
        };
        target = on_own_origin(remote, &target, &link)?;
        joined = Some(all);
    }
    Err(Error::wrong(format!(
        "more than {MAX_PAGES} pages of referrers"
    )))
}

/// Path and query of a link, if it stays with the registry.
fn on_own_origin(remote: &Remote, at: &str, link: &str) -> Result<String, Error> {
    let origin = &remote.config.origin;
    let at = Url::parse(&format!("{origin}{at}"));
    let there = at.and_then(|at| at.join(link));
    let there = there.map_err(|_| Error::wrong("a Link that is no URL"))?;
    let own = identity::authenticator::realm::Origin::of(&there);
    if own.as_ref() != Some(origin) {
        return Err(Error::wrong("a Link that leads to another host"));
    }
    Ok(there[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
}

async fn by_tag(
    remote: &Remote,
    repository: &RepositoryName,
    subject: &Digest,
    patience: Patience,
    request: &Request,
) -> Result<Referrers, Error> {
    let fallback = Reference::Tag(Tag::referrers_fallback(subject));
    let until = remote.until(patience, request);
    match manifest::get(remote, repository, &fallback, until, request).await {
        Ok(index) if media_type::is_index(&index.head.media_type) => Ok(Referrers {
            index: index.bytes,
            cache_status: index.head.cache_status,
            warning: index.head.warning,
        }),
        Ok(other) => {
            let detail = format!(
                "the tag {fallback} is a {}, not an index",
                other.head.media_type
            );
            Err(Error::wrong(detail))
        }
        Err(error) if error.kind == Kind::Gone => {
            let index = Bytes::from(wire::manifest::referrers_index(&[]));
            Ok(Referrers {
                index,
                cache_status: None,
                warning: None,
            })
        }
        Err(error) => Err(error),
    }
}

fn ask<'a>(
    target: String,
    repository: &'a RepositoryName,
    until: Instant,
    request: &'a Request,
    accept: &'static str,
) -> Ask<'a> {
    Ask {
        method: Method::GET,
        target,
        repository,
        accept,
        range: None,
        until: Some(until),
        request,
    }
}

fn next_link(answer: &Answer) -> Option<String> {
    let lines = answer.headers().get_all(header::LINK);
    page::next(lines.iter().filter_map(|line| line.to_str().ok()))
}

/// Pages of referrers as one index. A single page stays byte for byte what it was.
struct Joined {
    index: Map<String, Value>,
    single: Option<Bytes>,
}

impl Joined {
    fn read(bytes: Bytes, essence: &str) -> Result<Self, Error> {
        let wrong = || Error::wrong("the answer is not an index of referrers");
        if !matches!(essence, OCI_INDEX | "application/json" | "") {
            return Err(wrong());
        }
        let index: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if !index.get("manifests").is_some_and(Value::is_array) {
            return Err(wrong());
        }
        Ok(Self {
            index,
            single: Some(bytes),
        })
    }

    fn and(mut self, mut page: Self) -> Result<Self, Error> {
        let more = page
            .index
            .get_mut("manifests")
            .and_then(Value::as_array_mut);
        let all = self
            .index
            .get_mut("manifests")
            .and_then(Value::as_array_mut);
        if let (Some(all), Some(more)) = (all, more) {
            all.append(more);
            if all.len() > MAX_REFERRERS {
                return Err(Error::wrong(format!("more than {MAX_REFERRERS} referrers")));
            }
        }
        self.single = None;
        Ok(self)
    }

    fn into_bytes(self) -> Bytes {
        self.single
            .unwrap_or_else(|| Value::Object(self.index).to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_goes_on_and_never_round_in_a_circle() {
        let asked = Page {
            n: Some(2),
            last: Some("b".into()),
        };
        let tags = ["c".to_owned(), "d".to_owned()];
        let last = |link: &str, tags: &[String]| following(link, tags, &asked).and_then(|p| p.last);
        assert_eq!(
            last("/v2/a/tags/list?last=d&n=2", &tags).as_deref(),
            Some("d")
        );
        assert_eq!(
            last("https://evil.example/?last=d", &tags).as_deref(),
            Some("d")
        );
        assert_eq!(
            last("/v2/a/tags/list?next_page=xyz", &tags).as_deref(),
            Some("d")
        );
        assert_eq!(last("/v2/a/tags/list?last=b&n=2", &tags), None);
        assert_eq!(last("/v2/a/tags/list?next_page=xyz", &[]), None);
    }
}
