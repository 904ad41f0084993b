//! Lists: pages of tags, referrers by API and by tag, and what cannot be found out.

use bytes::Bytes;
use serde_json::Value;
use wire::{manifest::Manifest, media_type::OCI_INDEX};

use super::*;

fn referrer(name: &str) -> String {
    let digest = Digest::sha256(name.as_bytes());
    format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"{digest}","x-unknown":"{name}"}}"#
    )
}

fn index(referrers: &[&str]) -> String {
    let all: Vec<String> = referrers.iter().map(|name| referrer(name)).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        all.join(",")
    )
}

async fn referrers(rig: &Rig) -> Result<Bytes, Error> {
    let subject = Digest::sha256(b"subject");
    let answer = rig
        .remote
        .referrers(&app(), &subject, Patience::Long, &request())
        .await;
    answer.map(|referrers| referrers.index)
}

#[tokio::test]
async fn tags_come_page_by_page_and_a_link_chooses_no_host() {
    let rig = Rig::new(|seen| {
        let (tags, link) = match seen.target.as_str() {
            "/v2/team/app/tags/list?n=2" => (
                r#"["a","b"]"#,
                "<http://evil.example/v2/x/tags/list?n=2&last=b>; rel=\"next\"",
            ),
            "/v2/team/app/tags/list?n=2&last=b" => ("null", ""),
            _ => return Reply::status(404),
        };
        let body = format!(r#"{{"name":"team/app","tags":{tags}}}"#);
        Reply::ok("application/json", &body).and("Link", link)
    })
    .await;
    let page = Page {
        n: Some(2),
        last: None,
    };
    let first = rig
        .remote
        .tags(&app(), &page, Patience::Long, &request())
        .await
        .unwrap();
    assert_eq!(first.tags, ["a", "b"]);
    let second = rig
        .remote
        .tags(&app(), &first.next.unwrap(), Patience::Long, &request())
        .await;
    let second = second.unwrap();
    assert_eq!((second.tags.len(), second.next), (0, None));
}

/// What a node can only list from its own store, it says.
#[tokio::test]
async fn a_lists_warning_is_read_on_whichever_page_it_comes() {
    let said = r#"299 - "of this node only""#;
    let rig = Rig::new(move |seen| match seen.target.as_str() {
        tags if tags.contains("/tags/list") => {
            Reply::ok("application/json", r#"{"tags":["a"]}"#).and("Warning", said)
        }
        second if second.contains("page=2") => {
            Reply::ok(OCI_INDEX, &index(&["b"])).and("Warning", said)
        }
        first => Reply::ok(OCI_INDEX, &index(&["a"]))
            .and("Link", &format!("<{first}?page=2>; rel=\"next\"")),
    })
    .await;
    let tags = rig
        .remote
        .tags(&app(), &Page::default(), Patience::Long, &request())
        .await;
    assert_eq!(tags.unwrap().warning.as_deref(), Some("of this node only"));
    let subject = Digest::sha256(b"subject");
    let referrers = rig
        .remote
        .referrers(&app(), &subject, Patience::Long, &request())
        .await;
    let warning = referrers.unwrap().warning;
    assert_eq!(warning.as_deref(), Some("of this node only"));
}

#[tokio::test]
async fn what_is_no_list_of_tags_is_wrong() {
    for body in ["<html>", "[]", r#"{"tags":"a"}"#, ""] {
        let rig = Rig::new(move |_| Reply::ok("application/json", body)).await;
        let error = rig
            .remote
            .tags(&app(), &Page::default(), Patience::Long, &request())
            .await;
        assert_eq!(error.unwrap_err().kind, Kind::Wrong, "{body}");
    }
}

#[tokio::test]
async fn referrers_of_the_api_come_as_they_are_and_pages_are_joined() {
    let rig = Rig::new(|_| {
        Reply::ok(OCI_INDEX, &index(&["a", "b"])).and("OCI-Filters-Applied", "artifactType")
    })
    .await;
    assert_eq!(referrers(&rig).await.unwrap(), index(&["a", "b"]));
    assert!(!rig.server.seen()[0].target.contains("artifactType"));
    let rig = Rig::new(|seen| match seen.target.contains("page=2") {
        false => Reply::ok(OCI_INDEX, &index(&["a"]))
            .and("Link", &format!("<{}?page=2>; rel=\"next\"", seen.target)),
        true => Reply::ok(OCI_INDEX, &index(&["b", "c"])),
    })
    .await;
    let joined = referrers(&rig).await.unwrap();
    let read = Manifest::parse(&joined, Some(OCI_INDEX)).unwrap();
    assert_eq!(read.children().len(), 3);
    let joined: Value = serde_json::from_slice(&joined).unwrap();
    assert_eq!(
        joined["manifests"][2]["x-unknown"], "c",
        "what we do not know is kept"
    );
}

#[tokio::test]
async fn without_the_api_the_fallback_tag_is_read_and_without_both_there_are_none() {
    let rig = Rig::new(|seen| match seen.last().starts_with("sha256-") {
        true => Reply::ok(OCI_INDEX, &index(&["a"])),
        false => Reply::status(404),
    })
    .await;
    assert_eq!(referrers(&rig).await.unwrap(), index(&["a"]));
    let subject = Digest::sha256(b"subject").to_string().replace(':', "-");
    assert_eq!(rig.seen()[1], format!("GET {subject}"));
    let rig = Rig::new(|_| Reply::status(404)).await;
    let none = referrers(&rig).await.unwrap();
    assert!(Manifest::parse(&none, None).unwrap().children().is_empty());
}

/// "Could not ask" never reads as "unsigned".
#[tokio::test]
async fn what_could_not_be_found_out_is_an_error_and_not_an_empty_list() {
    let cases: [fn(&Seen) -> Reply; 8] = [
        |_| Reply::status(401),
        |_| Reply::status(403),
        |_| Reply::status(500),
        |_| Reply::status(429),
        |_| Reply::ok("text/html", "<html>"),
        |_| Reply::ok(OCI_INDEX, r#"{"errors":[]}"#),
        // The API is not there, and the tag cannot be asked for.
        |seen| {
            Reply::status(if seen.target.contains("/referrers/") {
                404
            } else {
                503
            })
        },
        |seen| {
            Reply::ok(OCI_INDEX, &index(&["a"])).and(
                "Link",
                &format!("<http://127.0.0.2:9{}?page=2>; rel=\"next\"", seen.target),
            )
        },
    ];
    for (number, script) in cases.into_iter().enumerate() {
        let rig = Rig::new(script).await;
        let error = referrers(&rig).await.unwrap_err();
        assert_ne!(error.kind, Kind::Gone, "case {number}: {error}");
    }
    // A second page that is not there is no whole list either.
    let rig = Rig::new(|seen| match seen.number {
        0 => Reply::ok(OCI_INDEX, &index(&["a"]))
            .and("Link", &format!("<{}?page=2>; rel=\"next\"", seen.target)),
        _ => Reply::status(500),
    })
    .await;
    assert!(referrers(&rig).await.unwrap_err().is_away());
    // Pages without end.
    let rig = Rig::new(|seen| {
        Reply::ok(OCI_INDEX, &index(&["a"]))
            .and("Link", &format!("<{}>; rel=\"next\"", seen.target))
    })
    .await;
    assert_eq!(referrers(&rig).await.unwrap_err().kind, Kind::Wrong);
}
