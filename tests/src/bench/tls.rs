//! The same over TLS 1.3 with one self-signed P-256 certificate, nginx with OpenSSL beside us.

use std::fs;

use anyhow::Result;

use crate::bench::blob;
use crate::bench::fetch;
use crate::bench::figure::Figure;
use crate::bench::mesh::{self, Plan};
use crate::bench::sample::{NGINX, REGMESH, Server};
use crate::bench::site::{self, Certificate};
use crate::bench::stored::{REPOSITORY, TAG, blob_path};
use crate::bench::world::World;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let stored = world.big().await?;
    let (dir, path) = (world.fresh()?, blob_path(&stored.image));
    let certificate = certificate(dir.path())?;
    let secure = site::Config {
        tls: Some(certificate.clone()),
        ..site::Config::default()
    };
    let site = secure.start(world, REPOSITORY, TAG, &stored.image).await?;
    let plan = Plan {
        tls: Some(certificate),
        ..Plan::of(stored.site.host()).check("never")
    };
    let mesh = mesh::Config::new(plan.chain(1)).start(world).await?;
    let mut servers = vec![Server {
        name: NGINX,
        url: site.url(),
        meter: site.meter(),
    }];
    if let Some(mesh) = &mesh {
        fetch::get(&format!("{}{path}", mesh.leaf().url)).await?;
        mesh.settled().await?;
        servers.push(Server {
            name: REGMESH,
            url: mesh.leaf().url.clone(),
            meter: mesh.meter(),
        });
    }
    let transfers = blob::compare(world, &servers, &path).await?;
    let figures = blob::figures("TLS blob 1 GiB", &transfers, world.size_note()).into_iter();
    // The table's goal is about throughput alone.
    Ok(figures
        .map(|figure| match figure.what.ends_with("CPU") {
            true => Figure {
                goal: None,
                ..figure
            },
            false => figure,
        })
        .collect())
}

fn certificate(dir: &std::path::Path) -> Result<Certificate> {
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&cert, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    Ok(Certificate {
        cert: cert.display().to_string(),
        key: key.display().to_string(),
    })
}
