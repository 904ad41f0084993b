//! From a request line to a route. Finding the place comes first, then its names, then the method, then the query.

use std::borrow::Cow;

use super::{ContentVerb, Route, RouteError, UploadId};
use crate::{
    digest::{Digest, DigestError},
    name::NameError,
    page::Page,
    query::Query,
    reference::{Reference, ReferenceError, Tag},
    repository::RepositoryName,
};

/// How many tags one push by digest may set.
pub const MAX_TAGS: usize = 32;
/// The longest `artifactType` taken, in bytes; a longer one is no media type and filters everything out.
const MAX_ARTIFACT_TYPE: usize = 255;

/// A route, and beside it the registry that a mirror's client means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Parsed {
    /// What is asked.
    pub route: Route,
    /// `ns` as it came, on routes with a repository; only characters of host, port and path.
    pub ns: Option<String>,
}

impl Route {
    /// Reads a request line: the method, the path exactly as it came, the query without `?`.
    ///
    /// # Errors
    /// A malformed name, tag or digest; an unknown path; a method that the path has not; too many tags.
    pub fn parse(method: &str, raw_path: &str, query: Option<&str>) -> Result<Parsed, RouteError> {
        let place = Place::find(raw_path).ok_or(RouteError::NotFound)?;
        let route = place.route(method, query)?;
        let ns = if route.is_content() {
            namespace(&Query::parse(query)?)?
        } else {
            None
        };
        Ok(Parsed { route, ns })
    }
}

/// A path whose end is known, its names still raw.
enum Place<'a> {
    Base,
    Catalog,
    Token,
    Exchange,
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
    Tags(&'a str),
    Referrers(&'a str, &'a str),
}

impl<'a> Place<'a> {
    fn find(path: &'a str) -> Option<Self> {
        match path {
            "/v2" | "/v2/" => return Some(Self::Base),
            "/v2/_catalog" => return Some(Self::Catalog),
            "/oauth2/token" => return Some(Self::Token),
            "/oauth2/exchange" => return Some(Self::Exchange),
            _ => {}
        }
        let (head, last) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
        let (name, word) = head.rsplit_once('/').unwrap_or(("", head));
        match (word, last) {
            ("manifests", reference) => Some(Self::Manifest(name, reference)),
            ("blobs", "uploads") => Some(Self::Uploads(name)),
            ("blobs", digest) => Some(Self::Blob(name, digest)),
            ("tags", "list") => Some(Self::Tags(name)),
            ("referrers", digest) => Some(Self::Referrers(name, digest)),
            ("uploads", id) => {
                let name = match name.strip_suffix("blobs")? {
                    "" => "",
                    name => name.strip_suffix('/')?,
                };
                Some(if id.is_empty() {
                    Self::Uploads(name)
                } else {
                    Self::Upload(name, id)
                })
            }
            _ => None,
        }
    }

    fn route(self, method: &str, raw: Option<&str>) -> Result<Route, RouteError> {
        match self {
            Self::Base => match method {
                "GET" | "HEAD" => Ok(Route::Base),
                _ => Err(RouteError::MethodNotAllowed(&["GET", "HEAD"])),
            },
            Self::Catalog => match method {
                "GET" => Ok(Route::Catalog {
                    page: Page::from_query(&Query::parse(raw)?),
                }),
                _ => Err(RouteError::MethodNotAllowed(&["GET"])),
            },
            Self::Token => match method {
                "GET" => Ok(Route::TokenGet),
                "POST" => Ok(Route::TokenPost),
                _ => Err(RouteError::MethodNotAllowed(&["GET", "POST"])),
            },
            Self::Exchange => match method {
                "POST" => Ok(Route::Exchange),
                _ => Err(RouteError::MethodNotAllowed(&["POST"])),
            },
            Self::Manifest(name, reference) => {
                manifest(repository(name)?, self::reference(reference)?, method, raw)
            }
            Self::Blob(name, hash) => blob(repository(name)?, digest(hash)?, method),
            Self::Uploads(name) => uploads(repository(name)?, method, raw),
            Self::Upload(name, id) => {
                let repository = repository(name)?;
                let upload = decode(id)
                    .and_then(|id| id.parse().ok())
                    .ok_or(RouteError::Upload)?;
                self::upload(repository, upload, method, raw)
            }
            Self::Tags(name) => {
                let repository = repository(name)?;
                only_get(method)?;
                let page = Page::from_query(&Query::parse(raw)?);
                Ok(Route::Tags { repository, page })
            }
            Self::Referrers(name, hash) => referrers(repository(name)?, digest(hash)?, method, raw),
        }
    }
}

fn manifest(
    repository: RepositoryName,
    reference: Reference,
    method: &str,
    raw: Option<&str>,
) -> Result<Route, RouteError> {
    match method {
        "GET" | "HEAD" => Ok(Route::Manifest {
            repository,
            reference,
            verb: verb(method),
        }),
        "PUT" => {
            let tags = tags(&Query::parse(raw)?, &reference)?;
            Ok(Route::ManifestPut {
                repository,
                reference,
                tags,
            })
        }
        "DELETE" => Ok(Route::ManifestDelete {
            repository,
            reference,
        }),
        _ => Err(RouteError::MethodNotAllowed(&[
            "GET", "HEAD", "PUT", "DELETE",
        ])),
    }
}

fn tags(query: &Query<'_>, reference: &Reference) -> Result<Vec<Tag>, RouteError> {
    let mut tags: Vec<Tag> = Vec::new();
    for text in query.all("tag") {
        if matches!(reference, Reference::Tag(_)) {
            return Err(RouteError::TagsBesideTag);
        }
        let tag = text.parse().map_err(RouteError::Tag)?;
        if tags.contains(&tag) {
            continue;
        }
        if tags.len() >= MAX_TAGS {
            return Err(RouteError::TooManyTags);
        }
        tags.push(tag);
    }
    Ok(tags)
}

fn blob(repository: RepositoryName, digest: Digest, method: &str) -> Result<Route, RouteError> {
    match method {
        "GET" | "HEAD" => Ok(Route::Blob {
            repository,
            digest,
            verb: verb(method),
        }),
        "DELETE" => Ok(Route::BlobDelete { repository, digest }),
        _ => Err(RouteError::MethodNotAllowed(&["GET", "HEAD", "DELETE"])),
    }
}

fn uploads(
    repository: RepositoryName,
    method: &str,
    raw: Option<&str>,
) -> Result<Route, RouteError> {
    if method != "POST" {
        return Err(RouteError::MethodNotAllowed(&["POST"]));
    }
    let query = Query::parse(raw)?;
    let digest = |key| -> Result<Option<Digest>, RouteError> {
        query
            .one(key)?
            .map(|text| text.parse().map_err(RouteError::Digest))
            .transpose()
    };
    Ok(Route::UploadStart {
        repository,
        mount: digest("mount")?,
        from: query
            .one("from")?
            .map(|text| text.parse().map_err(RouteError::Name))
            .transpose()?,
        digest: digest("digest")?,
        algorithm: query
            .one("digest-algorithm")?
            .map(|text| text.parse().map_err(RouteError::Digest))
            .transpose()?,
    })
}

fn upload(
    repository: RepositoryName,
    upload: UploadId,
    method: &str,
    raw: Option<&str>,
) -> Result<Route, RouteError> {
    match method {
        "PATCH" => Ok(Route::UploadPatch { repository, upload }),
        "GET" => Ok(Route::UploadStatus { repository, upload }),
        "DELETE" => Ok(Route::UploadCancel { repository, upload }),
        "PUT" => {
            let query = Query::parse(raw)?;
            let text = query
                .one("digest")?
                .ok_or(RouteError::Digest(DigestError::Form))?;
            let digest = text.parse().map_err(RouteError::Digest)?;
            Ok(Route::UploadPut {
                repository,
                upload,
                digest,
            })
        }
        _ => Err(RouteError::MethodNotAllowed(&[
            "GET", "PATCH", "PUT", "DELETE",
        ])),
    }
}

fn referrers(
    repository: RepositoryName,
    digest: Digest,
    method: &str,
    raw: Option<&str>,
) -> Result<Route, RouteError> {
    only_get(method)?;
    let query = Query::parse(raw)?;
    let artifact_type = query
        .one("artifactType")?
        .map(|text| text.chars().take(MAX_ARTIFACT_TYPE).collect());
    Ok(Route::Referrers {
        repository,
        digest,
        artifact_type,
        page: Page::from_query(&query),
    })
}

fn only_get(method: &str) -> Result<(), RouteError> {
    if method == "GET" {
        Ok(())
    } else {
        Err(RouteError::MethodNotAllowed(&["GET"]))
    }
}

fn verb(method: &str) -> ContentVerb {
    if method == "HEAD" {
        ContentVerb::Head
    } else {
        ContentVerb::Get
    }
}

fn repository(raw: &str) -> Result<RepositoryName, RouteError> {
    match decode(raw) {
        Some(text) => text.parse().map_err(RouteError::Name),
        None => Err(RouteError::Name(NameError::new(
            "repository name",
            raw,
            ENCODING,
        ))),
    }
}

fn reference(raw: &str) -> Result<Reference, RouteError> {
    let text = decode(raw).ok_or_else(|| RouteError::Tag(NameError::new("tag", raw, ENCODING)))?;
    text.parse().map_err(|error| match error {
        ReferenceError::Tag(error) => RouteError::Tag(error),
        ReferenceError::Digest(error) => RouteError::Digest(error),
    })
}

fn digest(raw: &str) -> Result<Digest, RouteError> {
    decode(raw)
        .ok_or(DigestError::Form)
        .and_then(|text| text.parse())
        .map_err(RouteError::Digest)
}

const ENCODING: &str = "it is percent-encoded in a way that no name needs";

/// Decodes once. `None` for what is not percent-encoding and for encoded bytes that could make the text mean something else
/// to whoever decodes again or resolves paths: `/`, `\`, `.`, `%`, controls and everything beyond ASCII.
fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut parts = raw.split('%');
    out.push_str(parts.next()?);
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        if !code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let byte = u8::from_str_radix(code, 16).ok()?;
        if !byte.is_ascii_graphic() || matches!(byte, b'/' | b'\\' | b'.' | b'%') {
            return None;
        }
        out.push(char::from(byte));
        out.push_str(rest);
    }
    Some(Cow::Owned(out))
}

/// `ns`: a registry's host, perhaps with port and path. It only ever chooses among rules, and is echoed in a header.
fn namespace(query: &Query<'_>) -> Result<Option<String>, RouteError> {
    let Some(ns) = query.one("ns")? else {
        return Ok(None);
    };
    let legal = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'/' | b'[' | b']')
    };
    if ns.len() <= 255 && ns.bytes().all(legal) {
        Ok(Some(ns.to_owned()))
    } else {
        Err(RouteError::Namespace)
    }
}
