//! What the upstream is asked for an unchanged image that is pulled again: one HEAD by tag with `always`, else nothing.

use anyhow::Result;

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Plan};
use crate::bench::site;
use crate::bench::stored::{REPOSITORY, TAG};
use crate::bench::world::World;
use crate::{Client, Image};

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let image = Image::multi(5).build();
    let mut figures = Vec::new();
    for check in ["always", "never"] {
        let counting = site::Config {
            counts: true,
            ..site::Config::default()
        };
        let origin = counting.start(world, REPOSITORY, TAG, &image).await?;
        let Some(mesh) = mesh::Config::new(Plan::of(origin.host()).check(check).chain(1))
            .start(world)
            .await?
        else {
            return Ok(Vec::new());
        };
        let client = Client::new(&mesh.leaf().url);
        let digest = client.pull(REPOSITORY, TAG, "amd64").await?.digest;
        mesh.settled().await?;
        let asked =
            || Ok::<_, anyhow::Error>((origin.count("HEAD", "")?, origin.count("GET", "")?));
        for (reference, how) in [(TAG.to_owned(), "tag"), (digest.to_string(), "digest")] {
            let before = asked()?;
            client.pull(REPOSITORY, &reference, "amd64").await?;
            let after = asked()?;
            let (heads, gets) = (after.0 - before.0, after.1 - before.1);
            let goal = if check == "always" && how == "tag" {
                1.0
            } else {
                0.0
            };
            figures.push(
                Figure::new(
                    format!("warm pull by {how}, check: {check}, upstream requests"),
                    Unit::Count,
                )
                .ours((heads + gets) as f64)
                .goal(Goal::Exactly(goal))
                .note(format!("{heads} HEAD, {gets} GET")),
            );
        }
    }
    Ok(figures)
}
