//! The roles, patterns and bounds as tables; and that ten thousand assignments cost what one does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use runtime::Clock;
use serde_json::{Value, json};
use wire::{
    assignment::{Assignee, Assignment},
    scope::Scope,
};

use super::*;

fn assignment(role: Role, to: Assignee, repositories: &[&str]) -> Assignment {
    let repositories = repositories
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    Assignment {
        role,
        to,
        repositories,
    }
}

fn account(name: &str) -> Principal {
    Principal::Account {
        name: name.parse().unwrap(),
    }
}

fn to_account(name: &str) -> Assignee {
    Assignee::Account(name.parse().unwrap())
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn ask(
    assignments: &Assignments,
    principal: &Principal,
    action: Action,
    repository: &str,
) -> Decision {
    let needs = Needs::Action {
        action,
        repository: name(repository),
    };
    decide(principal, &needs, assignments, None)
}

#[test]
fn each_role_gives_its_actions_and_no_other() {
    use Decision::{Allow, Deny};
    use Denied::{Hidden, Missing};
    let (writer, deleter) = (
        Deny(Missing(Role::RepositoryWriter)),
        Deny(Missing(Role::RepositoryDeleter)),
    );
    let cases = [
        (Role::RepositoryReader, [Allow, writer, deleter]),
        (Role::RepositoryWriter, [Allow, Allow, deleter]),
        (Role::RepositoryDeleter, [Allow, writer, Allow]),
        (Role::CatalogLister, [Deny(Hidden); 3]),
        (Role::MeshAdministrator, [Deny(Hidden); 3]),
        (Role::MeshReader, [Deny(Hidden); 3]),
        (Role::CacheRuleAdministrator, [Deny(Hidden); 3]),
        (Role::CredentialSetAdministrator, [Deny(Hidden); 3]),
        (Role::IdentityUser, [Deny(Hidden); 3]),
        (Role::NodeEnroller, [Deny(Hidden); 3]),
    ];
    for (role, expected) in cases {
        let index = Assignments::new(&[assignment(role, to_account("ci"), &["*"])]);
        let got = Action::ALL.map(|action| ask(&index, &account("ci"), action, "team/a"));
        assert_eq!(got, expected, "{role:?}");
        let other = Action::ALL.map(|action| ask(&index, &account("other"), action, "team/a"));
        assert_eq!(other, [Deny(Hidden); 3]);
        let nobody = Action::ALL.map(|action| ask(&index, &Principal::Anonymous, action, "team/a"));
        assert_eq!(nobody, [Decision::Challenge; 3]);
    }
}

#[test]
fn with_no_assignment_nobody_gets_in() {
    let index = Assignments::default();
    for needs in [Needs::Session, Needs::Catalog] {
        assert_eq!(
            decide(&Principal::Anonymous, &needs, &index, None),
            Decision::Challenge
        );
        assert!(matches!(
            decide(&account("ci"), &needs, &index, None),
            Decision::Deny(_)
        ));
    }
    assert_eq!(
        ask(&index, &account("ci"), Action::Pull, "a"),
        Decision::Deny(Denied::Hidden)
    );
}

#[test]
fn patterns_cover_whole_path_components() {
    let cases = [
        ("backend/*", "backend/api", true),
        ("backend/*", "backend/api/v2", true),
        ("backend/*", "backendsvc", false),
        ("backend/*", "backendsvc/api", false),
        ("backend/*", "backend", false),
        ("backend/*", "other/backend/api", false),
        ("backend", "backend", true),
        ("backend", "backend/api", false),
        ("*", "anything/at/all", true),
    ];
    for (pattern, repository, covered) in cases {
        let reader = assignment(Role::RepositoryReader, to_account("ci"), &[pattern]);
        let index = Assignments::new(&[reader]);
        let got = ask(&index, &account("ci"), Action::Pull, repository);
        assert_eq!(got == Decision::Allow, covered, "{pattern} {repository}");
    }
}

#[test]
fn anonymous_gives_to_everybody_and_authenticated_to_the_known() {
    let index = Assignments::new(&[
        assignment(Role::RepositoryReader, Assignee::Anonymous, &["public/*"]),
        assignment(
            Role::RepositoryReader,
            Assignee::Authenticated,
            &["shared/*"],
        ),
        assignment(
            Role::RepositoryReader,
            Assignee::Identity("promoter".parse().unwrap()),
            &["own/*"],
        ),
        assignment(
            Role::RepositoryReader,
            Assignee::Node("prod".parse().unwrap()),
            &["nodes/*"],
        ),
    ]);
    let identity = Principal::Identity {
        name: "promoter".parse().unwrap(),
    };
    let node = Principal::Node {
        name: "prod".parse().unwrap(),
    };
    let claims = Arc::default();
    let workload = Principal::Workload {
        issuer: "github".parse().unwrap(),
        claims,
    };
    let rows = [
        (&Principal::Anonymous, [true, false, false, false]),
        (&account("ci"), [true, true, false, false]),
        (&identity, [true, true, true, false]),
        (&node, [true, true, false, true]),
        (&workload, [true, true, false, false]),
        // An account that is called like an identity is not that identity.
        (&account("promoter"), [true, true, false, false]),
    ];
    for (principal, expected) in rows {
        let got = ["public/a", "shared/a", "own/a", "nodes/a"]
            .map(|repository| ask(&index, principal, Action::Pull, repository) == Decision::Allow);
        assert_eq!(got, expected, "{principal}");
    }
}

#[test]
fn claims_are_matched_within_their_issuer_all_of_them() {
    let to = |claims: &[(&str, &str)]| Assignee::Claims {
        issuer: "github".parse().unwrap(),
        claims: claims
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    let index = Assignments::new(&[
        assignment(
            Role::RepositoryWriter,
            to(&[("repository_id", "7"), ("ref", "refs/heads/main")]),
            &["a"],
        ),
        assignment(
            Role::RepositoryReader,
            to(&[("repository_id", "7"), ("ref", "refs/*")]),
            &["b"],
        ),
        assignment(
            Role::RepositoryReader,
            to(&[("ref", "refs/tags/*")]),
            &["c"],
        ),
        assignment(Role::RepositoryReader, to(&[]), &["d"]),
    ]);
    let workload = |issuer: &str, claims: Value| {
        let Value::Object(claims) = claims else {
            unreachable!()
        };
        Principal::Workload {
            issuer: issuer.parse().unwrap(),
            claims: Arc::new(claims),
        }
    };
    let main = json!({"repository_id": "7", "ref": "refs/heads/main"});
    let rows = [
        (workload("github", main.clone()), [true, true, false, false]),
        (workload("gitlab", main), [false; 4]),
        (
            workload(
                "github",
                json!({"repository_id": "7", "ref": "refs/tags/v1"}),
            ),
            [false, true, true, false],
        ),
        (
            workload(
                "github",
                json!({"repository_id": "8", "ref": "refs/tags/v1"}),
            ),
            [false, false, true, false],
        ),
    ];
    for (principal, expected) in rows {
        let got = ["a", "b", "c", "d"]
            .map(|repository| ask(&index, &principal, Action::Pull, repository) == Decision::Allow);
        assert_eq!(got, expected, "{principal:?}");
    }
}

#[test]
fn a_token_only_takes_away() {
    let index = Assignments::new(&[assignment(
        Role::RepositoryWriter,
        to_account("ci"),
        &["team/*"],
    )]);
    let scopes = Scope::parse_list(
        "repository:team/a:pull,push,delete repository:other:pull repository:team/a:pull registry:catalog:* aws \
         repository:team/a/../b:pull repository:TEAM/b:pull repository:team%2fc:pull",
    );
    let bound = index.grant(&account("ci"), &scopes);
    assert_eq!(
        Scope::write_list(&bound.scopes()),
        "repository:team/a:pull,push"
    );
    let ask = |index: &Assignments, action, repository| {
        let needs = Needs::Action {
            action,
            repository: name(repository),
        };
        decide(&account("ci"), &needs, index, Some(&bound))
    };
    assert_eq!(ask(&index, Action::Push, "team/a"), Decision::Allow);
    assert_eq!(
        ask(&index, Action::Pull, "team/b"),
        Decision::InsufficientScope
    );
    assert_eq!(
        ask(&index, Action::Pull, "other"),
        Decision::Deny(Denied::Hidden)
    );
    // The role is gone: the token says what it always said.
    let none = Assignments::default();
    assert_eq!(
        ask(&none, Action::Push, "team/a"),
        Decision::Deny(Denied::Hidden)
    );
    let text = serde_json::to_string(&bound).unwrap();
    assert_eq!(
        text,
        r#"[{"type":"repository","name":"team/a","actions":["pull","push"]}]"#
    );
    assert_eq!(serde_json::from_str::<Bound>(&text).unwrap(), bound);
}

#[test]
fn the_base_challenges_whoever_shows_nothing_even_where_anonymous_may_read() {
    let index = Assignments::new(&[assignment(
        Role::RepositoryReader,
        Assignee::Anonymous,
        &["*"],
    )]);
    let empty = Bound::default();
    let session = |principal: &Principal, bound| decide(principal, &Needs::Session, &index, bound);
    assert_eq!(session(&Principal::Anonymous, None), Decision::Challenge);
    assert_eq!(
        session(&Principal::Anonymous, Some(&empty)),
        Decision::Allow
    );
    assert_eq!(session(&account("ci"), None), Decision::Allow);
    assert_eq!(
        ask(&index, &Principal::Anonymous, Action::Pull, "a"),
        Decision::Allow
    );
    let closed = Assignments::new(&[assignment(Role::RepositoryReader, to_account("ci"), &["*"])]);
    let anonymous_token = decide(
        &Principal::Anonymous,
        &Needs::Session,
        &closed,
        Some(&empty),
    );
    assert_eq!(anonymous_token, Decision::Challenge);
}

#[test]
fn the_catalog_shows_what_is_listed_and_readable() {
    let index = Assignments::new(&[
        assignment(Role::CatalogLister, to_account("ci"), &["team/*", "open/*"]),
        assignment(
            Role::RepositoryReader,
            to_account("ci"),
            &["team/a", "hidden"],
        ),
        assignment(Role::RepositoryReader, Assignee::Anonymous, &["open/*"]),
    ]);
    let shown: Vec<&str> = ["team/a", "team/b", "hidden", "open/x"]
        .into_iter()
        .filter(|repository| sees(&account("ci"), &name(repository), &index))
        .collect();
    assert_eq!(shown, ["team/a", "open/x"]);
    let catalog = |principal: &Principal, bound| decide(principal, &Needs::Catalog, &index, bound);
    assert_eq!(catalog(&account("ci"), None), Decision::Allow);
    let missing = Decision::Deny(Denied::Missing(Role::CatalogLister));
    assert_eq!(catalog(&account("other"), None), missing);
    assert_eq!(catalog(&Principal::Anonymous, None), Decision::Challenge);
    let bound = index.grant(&account("ci"), &Scope::parse_list("registry:catalog:*"));
    assert_eq!(catalog(&account("ci"), Some(&bound)), Decision::Allow);
    assert_eq!(
        catalog(&account("ci"), Some(&Bound::default())),
        Decision::InsufficientScope
    );
}

#[test]
fn ten_thousand_assignments_decide_in_the_time_of_one() {
    let mut many = vec![assignment(
        Role::RepositoryReader,
        to_account("ci"),
        &["team/a", "deep/er/*"],
    )];
    for n in 0..10_000 {
        let (path, id) = (format!("team-{n}/*"), n.to_string());
        let claims = BTreeMap::from([
            ("repository_id".to_owned(), id),
            ("ref".to_owned(), "refs/*".to_owned()),
        ]);
        let github = Assignee::Claims {
            issuer: "github".parse().unwrap(),
            claims,
        };
        let to = [
            to_account("ci"),
            to_account(&format!("robot-{n}")),
            github,
            Assignee::Authenticated,
        ];
        many.push(assignment(
            Role::RepositoryWriter,
            to[n % 4].clone(),
            &[&path],
        ));
    }
    let index = Assignments::new(&many);
    let Value::Object(claims) = json!({"repository_id": "9998", "ref": "refs/heads/x"}) else {
        unreachable!()
    };
    let workload = Principal::Workload {
        issuer: "github".parse().unwrap(),
        claims: Arc::new(claims),
    };
    assert_eq!(
        ask(&index, &workload, Action::Push, "team-9998/x"),
        Decision::Allow
    );
    assert_eq!(
        ask(&index, &workload, Action::Push, "team-9994/x"),
        Decision::Deny(Denied::Hidden)
    );
    let repository = name("deep/er/and/deeper/still/than/that");
    let needs = Needs::Action {
        action: Action::Pull,
        repository,
    };
    let ci = account("ci");
    let clock = Clock::system();
    let start = clock.now();
    for _ in 0..10_000 {
        assert_eq!(decide(&ci, &needs, &index, None), Decision::Allow);
        assert_ne!(decide(&workload, &needs, &index, None), Decision::Allow);
    }
    // 2 x 10,000 decisions below 5 us each, with room for an unoptimised build on a busy machine; a scan would take seconds.
    assert!(clock.now() - start < Duration::from_millis(1_000));
}

#[test]
fn what_is_given_to_somebody_is_given_to_nobody_else() {
    let Value::Object(claims) = json!({"sub": "x", "team": "platform"}) else {
        unreachable!()
    };
    let workload = Principal::Workload {
        issuer: "corp".parse().unwrap(),
        claims: Arc::new(claims),
    };
    let of = |issuer: &str, team: &str| Assignee::Claims {
        issuer: issuer.parse().unwrap(),
        claims: [("team".to_owned(), team.to_owned())].into(),
    };
    let ci = Assignee::Account("ci".parse().unwrap());
    for (to, principal, given) in [
        (&Assignee::Anonymous, &Principal::Anonymous, true),
        (&Assignee::Authenticated, &Principal::Anonymous, false),
        (&Assignee::Authenticated, &account("ci"), true),
        (&ci, &account("ci"), true),
        (&ci, &account("cd"), false),
        (&ci, &Principal::Anonymous, false),
        (&of("corp", "plat*"), &workload, true),
        (&of("corp", "other"), &workload, false),
        (&of("foreign", "plat*"), &workload, false),
        (&of("corp", "*"), &account("ci"), false),
    ] {
        assert_eq!(concerns(to, principal), given, "{to:?} {principal:?}");
    }
}
