//! Becoming a node of the mesh, and staying one: a certificate for a token, and the next certificate for the one in use.
//!
//! Both may be repeated: key and instance are on disk before anybody is asked, so an answer that was lost is asked for again as the same
//! instance with the same key. Source: `spec/control-plane.md` "Enrolment".

use std::sync::Arc;

use identity::certificate::Key;
use runtime::Tasks;
use wire::node_service::{self, EnrolRequest, RenewRequest};

use super::{
    enrolment::{self, Credential, From},
    home::Home,
    join::{Join, Shown},
    link::{Client, Error, Link},
};

/// Joins with a token.
pub(crate) async fn enrol(home: &Arc<Home>, link: &Link, join: &Join) -> Result<Credential, Error> {
    let (pin, node) = (join.pin()?, join.node().clone());
    let (key, instance) = prepare(home, &link.tasks).await?;
    let Shown { proof, hash } = join.shown().await?;
    let request = EnrolRequest {
        proof: Some(proof),
        node: node.to_string(),
        instance: instance.clone(),
        csr: key.request(node.as_str()).map_err(|error| away(&error))?,
    };
    let mut client = link.pinned(join.address(), pin).await?;
    let asked = link
        .clock
        .timeout(link.config.connect, client.enrol(request));
    let given = in_time(asked.await)?;
    let address = join.address().to_owned();
    let kept = home.on(&link.tasks, move |home| {
        let from = From {
            node: &node,
            instance: &instance,
            address: &address,
            pin,
            token: &hash,
        };
        Ok(Credential::keep(home, &from, given, key))
    });
    flat(kept.await)
}

/// Gets the next certificate, over a connection under the one in use.
pub(crate) async fn renew(
    home: &Arc<Home>,
    link: &Link,
    mut client: Client,
    credential: &Credential,
) -> Result<Credential, Error> {
    let (key, _) = prepare(home, &link.tasks).await?;
    let old = credential.enrolment.clone();
    let request = RenewRequest {
        instance: old.instance.clone(),
        csr: key
            .request(old.node.as_str())
            .map_err(|error| away(&error))?,
        counter: old.counter,
    };
    let asked = link
        .clock
        .timeout(link.config.connect, client.renew(request));
    let given = in_time(asked.await)?;
    let kept = home.on(&link.tasks, move |home| {
        let from = From {
            node: &old.node,
            instance: &old.instance,
            address: &old.address,
            pin: old.pin,
            token: &old.token,
        };
        Ok(Credential::keep(home, &from, given, key))
    });
    flat(kept.await)
}

async fn prepare(home: &Arc<Home>, tasks: &Tasks) -> Result<(Key, String), Error> {
    let prepared = home.on(tasks, |home| {
        let instance = enrolment::instance(home);
        Ok(instance.and_then(|instance| Ok((enrolment::next_key(home)?, instance))))
    });
    flat(prepared.await)
}

type Asked = Result<
    Result<tonic::Response<node_service::Enrolment>, tonic::Status>,
    runtime::clock::Elapsed,
>;

fn in_time(asked: Asked) -> Result<node_service::Enrolment, Error> {
    match asked {
        Ok(Ok(given)) => Ok(given.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(elapsed) => Err(away(&elapsed)),
    }
}

fn flat<T>(result: std::io::Result<Result<T, enrolment::Error>>) -> Result<T, Error> {
    match result {
        Ok(Ok(kept)) => Ok(kept),
        Ok(Err(error)) => Err(away(&error)),
        Err(error) => Err(away(&error)),
    }
}

fn away(error: &dyn std::fmt::Display) -> Error {
    Error::Away(error.to_string())
}
