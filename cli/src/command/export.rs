//! `regmesh export`: the topology in force, as a file that `plan` and `apply` take; `export ca`: whom clients of its nodes trust.

use wire::api::resource::Topology;

use crate::{
    args::{Export, Exported, Format, Global},
    client::{Client, NOTHING},
    exit::Exit,
    output,
};

/// Prints it.
///
/// # Errors
/// When the control plane cannot be asked, or nothing was ever applied.
pub async fn run(export: &Export, global: &Global) -> anyhow::Result<Exit> {
    if let Some(Exported::Ca) = export.what {
        output::data(authorities(global).await?.trim_end());
        return Ok(Exit::Ok);
    }
    let topology = fetch(global).await?;
    match global.output {
        Format::Table | Format::Yaml => {
            output::data(topology.document.trim_end());
            output::words(global, &format!("generation {}", topology.generation));
        }
        Format::Json => output::object(global, &topology, String::new)?,
    }
    Ok(Exit::Ok)
}

/// The topology in force as files that can be read.
///
/// # Errors
/// When the control plane cannot be asked, or nothing was ever applied.
pub async fn files(global: &Global) -> anyhow::Result<Vec<(String, String)>> {
    let topology = fetch(global).await?;
    let name = format!("generation {}", topology.generation);
    Ok(vec![(name, topology.document)])
}

/// The mesh's CA certificates as PEM.
///
/// # Errors
/// When the control plane cannot be asked.
pub async fn authorities(global: &Global) -> anyhow::Result<String> {
    let client = Client::new(global)?;
    client.text("/api/v1/ca", "application/x-pem-file").await
}

async fn fetch(global: &Global) -> anyhow::Result<Topology> {
    let client = Client::new(global)?;
    let topology: Topology = client.get("/api/v1/topology", NOTHING).await?;
    anyhow::ensure!(
        topology.generation.0 > 0,
        "no topology was ever applied; use `regmesh apply FILE`"
    );
    Ok(topology)
}
