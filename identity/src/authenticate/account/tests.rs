//! Right and wrong passwords, their changes, and guessing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use wire::secret_ref::SecretRef;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Rig {
    passwords: Passwords,
    accounts: Accounts,
    clock: Clock,
    stored: Arc<Mutex<HashMap<String, String>>>,
    _tasks: Tasks,
}

fn declared(names: &[&str]) -> BTreeMap<AccountName, SecretRef> {
    names
        .iter()
        .map(|name| (name.parse().unwrap(), SecretRef::Env((*name).to_owned())))
        .collect()
}

fn rig() -> Rig {
    let stored = Arc::new(Mutex::new(HashMap::from([(
        "ci".to_owned(),
        "right".to_owned(),
    )])));
    let read = Arc::clone(&stored);
    let resolve: Resolve = Arc::new(move |reference| {
        let SecretRef::Env(name) = reference else {
            unreachable!()
        };
        let value = read.lock().unwrap().get(&name).cloned();
        Box::pin(async move { value.map(Secret::new).ok_or_else(|| "not set".into()) })
    });
    let (clock, tasks) = (Clock::manual(0), Tasks::new("test"));
    let passwords = Passwords::new(resolve, &clock, &tasks).unwrap();
    let accounts = Accounts::new(&declared(&["ci", "unset"]), None);
    Rig {
        passwords,
        accounts,
        clock,
        stored,
        _tasks: tasks,
    }
}

impl Rig {
    async fn check(&self, name: &str, password: &str) -> Result<AccountName, Error> {
        self.passwords
            .check(&self.accounts, name, &Secret::from(password), HERE)
            .await
    }
}

#[tokio::test]
async fn the_right_password_is_right_and_everything_else_is_wrong() {
    let rig = rig();
    for _ in 0..2 {
        assert_eq!(rig.check("ci", "right").await.unwrap().as_str(), "ci");
    }
    let long = "x".repeat(MAX_PASSWORD + 1);
    for (name, password) in [
        ("ci", "wrong"),
        ("ci", ""),
        ("nobody", "right"),
        ("CI", "right"),
        ("", ""),
        ("ci", &long),
    ] {
        let error = rig.check(name, password).await.unwrap_err();
        assert!(
            matches!(error, Error::Refused(Refused::Password)),
            "{name} {error}"
        );
    }
    let error = rig.check("unset", "right").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }));
}

/// An account of the mesh that nothing is assigned to on this node.
#[tokio::test]
async fn an_idle_account_is_known_by_its_password_where_that_can_be_read_and_by_nothing_else() {
    let mut rig = rig();
    let idle = |_: &AccountName| false;
    rig.accounts = Accounts::new(&declared(&["ci", "unset"]), None).assigned(idle);
    assert!(rig.passwords.warm(&rig.accounts).await.is_empty());
    let ci = rig.accounts.get("ci").unwrap().1;
    assert!(ci.hash.lock().unwrap().is_none(), "nothing is read ahead");
    assert_eq!(rig.check("ci", "right").await.unwrap().as_str(), "ci");
    for (name, password) in [("ci", "wrong"), ("unset", "right"), ("unset", "")] {
        let error = rig.check(name, password).await.unwrap_err();
        let wrong = matches!(error, Error::Refused(Refused::Password));
        assert!(wrong, "{name} {error}");
    }
    // With a role it is missed.
    let assigned = |name: &AccountName| name.as_str() == "unset";
    rig.accounts =
        Accounts::new(&declared(&["ci", "unset"]), Some(&rig.accounts)).assigned(assigned);
    let unread = rig.passwords.warm(&rig.accounts).await;
    assert_eq!(unread, ["unset".parse().unwrap()]);
    rig.clock.advance(REMEMBERED);
    let error = rig.check("unset", "right").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }));
}

#[tokio::test]
async fn a_changed_password_counts_within_a_minute() {
    let rig = rig();
    rig.check("ci", "right").await.unwrap();
    rig.stored
        .lock()
        .unwrap()
        .insert("ci".to_owned(), "new".to_owned());
    rig.check("ci", "new").await.unwrap();
    rig.clock.advance(REMEMBERED);
    assert!(rig.check("ci", "right").await.is_err());
    rig.check("ci", "new").await.unwrap();
}

#[tokio::test]
async fn a_removed_account_is_refused_at_once_and_another_reference_is_asked_anew() {
    let mut rig = rig();
    rig.check("ci", "right").await.unwrap();
    let kept = Accounts::new(&declared(&["ci"]), Some(&rig.accounts));
    assert_eq!(
        kept.entries.values().next().unwrap().id,
        rig.accounts.get("ci").unwrap().1.id
    );
    rig.accounts = Accounts::new(&declared(&["other"]), Some(&rig.accounts));
    assert!(rig.check("ci", "right").await.is_err());
    let moved = BTreeMap::from([(
        "ci".parse().unwrap(),
        SecretRef::Env("elsewhere".to_owned()),
    )]);
    rig.accounts = Accounts::new(&moved, Some(&kept));
    assert!(matches!(
        rig.check("ci", "right").await,
        Err(Error::Unavailable { .. })
    ));
}

#[tokio::test]
async fn guessing_is_slowed_down_but_whoever_is_remembered_goes_on() {
    let rig = rig();
    rig.check("ci", "right").await.unwrap();
    let mut refused = 0;
    let retry_after = loop {
        match rig
            .check("ci", &format!("guess-{refused}"))
            .await
            .unwrap_err()
        {
            Error::Refused(_) => refused += 1,
            Error::TooOften { retry_after } => break retry_after,
            Error::Unavailable { source, .. } => unreachable!("{source}"),
        }
        assert!(refused < 100);
    };
    assert!(refused >= 5);
    rig.check("ci", "right").await.unwrap();
    let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
    let guess = Secret::from("guess");
    let other = rig
        .passwords
        .check(&rig.accounts, "ci", &guess, elsewhere)
        .await;
    assert!(
        matches!(other, Err(Error::Refused(_))),
        "another address has tries of its own"
    );
    rig.clock.advance(retry_after);
    assert!(matches!(
        rig.check("ci", "once more").await,
        Err(Error::Refused(_))
    ));
}

#[tokio::test]
async fn the_same_wrong_password_again_and_again_is_slowed_down_too() {
    let rig = rig();
    let mut tries = 0;
    while !matches!(rig.check("ci", "wrong").await, Err(Error::TooOften { .. })) {
        tries += 1;
        assert!(tries < 100);
    }
}
