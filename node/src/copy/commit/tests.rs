//! The order and the content of commits.

use runtime::Clock;
use uuid::Uuid;
use wire::{
    event::{Action, EventScope},
    media_type::{OCI_INDEX, OCI_MANIFEST},
};

use super::*;
use crate::{
    event::Subscription,
    store::metadata::{Child, JobId, Origin, Version, record::RequestInfo},
};

fn digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

fn manifest(name: &str, children: &[&str]) -> Arc<ManifestRecord> {
    let child = |name: &&str| Child {
        kind: ChildKind::Manifest,
        digest: digest(name),
        size: 1,
        media_type: OCI_MANIFEST.into(),
        platform: None,
        foreign: false,
    };
    Arc::new(ManifestRecord {
        digest: digest(name),
        media_type: if children.is_empty() {
            OCI_MANIFEST
        } else {
            OCI_INDEX
        }
        .into(),
        size: 1,
        children: children.iter().map(child).collect(),
        subject: None,
        artifact_type: None,
        annotations: Default::default(),
    })
}

fn at(name: &str) -> Version {
    Version {
        digest: digest(name),
        media_type: String::new(),
        size: 1,
    }
}

fn tag(name: &str, current: &str, complete: Option<&str>) -> TagRecord {
    TagRecord {
        repository: "mirror/app".parse().unwrap(),
        tag: name.parse().unwrap(),
        current: at(current),
        complete: complete.map(at),
        checked_at: WallTime(0),
        observed_at: WallTime(0),
        origin: Origin::Filled("mirror".parse().unwrap()),
    }
}

fn job(tags: &[&str]) -> Job {
    Job {
        id: JobId(Uuid::nil()),
        repository: "mirror/app".parse().unwrap(),
        rule: "mirror".parse().unwrap(),
        root: digest("index"),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        platform: None,
        attempts: 0,
        due_at: WallTime(0),
        created_at: WallTime(0),
        last_error: None,
        missing: Vec::new(),
        request: RequestInfo::default(),
    }
}

fn recorder() -> Recorder {
    let recorder = Recorder::new(
        "mesh".parse().unwrap(),
        "node".parse().unwrap(),
        Clock::manual(0),
    );
    let webhook = "all".parse().unwrap();
    recorder.subscribe(vec![Subscription {
        webhook,
        actions: vec![Action::Push],
        scope: EventScope::All,
    }]);
    recorder
}

/// What a commit of `index`, with these children complete before, does, in a word each.
fn words(
    job: &Job,
    complete: &[&str],
    tags: Vec<TagRecord>,
    platforms: &Platforms,
    has_child: bool,
) -> Vec<String> {
    let names = ["amd", "arm", "index"];
    let record = |name: &str| {
        manifest(
            name,
            if name == "index" {
                &["amd", "arm"]
            } else {
                &[]
            },
        )
    };
    let whole = names.map(|name| Whole {
        record: record(name),
        platform: None,
        complete: complete.contains(&name),
    });
    let above = vec![Above {
        record: record("index"),
        has_child,
    }];
    let rule = "mirror".parse().unwrap();
    let facts = Facts {
        job,
        rule: &rule,
        platforms,
        whole: whole.into(),
        tags,
        above,
        now: WallTime(0),
    };
    let name = |wanted: &Digest| {
        names
            .iter()
            .find(|name| digest(name) == *wanted)
            .unwrap()
            .to_string()
    };
    let word = |op: Op| {
        if let Op::PutLink(link) = &op {
            assert!(link.complete);
            return format!("link {}", name(&link.digest));
        }
        if let Op::Completed(_, tag, version) = &op {
            return format!("tag {tag} {}", name(&version.digest));
        }
        let Op::PutEvent(event, _) = op else {
            panic!("{op:?} is not for this commit")
        };
        format!("event {}", event.key)
    };
    ops(&facts, &recorder()).into_iter().map(word).collect()
}

#[test]
fn children_come_before_parents_and_the_tag_last() {
    let tags = || {
        vec![
            tag("1", "index", Some("old")),
            tag("2", "index", None),
            tag("3", "index", Some("index")),
        ]
    };
    assert_eq!(
        words(&job(&["1"]), &[], tags(), &Platforms::All, true),
        [
            "link amd",
            "event mirror/app:",
            "link arm",
            "event mirror/app:",
            "link index",
            "event mirror/app:",
            "event mirror/app:1",
            "tag 1 index",
            "tag 2 index",
        ]
    );
}

#[test]
fn what_was_complete_is_told_no_more_and_a_repeated_commit_tells_nothing() {
    let tags = || vec![tag("1", "index", Some("index"))];
    assert_eq!(
        words(
            &job(&["1"]),
            &["amd", "arm", "index"],
            tags(),
            &Platforms::All,
            true
        ),
        ["event mirror/app:1"]
    );
    assert!(
        words(
            &job(&[]),
            &["amd", "arm", "index"],
            tags(),
            &Platforms::All,
            true
        )
        .is_empty()
    );
    assert!(
        words(
            &job(&["1"]),
            &["amd", "arm", "index"],
            vec![tag("1", "elsewhere", None)],
            &Platforms::All,
            true
        )
        .is_empty()
    );
}

#[test]
fn an_index_of_which_nothing_can_be_run_takes_the_place_of_nothing_only() {
    let cases = [
        (Platforms::Requested, false, Some("old"), false),
        (Platforms::Requested, false, None, true),
        (Platforms::Requested, true, Some("old"), true),
        (Platforms::All, false, Some("old"), true),
        (Platforms::Listed(Vec::new()), false, Some("old"), true),
    ];
    for (platforms, has_child, complete, moves) in cases {
        let words = words(
            &job(&[]),
            &["amd", "arm", "index"],
            vec![tag("1", "index", complete)],
            &platforms,
            has_child,
        );
        assert_eq!(
            !words.is_empty(),
            moves,
            "{platforms:?} {has_child} {complete:?}"
        );
    }
}
