//! Where a secret of a vault is: a URL of one shape; pure.

use url::Url;

use crate::token_source::azure::secure;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) vault: Url,
    pub(super) name: String,
    pub(super) version: Option<String>,
}

impl Place {
    /// Reads `https://VAULT/secrets/NAME` and `…/NAME/VERSION`; http on loopback.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let shape = || "is not https://VAULT/secrets/NAME or …/NAME/VERSION".to_owned();
        let url = Url::parse(url).map_err(|_| shape())?;
        let segments: Vec<&str> = url.path_segments().ok_or_else(shape)?.collect();
        let (name, version) = match segments[..] {
            ["secrets", name] | ["secrets", name, ""] => (name, None),
            ["secrets", name, version] => (name, Some(version)),
            _ => return Err(shape()),
        };
        let plain = |text: &str| {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            (1..=127).contains(&text.len()) && text.bytes().all(legal)
        };
        let bare = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !bare || !plain(name) || !version.is_none_or(plain) {
            return Err(shape());
        }
        let (name, version) = (name.to_owned(), version.map(str::to_owned));
        let mut vault = url;
        vault.set_path("");
        secure(vault.clone()).map_err(|_| "is not https, and not on loopback".to_owned())?;
        Ok(Self {
            vault,
            name,
            version,
        })
    }
}
