//! One image, stored by every server that is compared, warm: nginx, docker-registry as a registry and as a proxy, and us, once
//! without and once with a log line for each request.

use anyhow::Result;

use crate::bench::mesh::{self, Mesh, Plan};
use crate::bench::sample::{NGINX, REGISTRY, REGISTRY_PROXY, REGMESH, REGMESH_LOGGING, Server};
use crate::bench::site::{self, Site};
use crate::bench::usage::Meter;
use crate::bench::world::World;
use crate::peer::{DockerRegistry, Skopeo};
use crate::{Client, Image};

pub const REPOSITORY: &str = "bench/app";
pub const TAG: &str = "1";

pub struct Stored {
    pub image: Image,
    pub site: Site,
    registry: DockerRegistry,
    proxy: DockerRegistry,
    pub node: Option<Mesh>,
    logging: Option<Mesh>,
}

impl Stored {
    pub async fn start(world: &World, image: Image) -> Result<Self> {
        let site = site::Config::default()
            .start(world, REPOSITORY, TAG, &image)
            .await?;
        let registry = DockerRegistry::quiet().await?;
        Skopeo::new()?
            .push(&image, &format!("{}/{REPOSITORY}:{TAG}", registry.host()))
            .await?;
        let proxy = DockerRegistry::quiet_proxy_of(&site.url()).await?;
        Client::new(proxy.url())
            .pull(REPOSITORY, TAG, "amd64")
            .await?;
        let node = node(world, &site, "warn").await?;
        let logging = node_if_small(world, &site, &image).await?;
        Ok(Self {
            image,
            site,
            registry,
            proxy,
            node,
            logging,
        })
    }

    /// Everyone who has the image.
    pub fn servers(&self) -> Vec<Server> {
        let nginx = Server {
            name: NGINX,
            url: self.site.url(),
            meter: self.site.meter(),
        };
        let ours = [(REGMESH, &self.node), (REGMESH_LOGGING, &self.logging)];
        let ours = ours.into_iter().filter_map(|(name, mesh)| {
            let mesh = mesh.as_ref()?;
            Some(Server {
                name,
                url: mesh.leaf().url.clone(),
                meter: mesh.meter(),
            })
        });
        let registries = [
            server(REGISTRY, &self.registry),
            server(REGISTRY_PROXY, &self.proxy),
        ];
        [nginx].into_iter().chain(ours).chain(registries).collect()
    }

    /// Only nginx and us.
    pub fn two(&self) -> Vec<Server> {
        let mut servers = self.servers();
        servers.retain(|server| [NGINX, REGMESH].contains(&server.name));
        servers
    }
}

/// The path of the manifest by tag.
pub fn manifest_path() -> String {
    format!("/v2/{REPOSITORY}/manifests/{TAG}")
}

/// The path of an image's largest blob.
pub fn blob_path(image: &Image) -> String {
    format!("/v2/{REPOSITORY}/blobs/{}", image.largest().0)
}

fn server(name: &'static str, registry: &DockerRegistry) -> Server {
    Server {
        name,
        url: registry.url(),
        meter: Meter::of(registry.pid()),
    }
}

/// A node that has pulled the image from `site` and never asks again.
async fn node(world: &World, site: &Site, log: &'static str) -> Result<Option<Mesh>> {
    let topology = Plan::of(site.host()).check("never").chain(1);
    let mesh = mesh::Config::new(topology).log(log).start(world).await?;
    if let Some(mesh) = &mesh {
        Client::new(&mesh.leaf().url)
            .pull(REPOSITORY, TAG, "amd64")
            .await?;
        mesh.settled().await?;
    }
    Ok(mesh)
}

/// A line for each request matters only where requests are small.
async fn node_if_small(world: &World, site: &Site, image: &Image) -> Result<Option<Mesh>> {
    match image.largest().1.len() < 1024 * 1024 {
        true => node(world, site, "info").await,
        false => Ok(None),
    }
}
