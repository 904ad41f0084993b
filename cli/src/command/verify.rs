//! `regmesh verify DATA_DIR`: every blob hashes to its name, every link resolves; exit 3 if not.

use anyhow::Context;
use node::store::verify::Report;

use crate::{args, exit::Exit, fault::Code, output};

/// Checks, reports, and says by its exit whether all is well.
///
/// # Errors
/// When the directory cannot be read at all.
pub fn run(verify: &args::Verify, global: &args::Global) -> anyhow::Result<Exit> {
    let path = verify.data_dir.display();
    let report = node::store::verify::verify(&verify.data_dir, &runtime::file::Real)
        .with_context(|| Code::FileUnreadable.says(format!("cannot check {path}")))?;
    output::object(global, &report, || table(&report))?;
    Ok(if report.problems.is_empty() {
        Exit::Ok
    } else {
        Exit::CheckFailed
    })
}

fn table(report: &Report) -> String {
    let Report {
        blobs,
        bytes,
        links,
        tags,
        problems,
    } = report;
    let mut text = format!(
        "{blobs} contents of {bytes} bytes, {links} links, {tags} tags: {}",
        output::count(problems.len(), "problem")
    );
    for problem in problems {
        text.push('\n');
        text.push_str(problem);
    }
    text
}
