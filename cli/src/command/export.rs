//! `regmesh export`: the topology in force, as a file that `plan` and `apply` take.

use wire::api::resource::Topology;

use crate::{
    args::{Format, Global},
    client::{Client, NOTHING},
    exit::Exit,
    output,
};

/// Prints it.
///
/// # Errors
/// When the control plane cannot be asked, or nothing was ever applied.
pub async fn run(global: &Global) -> anyhow::Result<Exit> {
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

async fn fetch(global: &Global) -> anyhow::Result<Topology> {
    let client = Client::new(global)?;
    let topology: Topology = client.get("/api/v1/topology", NOTHING).await?;
    anyhow::ensure!(
        topology.generation.0 > 0,
        "no topology was ever applied; use `regmesh apply FILE`"
    );
    Ok(topology)
}
