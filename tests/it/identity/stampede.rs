//! Token work is off the hot path: a thousand cold requests of one rule cost its upstream one exchange, a warm pull none.

use futures_util::future::join_all;
use tests::azure::{AppService, Directory};
use tests::{Acr, Image};

use super::fleet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cold_requests_of_one_rule_cost_one_exchange() {
    let mut fleet = fleet(1).await;
    let directory = Directory::default();
    let (acr, machine) = (
        Acr::start(&directory).await,
        AppService::start(&directory).await,
    );
    let reader = directory.identity("reader");
    acr.allow(&reader.object_id, "*");
    super::azure::rule_as(&mut fleet, &acr, &reader);
    fleet.environment("dev", &machine.environment());
    fleet.restart("dev").await;
    fleet.apply().await.well();
    let images: Vec<Image> = (0..10).map(|n| Image::single(8_000 + n).build()).collect();
    for (n, image) in images.iter().enumerate() {
        acr.put(&format!("team/app-{n}"), "1", image);
    }
    let client = fleet.client("dev");
    let pulls = (0..1_000).map(|n| {
        let (client, n) = (&client, n % 10);
        async move {
            client
                .manifest(&format!("acr/app-{n}"), "1")
                .await
                .unwrap()
                .0
        }
    });
    for (n, digest) in join_all(pulls).await.into_iter().enumerate() {
        assert_eq!(digest, images[n % 10].digest);
    }
    assert_eq!(acr.exchanges(), 1, "{:#?}", acr.record());
    let tokens = |acr: &Acr| acr.record().of("POST", "/oauth2/token");
    // One per repository, and no more.
    assert_eq!(tokens(&acr), 10, "{:#?}", acr.record());
    assert_eq!(machine.record().len(), 1);
    client.pull("acr/app-0", "1", "amd64").await.unwrap();
    let before = (acr.exchanges(), tokens(&acr));
    client.pull("acr/app-0", "1", "amd64").await.unwrap();
    assert_eq!((acr.exchanges(), tokens(&acr)), before);
    acr.assert_data_saw_no_secret();
}
