//! regmesh-bench: makes every figure of `spec/qualities.md` and prints it beside the peers'.
//!
//! The program under test is `REGMESH_BIN`, else the `regmesh` next to this one, which is built first when cargo runs us. It
//! never fails on a time; it ends with 1 when a row could not be measured at all.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use tests::bench::{self, Done, Options, ROWS, Row, World, machine, report::Report};
use tests::peer;
use tokio::signal::unix::{SignalKind, signal};

/// Measure regmesh beside nginx and Debian's docker-registry
#[derive(Debug, Parser)]
struct Args {
    /// Only these rows (see --list); may be repeated
    #[arg(long, num_args = 1.., value_name = "ROW")]
    only: Vec<String>,
    /// Print the rows there are
    #[arg(long)]
    list: bool,
    /// Short runs and small blobs: whether everything works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// How to print the result
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    /// Write the result as a page to this file, too
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Where the files of a run go (some 10 GiB)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure the peers alone
    #[arg(long)]
    peers_only: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        ROWS.iter()
            .for_each(|row| println!("{:12} {}", row.name, row.title));
        return Ok(ExitCode::SUCCESS);
    }
    let rows = chosen(&args.only)?;
    ensure!(
        peer::available(machine::NEEDED),
        "needed: apt-get install nginx-light docker-registry skopeo wrk curl apache2-utils"
    );
    let regmesh = if args.peers_only {
        None
    } else {
        Some(program()?)
    };
    let world = World::new(Options {
        quick: args.quick,
        dir: args.dir,
        regmesh,
    })?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    // Dropping the rows ends every process that they started.
    tokio::select! {
        report = measure(&world, rows) => print(&report, args.output, args.write),
        _ = terminated.recv() => Ok(ExitCode::FAILURE),
        _ = interrupted.recv() => Ok(ExitCode::FAILURE),
    }
}

async fn measure(world: &World, rows: Vec<&'static Row>) -> Report {
    let machine = machine::describe(world).await;
    let mut done: Vec<Done> = Vec::new();
    for row in rows {
        eprintln!("{} …", row.title);
        done.push(bench::run(row, world).await);
    }
    Report {
        machine,
        rows: done,
    }
}

fn print(report: &Report, output: Format, write: Option<PathBuf>) -> Result<ExitCode> {
    match output {
        Format::Table => print!("{}", report.table()),
        Format::Json => println!("{:#}", report.json()),
    }
    if let Some(file) = write {
        std::fs::write(&file, report.page()).with_context(|| file.display().to_string())?;
    }
    Ok(if report.failures().next().is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn chosen(only: &[String]) -> Result<Vec<&'static Row>> {
    let unknown: Vec<&String> = only
        .iter()
        .filter(|name| !ROWS.iter().any(|row| row.name == **name))
        .collect();
    ensure!(
        unknown.is_empty(),
        "no such row: {unknown:?}; --list prints them"
    );
    Ok(ROWS
        .iter()
        .filter(|row| only.is_empty() || only.iter().any(|name| name == row.name))
        .collect())
}

/// The program under test; built first when cargo runs us and nobody named one.
fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("REGMESH_BIN") {
        return Ok(path.into());
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        let built = Command::new(cargo)
            .args(["build", "--release", "--quiet", "-p", "cli"])
            .status()?;
        ensure!(built.success(), "regmesh does not build");
    }
    let path = std::env::current_exe()?.with_file_name("regmesh");
    ensure!(
        path.is_file(),
        "{} is not there: build it, or name it by REGMESH_BIN",
        path.display()
    );
    Ok(path)
}
