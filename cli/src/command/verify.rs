//! `regmesh verify DATA_DIR`: every blob hashes to its name, every link resolves; exit 3 if not.

use crate::{args, exit::Exit, output};

/// Checks, reports, and says by its exit whether all is well.
///
/// # Errors
/// When the directory cannot be read at all.
pub fn run(verify: &args::Verify, global: &args::Global) -> anyhow::Result<Exit> {
    let report = node::store::verify::verify(&verify.data_dir)?;
    output::object(global, &report, || report.to_string())?;
    Ok(if report.problems.is_empty() { Exit::Ok } else { Exit::CheckFailed })
}
