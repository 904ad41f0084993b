//! Errors as gRPC statuses: one table. The text is for people, the word in the metadata for the node.

use tonic::{Code, Status, metadata::MetadataValue};
use wire::not_admitted::METADATA;

use crate::{
    distribute::link::Farewell,
    enrol::{Error, Refused},
};

/// The end of a stream.
pub(super) fn farewell(farewell: &Farewell) -> Status {
    let code = match farewell {
        Farewell::Leaving => Code::Unavailable,
        Farewell::Replaced => Code::Aborted,
        Farewell::NoHello | Farewell::Silent => Code::DeadlineExceeded,
        Farewell::CertificateEnded => Code::Unauthenticated,
        Farewell::OtherNode => Code::PermissionDenied,
        Farewell::Wrong(_) => Code::InvalidArgument,
        Farewell::Refused(reason) => return refused(reason),
    };
    Status::new(code, farewell.to_string())
}

/// A refusal.
pub(super) fn refused(refused: &Refused) -> Status {
    let code = match refused {
        Refused::UnknownToken(_)
        | Refused::UsedToken(_)
        | Refused::ExpiredToken(_)
        | Refused::NoOidc
        | Refused::OidcToken(_)
        | Refused::Certificate(_)
        | Refused::ExpiredCertificate(_) => Code::Unauthenticated,
        Refused::OtherNode { .. }
        | Refused::NoEnroller { .. }
        | Refused::ShutOut { .. }
        | Refused::Revoked(_)
        | Refused::NotANode
        | Refused::OtherMesh
        | Refused::OtherInstance(_) => Code::PermissionDenied,
        Refused::UnknownNode(_) | Refused::UnknownInstance(_) => Code::NotFound,
        Refused::Bad(_) => Code::InvalidArgument,
    };
    let mut status = Status::new(code, refused.to_string());
    if let Some(word) = refused.word() {
        let word = MetadataValue::from_static(word.as_str());
        status.metadata_mut().insert(METADATA, word);
    }
    status
}

/// Anything that enrolment may end in. What is ours to mend is logged, and not told.
pub(super) fn of(error: &Error) -> Status {
    match error {
        Error::Refused(reason) => refused(reason),
        Error::Bad(text) => Status::invalid_argument(text.clone()),
        Error::State(_) | Error::Publish(_) => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a node cannot be served"
            );
            Status::unavailable("the control plane's store cannot be used at the moment: try again")
        }
        Error::Issuer(away) => Status::unavailable(away.to_string()),
        Error::Ca(_) => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a certificate cannot be made"
            );
            Status::internal("the control plane cannot make a certificate: see its log")
        }
    }
}

#[cfg(test)]
mod tests {
    use identity::certificate::Invalid;

    use super::*;

    #[test]
    fn every_refusal_has_its_own_text_and_nodes_can_tell_what_to_do() {
        let node = || "prod".parse().unwrap();
        let all = [
            (
                Refused::UnknownToken(node()),
                Code::Unauthenticated,
                Some("unknown-token"),
            ),
            (
                Refused::UsedToken(node()),
                Code::Unauthenticated,
                Some("used-token"),
            ),
            (
                Refused::ExpiredToken(node()),
                Code::Unauthenticated,
                Some("expired-token"),
            ),
            (
                Refused::OtherNode {
                    claimed: node(),
                    actual: "dev".parse().unwrap(),
                },
                Code::PermissionDenied,
                Some("other-node"),
            ),
            (Refused::NoOidc, Code::Unauthenticated, None),
            (Refused::OidcToken("x".into()), Code::Unauthenticated, None),
            (
                Refused::NoEnroller {
                    who: "issuer:k8s:x".into(),
                    node: node(),
                },
                Code::PermissionDenied,
                None,
            ),
            (
                Refused::UnknownNode(node()),
                Code::NotFound,
                Some("unknown-node"),
            ),
            (
                Refused::UnknownInstance(node()),
                Code::NotFound,
                Some("unknown-instance"),
            ),
            (
                Refused::ShutOut {
                    node: node(),
                    reason: "copied".into(),
                },
                Code::PermissionDenied,
                Some("copied"),
            ),
            (
                Refused::Revoked(node()),
                Code::PermissionDenied,
                Some("revoked"),
            ),
            (
                Refused::ExpiredCertificate(node()),
                Code::Unauthenticated,
                Some("expired-certificate"),
            ),
            (
                Refused::Certificate(Invalid::Ended),
                Code::Unauthenticated,
                None,
            ),
            (Refused::NotANode, Code::PermissionDenied, None),
            (Refused::OtherMesh, Code::PermissionDenied, None),
            (Refused::OtherInstance(node()), Code::PermissionDenied, None),
            (Refused::Bad("x".into()), Code::InvalidArgument, None),
        ];
        let mut texts: Vec<String> = Vec::new();
        for (reason, code, word) in all {
            let status = refused(&reason);
            assert_eq!(status.code(), code, "{reason}");
            let told = status
                .metadata()
                .get(METADATA)
                .map(|word| word.to_str().unwrap());
            assert_eq!(told, word, "{reason}");
            assert!(!texts.contains(&reason.to_string()), "{reason}");
            texts.push(reason.to_string());
        }
    }
}
