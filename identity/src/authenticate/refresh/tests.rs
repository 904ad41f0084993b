//! One session from its proof to its end, and what is kept of it.

use super::*;

const NOW: WallTime = WallTime(1_800_000_000_000);

#[tokio::test]
async fn a_token_lives_eight_hours_on_its_node_and_ends_when_revoked_or_the_password_changes() {
    let tokens = RefreshTokens::new(Arc::new(Memory::default()));
    let principal = Principal::Account {
        name: "ci".parse().unwrap(),
    };
    let password = Secret::from("hunter2");
    let holder = Holder {
        password: Some(&password),
        ..Holder::new(&principal, "a:1", NOW.plus(LIFE))
    };
    let token = tokens.issue(holder).await.unwrap();
    let other = tokens.issue(holder).await.unwrap();
    let record = tokens.find(&token, "a:1", NOW).await.unwrap();
    assert_eq!(record.principal, principal);
    assert!(still_bound(&record, &token, &password));
    assert!(!still_bound(&record, &token, &Secret::from("hunter3")));
    assert!(!still_bound(&record, &other, &password));
    assert!(tokens.find(&token, "b:1", NOW).await.is_err());
    assert!(
        tokens
            .find(&Secret::from("rmr_guess"), "a:1", NOW)
            .await
            .is_err()
    );
    assert!(
        tokens
            .find(&token, "a:1", NOW.plus(LIFE - Duration::from_secs(1)))
            .await
            .is_ok()
    );
    tokens.revoke(&other).await.unwrap();
    assert!(tokens.find(&other, "a:1", NOW).await.is_err());
    assert!(tokens.find(&token, "a:1", NOW.plus(LIFE)).await.is_err());
    assert!(
        tokens.find(&token, "a:1", NOW).await.is_err(),
        "a token that is over is forgotten"
    );
}

#[tokio::test]
async fn a_token_shown_again_gives_the_same_session_and_another_one_another() {
    let store = Arc::new(Memory::default());
    let tokens = RefreshTokens::new(Arc::clone(&store) as Arc<dyn RefreshStore>);
    let (keys, other) = (Keys::generate().unwrap(), Keys::generate().unwrap());
    let principal = Principal::Identity {
        name: "promoter".parse().unwrap(),
    };
    let ends = NOW.plus(Duration::from_secs(60));
    let holder = Holder {
        bound_to: Some("spiffe://contoso/node/edge"),
        ..Holder::new(&principal, "a:1", ends)
    };
    let once = async |keys: &Keys, shown: u8, now| {
        let token = tokens.issue_once(keys, [shown; 32], holder, now).await;
        token.unwrap().expose().clone()
    };
    let first = once(&keys, 1, NOW).await;
    assert!(RefreshTokens::is_one(&first));
    for _ in 0..3 {
        assert_eq!(once(&keys, 1, NOW).await, first);
    }
    assert_eq!(store.count(), 1);
    assert_ne!(once(&keys, 2, NOW).await, first);
    assert_ne!(
        once(&other, 1, NOW).await,
        first,
        "not to be told without the keys"
    );
    let first = Secret::new(first);
    let record = tokens.find(&first, "a:1", NOW).await.unwrap();
    assert_eq!(
        record.bound_to.as_deref(),
        Some("spiffe://contoso/node/edge")
    );
    assert!(
        tokens.find(&first, "a:1", ends).await.is_err(),
        "over with its proof"
    );
}

#[test]
fn a_record_of_an_earlier_release_is_read() {
    let text = r#"{"id":"01920000-0000-7000-8000-000000000000","principal":{"kind":"account","name":"ci"},"expires":1800000000000,"audience":"a:1"}"#;
    assert!(Record::parse(text.as_bytes()).is_some_and(|record| record.via.is_none()));
}

#[tokio::test]
async fn the_store_holds_neither_token_nor_password() {
    let store = Arc::new(Memory::default());
    let tokens = RefreshTokens::new(Arc::clone(&store) as Arc<dyn RefreshStore>);
    let principal = Principal::Account {
        name: "ci".parse().unwrap(),
    };
    let password = Secret::from("canary-password");
    let holder = Holder {
        password: Some(&password),
        ..Holder::new(&principal, "a:1", NOW.plus(LIFE))
    };
    let token = tokens.issue(holder).await.unwrap();
    let kept = format!("{store:?}");
    let record = store.get(hash(token.expose())).await.unwrap().unwrap();
    let text = String::from_utf8(record).unwrap();
    for canary in ["canary-password", token.expose().as_str()] {
        assert!(!kept.contains(canary) && !text.contains(canary));
    }
}
