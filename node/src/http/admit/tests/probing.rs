//! T47 at the door: the answer says nothing about what there is, whoever asks and by whatever route.

use super::*;

/// T47: the answer says nothing about what there is.
#[tokio::test]
async fn a_known_caller_without_rights_learns_nothing() {
    let rig = rig(false);
    let headers = basic("reader", "reader-password");
    for target in [
        "manifests/1",
        "tags/list",
        &format!("blobs/{SHA}"),
        &format!("referrers/{SHA}"),
    ] {
        let refused = ask(
            &rig.access,
            &headers,
            &route("GET", &format!("/v2/secret/a/{target}")),
        )
        .await
        .unwrap_err();
        assert_eq!(
            (refused.status, &refused.error.detail),
            (StatusCode::FORBIDDEN, &None)
        );
        assert_eq!(
            refused.error.message,
            "account:reader has no access to secret/a on this node"
        );
        assert!(refused.challenge.is_none());
    }
}

/// Everything that can be told apart in an answer, without the name that was asked for.
fn shape(answer: Result<Admitted, Box<Refused>>, repository: &str) -> String {
    match answer {
        Ok(admitted) => format!("goes on, may_mount {}", admitted.may_mount),
        Err(refused) => {
            let said = (
                &refused.status,
                &refused.error,
                &refused.challenge,
                refused.retry_after,
            );
            format!("{said:?}").replace(repository, "REPOSITORY")
        }
    }
}

/// T47: by every route, at the same length of name. `secret/*` is somebody else's; nobody has `absent/*`.
#[tokio::test]
async fn identities_and_workloads_learn_nothing_of_what_they_may_not_read() {
    let mut hub = hub();
    let mut all = roles(false);
    let somebody = || Assignee::Account("writer".parse().unwrap());
    all.push(assign(Role::RepositoryWriter, somebody(), "secret/*"));
    all.push(assign(Role::RepositoryDeleter, somebody(), "secret/*"));
    hub.swap(&all, false);
    let edge = hub.connection("edge");
    let identity = peer::granted(&hub, "repository:team/a:pull").await;
    let workload = basic("oidc", &job("job"));
    let unlisted = basic("oidc", &job("another"));
    let account = basic("reader", "reader-password");
    for (who, headers) in [
        ("identity", identity),
        ("workload", workload),
        ("a workload without roles", unlisted),
        ("account", account),
        ("node", HeaderMap::new()),
    ] {
        for ((real, _), (absent, _)) in routes("secret/app").into_iter().zip(routes("absent/app")) {
            let asked = async |route: &Route, repository: &str| {
                shape(
                    by(&hub.rig.access, Some(&edge), &headers, route).await,
                    repository,
                )
            };
            let (real, absent) = (
                asked(&real, "secret/app").await,
                asked(&absent, "absent/app").await,
            );
            assert_eq!(real, absent, "{who}");
        }
        // A mount into one's own repository from somebody else's is an ordinary upload, as from one that does not exist.
        let mount = |from: &str| {
            let target = format!("/v2/team/a/blobs/uploads/?mount={SHA}&from={from}/app");
            route("POST", &target)
        };
        let asked = async |from: &str| {
            shape(
                by(&hub.rig.access, Some(&edge), &headers, &mount(from)).await,
                from,
            )
        };
        assert_eq!(asked("secret").await, asked("absent").await, "{who}");
    }
}
