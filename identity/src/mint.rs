//! Asking the control plane for a token: a rule grant, or a federation token.
//!
//! The seam between token sources and whoever can ask; the node's agent asks over its stream's connection. Who asks proves which node
//! it is by its certificate, so a rule's name is all that is said. *May not have it* and *cannot be asked* stay apart. Source:
//! `spec/control-plane.md` "Identity tokens", `spec/identity.md` "The rule grant".

use async_trait::async_trait;
use runtime::Secret;
use wire::{
    name::{IdentityName, RuleName},
    time::WallTime,
};

#[cfg(any(test, feature = "testing"))]
pub mod scripted;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// For which rule of this node.
    pub rule: RuleName,
    /// As whom; the control plane compares it with what it knows of the rule.
    pub identity: IdentityName,
    /// For whom.
    pub audience: Audience,
}

/// Who is to take the token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// A rule grant for the node of this login server.
    Upstream(String),
    /// A federation token for this foreign audience.
    Foreign(String),
}

/// A token that was minted.
#[derive(Debug, Clone)]
pub struct Minted {
    /// The JWT.
    pub token: Secret,
    /// When it ends.
    pub expires: WallTime,
    /// When the next one should be asked for.
    pub refresh: WallTime,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The rule may not have it.
    #[error("the control plane does not give it: {0}")]
    Refused(String),
    /// The control plane cannot be asked, or cannot make one now.
    #[error("the control plane cannot be asked for it: {0}")]
    Away(String),
}

/// Asks for tokens.
#[async_trait]
pub trait Mint: std::fmt::Debug + Send + Sync + 'static {
    /// A token that is good now and not due yet: made now, or before, by whoever asks ahead. Where nobody can be asked, one that is
    /// due and has not ended. Bounded in time; safe to drop.
    ///
    /// # Errors
    /// When the rule may not have it, or nobody can be asked and none is in hand.
    async fn mint(&self, wanted: &Wanted) -> Result<Minted, Error>;

    /// Another one, made now, because `refused` was not taken by whom it is for. That one stays in hand where there is no other.
    ///
    /// # Errors
    /// As those of [`Mint::mint`].
    async fn mint_anew(&self, wanted: &Wanted, _refused: &Secret) -> Result<Minted, Error> {
        self.mint(wanted).await
    }

    /// What is in hand without asking anybody, perhaps ended.
    fn in_hand(&self, _wanted: &Wanted) -> Option<Minted> {
        None
    }
}
