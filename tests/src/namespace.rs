//! A network of a test's own, where addresses and names of the real world are the test's: 169.254.169.254, `login.microsoftonline.com`.
//!
//! The test runs on a thread that was moved into a fresh network namespace, whose loopback interface carries the addresses; whatever it
//! binds, connects or starts stays in there. Names are those of a hosts file that only a started program sees. Outside nothing
//! changes, and nothing of the outside can be reached. Needs root; [`inside`] skips loudly without.

use std::fs::File;
use std::future::Future;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A named namespace; deleted when dropped.
struct Namespace(String);

/// Runs `test` inside a fresh network with these addresses. Without the privilege it tells so loudly and does nothing.
pub fn inside<F, T>(addresses: &[IpAddr], test: F)
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let (name, addresses) = (namespace.0.clone(), addresses.to_vec());
    let thread = std::thread::spawn(move || {
        let file = File::open(format!("/run/netns/{name}")).expect("just made");
        let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        moved.expect("who may make one may enter it");
        ip(&["link", "set", "lo", "up"]).expect("its own interface");
        for address in addresses {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            ip(&["addr", "add", &format!("{address}/{bits}"), "dev", "lo"]).expect("an address");
        }
        // One thread, and what it starts, is in there.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(test());
    });
    if let Err(panic) = thread.join() {
        drop(namespace);
        std::panic::resume_unwind(panic);
    }
}

/// The words that start a program which resolves names by this hosts file, to be put before it.
pub fn with_hosts(dir: &Path, hosts: &[(IpAddr, &str)]) -> Vec<String> {
    let lines = hosts
        .iter()
        .map(|(address, name)| format!("{address} {name}\n"));
    let text: String = std::iter::once("127.0.0.1 localhost\n".to_owned())
        .chain(lines)
        .collect();
    let file = dir.join("hosts");
    std::fs::write(&file, text).expect("a test's directory");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    ["unshare", "--mount", "sh", "-c", script]
        .map(str::to_owned)
        .into_iter()
        .chain([file.display().to_string()])
        .collect()
}

impl Namespace {
    fn new() -> Option<Self> {
        let name = format!("regmesh-{}", uuid::Uuid::new_v4().simple());
        match ip(&["netns", "add", &name]) {
            Ok(()) => Some(Self(name)),
            Err(error) => {
                eprintln!(
                    "\n!!! SKIPPED, because no network namespace can be made: this test proves nothing here !!!\n{error}\n"
                );
                None
            }
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.0]);
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let program = crate::peer::program("ip").map_err(|error| format!("{error:#}"))?;
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::{Directory, Imds};

    #[test]
    fn the_metadata_address_answers_inside() {
        inside(&[[169, 254, 169, 254].into()], || async {
            let directory = Directory::default();
            let imds = Imds::start(&directory).await;
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.get(imds.url()).send().await.unwrap();
            assert_eq!(answer.status(), 404);
            assert_eq!(imds.record().len(), 1);
        });
    }
}
