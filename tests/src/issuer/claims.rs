//! What the tokens of real issuers claim (`reference/protocols.md` 5.1), without times and `iss`.

use serde_json::{Value, json};

/// A service account's projected token; its audience is an array, as asked in the projection.
pub fn kubernetes(namespace: &str, account: &str, audience: &str) -> Value {
    json!({
        "aud": [audience],
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": format!("uid-of-{namespace}-{account}")},
            "pod": {"name": format!("{account}-0"), "uid": "9e4c2a70"},
        },
    })
}

/// A job's token of a repository made before 2026-07-15: `sub` carries names.
pub fn github(repository: &str, branch: &str, audience: &str) -> Value {
    job(
        repository,
        branch,
        audience,
        format!("repo:{repository}:ref:refs/heads/{branch}"),
    )
}

/// The same of a younger repository: `sub` carries ids too.
pub fn github_with_ids(repository: &str, branch: &str, audience: &str) -> Value {
    let (owner, name) = repository.split_once('/').expect("OWNER/REPO");
    let (owner_id, id) = ids(repository);
    let sub = format!("repo:{owner}@{owner_id}/{name}@{id}:ref:refs/heads/{branch}");
    job(repository, branch, audience, sub)
}

fn job(repository: &str, branch: &str, audience: &str, sub: String) -> Value {
    let owner = repository.split('/').next().unwrap_or_default();
    let (owner_id, id) = ids(repository);
    json!({
        "aud": audience,
        "sub": sub,
        "repository": repository,
        "repository_owner": owner,
        "repository_id": id,
        "repository_owner_id": owner_id,
        "ref": format!("refs/heads/{branch}"),
        "event_name": "push",
        "environment": "production",
        "runner_environment": "github-hosted",
        "job_workflow_ref": format!("{repository}/.github/workflows/ci.yml@refs/heads/{branch}"),
        "run_id": "4711",
    })
}

/// Of owner and repository, the same for the same name.
fn ids(repository: &str) -> (String, String) {
    let sum = |text: &str| text.bytes().map(u64::from).sum::<u64>().to_string();
    let owner = repository.split('/').next().unwrap_or_default();
    (sum(owner), sum(repository))
}

/// A GitLab job's ID token.
pub fn gitlab(project: &str, branch: &str, audience: &str) -> Value {
    json!({
        "aud": audience,
        "sub": format!("project_path:{project}:ref_type:branch:ref:{branch}"),
        "project_path": project,
        "project_id": ids(project).1,
        "namespace_id": ids(project).0,
        "ref": branch,
        "ref_type": "branch",
        "ref_protected": "true",
        "environment": "production",
    })
}
