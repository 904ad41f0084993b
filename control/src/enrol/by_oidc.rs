//! Enrolment by an issuer's token: whoever a `node-enroller` assignment means may enrol a node, as if it had made itself a join token.
//!
//! The token counts as a join token of one use for one node, so that everything that bounds those bounds it too: a second instance needs
//! another token, an answer that was lost is given again, and what was used is told as used, for as long as the token lasts. It is known
//! by a hash of what its issuer signed: one signature can be written in several ways, and of one token there are several signatures. One
//! that was made before the node was revoked brings nobody back. The role is looked at in the topology in force, at every attempt.

use identity::authenticate::access_token::LEEWAY;
use runtime::Secret;
use wire::{assignment::Role, name::NodeName, time::WallTime};

use super::{Asking, Enrol, Enrolled, Error, Refused, bad, entry, hash};
use crate::{
    sign_in::{
        Caller,
        oidc::{self, Shown},
    },
    state,
};

impl Enrol {
    /// Lets an instance in by a token of a declared issuer.
    ///
    /// # Errors
    /// Why not.
    pub async fn enrol_by_oidc(
        &self,
        token: &Secret,
        node: &str,
        instance: &str,
        csr: &[u8],
    ) -> Result<Enrolled, Error> {
        let result = self.try_enrol_by_oidc(token, node, instance, csr).await;
        self.tell("enrol", node, result).await
    }

    async fn try_enrol_by_oidc(
        &self,
        token: &Secret,
        node: &str,
        instance: &str,
        csr: &[u8],
    ) -> Result<Enrolled, Error> {
        let node: NodeName = node.parse().map_err(bad)?;
        let (asking, ends) = (Asking::read(instance, csr)?, self.may_enrol(token, &node));
        let (who, ends) = ends.await?;
        let hash = known_as(token);
        // One at a time, or two instances could each find that it was not used before.
        let _turn = self.first_use.lock().await;
        let admitted = self.admit_by(hash.clone(), &node, &asking, &who).await;
        match admitted {
            Err(Error::Refused(Refused::UnknownToken(_))) => {
                self.make_token(hash.clone(), &node, &who, ends).await?;
                self.admit_by(hash.clone(), &node, &asking, &who).await
            }
            admitted => admitted,
        }
        .map_err(in_other_words)
    }

    /// Who shows the token and until when it lasts, when they may enrol `node`.
    async fn may_enrol(
        &self,
        token: &Secret,
        node: &NodeName,
    ) -> Result<(String, WallTime), Error> {
        // Whether there is such a node is nothing for strangers.
        let topology = self.publisher.current().topology.clone();
        let topology = topology.ok_or(Refused::NoOidc)?;
        let shown = self.oidc.verify(token, &topology).await;
        let shown = match shown.and_then(Shown::by_itself) {
            Ok(shown) => shown,
            Err(oidc::Error::Refused(why)) => return Err(Refused::OidcToken(why).into()),
            Err(error @ oidc::Error::Audience { .. }) => {
                return Err(Refused::OidcToken(error.to_string()).into());
            }
            Err(oidc::Error::Person) => {
                let why = "it is a person's ID token, which nodes see, too; use a workload's";
                return Err(Refused::OidcToken(why.to_owned()).into());
            }
            Err(away @ oidc::Error::Away(_)) => return Err(Error::Issuer(away)),
        };
        let caller = Caller::of(shown.principal, Some(shown.ends), Some(&topology));
        if !caller.has_on(Role::NodeEnroller, node, Some(&topology)) {
            return Err(Refused::NoEnroller {
                who: caller.who,
                node: node.clone(),
            }
            .into());
        }
        self.declared(node)?;
        let revoked = self.revoked(node);
        // The issuer's clock may be ahead of ours by as much as is let pass elsewhere.
        if revoked.is_some_and(|revoked| shown.begins <= revoked.plus(LEEWAY)) {
            let why = format!(
                "it was made before node '{node}' was revoked, or within a minute after: get a new one"
            );
            return Err(Refused::OidcToken(why).into());
        }
        Ok((caller.who, shown.ends))
    }

    async fn make_token(
        &self,
        hash: String,
        node: &NodeName,
        who: &str,
        ends: WallTime,
    ) -> Result<(), Error> {
        let now = self.now();
        let stored = state::JoinToken {
            hash,
            node: node.clone(),
            // Not before: what is forgotten of a token that lasts could be shown again.
            expires_at: ends,
            uses: 1,
        };
        let about = serde_json::json!({ "expiresAt": stored.expires_at.to_string(), "uses": 1, "oidc": true });
        let entry = entry(now, who, "join-token", node, Some(about));
        Ok(self.state.put_join_token(stored, entry).await?)
    }
}

/// What a token is known as. No join token is known like this, whatever text is shown for one.
fn known_as(token: &Secret) -> String {
    let token = token.expose();
    let signed = token
        .rsplit_once('.')
        .map_or(token.as_str(), |(signed, _)| signed);
    format!("oidc:{}", hash(signed))
}

/// What is said of a join token, said of an issuer's.
fn in_other_words(error: Error) -> Error {
    let Error::Refused(refused) = &error else {
        return error;
    };
    let why = if matches!(refused, Refused::UsedToken(_)) {
        "it was used already: get a new one"
    } else if matches!(refused, Refused::ExpiredToken(_)) {
        "it has expired: get a new one"
    } else if matches!(refused, Refused::OtherNode { .. }) {
        "it, or this instance, has joined as another node: get a new one, or use another directory"
    } else {
        return error;
    };
    Refused::OidcToken(why.to_owned()).into()
}
