//! Keeps one stream to the control plane: joins, renews what has ended, connects, and again after every loss.
//!
//! Pauses have full jitter up to a minute, so that a thousand nodes coming back are no storm; they grow until a stream has stood for a
//! while. Only a decision of the control plane about this very instance (revoked, copied) ends the loop: the node then closes. Anything
//! else, a control plane restored from a backup that does not know us too, leaves the node serving under its last good slice.
//! Source: `spec/control-plane.md`, `reference/protocols.md` 6.4, `reference/faults.md` T33, T38, T55.

use std::{sync::Arc, time::Duration};

use identity::certificate;
use runtime::Backoff;
use wire::{not_admitted::NotAdmitted, time::WallTime};

use super::{
    enrol,
    enrolment::Credential,
    join::Join,
    link::Error,
    session::{End, Session},
    shared::{Refusal, Shared},
};

/// A stream that stood for so long begins the pauses anew.
const STABLE: Duration = Duration::from_secs(10);

/// The loop.
pub(super) struct Connect {
    pub(super) shared: Arc<Shared>,
    pub(super) join: Option<Join>,
    pub(super) backoff: Backoff,
    pub(super) attempt: u32,
}

impl Connect {
    /// Runs until the process ends or the node is shut out.
    pub(super) async fn run(mut self, known: Option<Credential>) {
        let Some(mut credential) = self.joined(known).await else {
            return;
        };
        while let Some(mut session) = self.open(&mut credential).await {
            let began = self.shared.link.clock.now();
            self.shared.connected();
            let end = self.keep(&mut session).await;
            credential = session.credential.clone();
            drop(session);
            let error = match end {
                End::Lost(error) => error,
                End::Stopped | End::Swap(_) => return,
            };
            self.shared.away(&error);
            if self.is_over(&credential, &error).await {
                return;
            }
            let stood = self
                .shared
                .link
                .clock
                .now()
                .saturating_duration_since(began);
            if stood >= STABLE {
                self.attempt = 0;
            }
            if !self.pause().await {
                return;
            }
        }
    }

    /// Runs a session, and those that take its place under renewed certificates.
    async fn keep(&self, session: &mut Session) -> End {
        loop {
            let renewed = match session.run().await {
                End::Swap(renewed) => renewed,
                end @ (End::Stopped | End::Lost(_)) => return end,
            };
            match Session::open(&self.shared, *renewed.clone()).await {
                // The new one stands; only now the old one ends.
                Ok(next) => *session = next,
                Err(error) => {
                    tracing::warn!(node = %self.shared.node, %error, "cannot connect under the renewed certificate yet");
                    // What is on disk is the renewed one: the next stream shows it.
                    session.credential = *renewed;
                    session.swap_later();
                }
            }
        }
    }

    /// The enrolment to go by: the one on disk, or by the token that was given and not used before.
    async fn joined(&mut self, known: Option<Credential>) -> Option<Credential> {
        let unused = self.join.take();
        let Some(join) = unused.filter(|join| join.is_news(known.as_ref())) else {
            return known;
        };
        loop {
            let error = match enrol::enrol(&self.shared.home, &self.shared.link, &join).await {
                Ok(credential) => {
                    tracing::info!(node = %self.shared.node, mesh = credential.enrolment.mesh, "joined the mesh");
                    credential.show(&self.shared.membership);
                    self.attempt = 0;
                    return Some(credential);
                }
                Err(error) => error,
            };
            if let Error::NotAdmitted { text, .. } = &error {
                match &known {
                    None if join.may_change() => {}
                    Some(known) if known.enrolment.shut_out.is_none() => {
                        tracing::warn!(node = %self.shared.node, %error, "the join token was refused; the enrolment at hand goes on");
                        return Some(known.clone());
                    }
                    Some(_) | None => {
                        self.shared.refused(Refusal::Token(text.clone()));
                        return None;
                    }
                }
            }
            self.shared.away(&error);
            if !self.pause().await {
                return None;
            }
        }
    }

    /// Connects, for as long as it takes. A certificate that has ended, or is due, is renewed first.
    async fn open(&mut self, credential: &mut Credential) -> Option<Session> {
        loop {
            let error = match self.attempt(credential).await {
                Ok(session) => return Some(session),
                Err(error) => error,
            };
            self.shared.away(&error);
            if self.is_over(credential, &error).await || !self.pause().await {
                return None;
            }
        }
    }

    async fn attempt(&self, credential: &mut Credential) -> Result<Session, Error> {
        let link = &self.shared.link;
        let (now, shown) = (WallTime(link.clock.wall_ms()), &credential.shown);
        if now >= certificate::renew_at(shown.begins, shown.ends, 1.0) {
            let client = link.own(credential).await?;
            match enrol::renew(&self.shared.home, link, client, credential).await {
                Ok(renewed) => {
                    renewed.show(&self.shared.membership);
                    *credential = renewed;
                }
                Err(error) if now >= shown.ends || error.final_reason().is_some() => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(node = %self.shared.node, %error, "the node's certificate could not be renewed yet");
                }
            }
        }
        Session::open(&self.shared, credential.clone()).await
    }

    /// Whether the control plane has decided that this instance is out. Then the node closes, now and at the next start.
    async fn is_over(&self, credential: &Credential, error: &Error) -> bool {
        let Some(why) = error.final_reason() else {
            if let Error::NotAdmitted {
                reason: Some(NotAdmitted::ExpiredCertificate),
                ..
            } = error
            {
                let text = format!(
                    "this node's certificate ended too long ago to be renewed: join again with a new token of `regmesh node join-token {}`, or with \
                     an OIDC token and without the `agent` folder of the data directory",
                    self.shared.node
                );
                self.shared.words.say(&text);
            }
            return false;
        };
        let (text, credential) = (why.to_owned(), credential.clone());
        let written = self.shared.home.on(&self.shared.link.tasks, move |home| {
            Ok(credential.shut_out(home, &text))
        });
        if let Ok(Err(error)) | Err(error) = written
            .await
            .map(|kept| kept.map_err(std::io::Error::other))
        {
            tracing::error!(node = %self.shared.node, %error, "that this node is shut out could not be written down");
        }
        self.shared.refused(Refusal::Final(why.to_owned()));
        true
    }

    /// Waits its turn; `false` when the process ends.
    async fn pause(&mut self) -> bool {
        let delay = self.backoff.delay(self.attempt, rand::random());
        self.attempt = self.attempt.saturating_add(1);
        let link = &self.shared.link;
        let token = link.tasks.token();
        tokio::select! {
            biased;
            () = token.cancelled() => false,
            () = link.clock.sleep(delay) => true,
        }
    }
}
