//! The CLI as people use it: the real binary against the fleet's control plane, outputs kept apart.

use std::path::Path;
use std::process::Stdio;

use runtime::Clock;
use serde_json::Value;
use tokio::process::Command;

use super::Fleet;
use crate::eventually::BOUND;

/// A command that ended.
#[derive(Debug, Clone)]
pub struct Ran {
    pub command: String,
    pub code: Option<i32>,
    /// Data.
    pub out: String,
    /// Words.
    pub err: String,
}

impl Fleet {
    /// Runs a command with the address and token of the control plane.
    pub async fn regmesh(&self, args: &[&str]) -> Ran {
        let token = self.control_data().join("admin.token");
        let env = [("REGMESH_CONTROL", self.api())];
        let token = token.display().to_string();
        let args = [args, &["--token-file", &token]].concat();
        run(self.program, self.dir(), &args, &env).await
    }

    /// Runs a command with this environment and nothing else.
    pub async fn bare(&self, args: &[&str], env: &[(&str, String)]) -> Ran {
        run(self.program, self.dir(), args, env).await
    }

    /// Where the API is.
    pub fn api(&self) -> String {
        self.control.api()
    }

    /// The admin token.
    pub fn admin_token(&self) -> String {
        let path = self.control_data().join("admin.token");
        let text = std::fs::read_to_string(path).expect("made at the first start");
        text.trim().to_owned()
    }
}

/// Runs the program to its end in `dir`, which is also its home.
pub async fn run(program: &str, dir: &Path, args: &[&str], env: &[(&str, String)]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env_clear();
    command.env("HOME", dir).stdin(Stdio::null());
    command.envs(env.iter().map(|(name, value)| (*name, value.as_str())));
    let output = command.kill_on_drop(true).output();
    let told = args.join(" ");
    let output = match Clock::system().timeout(BOUND * 3, output).await {
        Ok(output) => output.expect("the program starts"),
        Err(_) => panic!("`regmesh {told}` does not end"),
    };
    Ran {
        command: told,
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    /// Panics unless it ended with that code.
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Panics unless it ended well.
    pub fn well(self) -> Self {
        self.ends(0)
    }

    /// Panics unless its words have all of these in them.
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not said: {self:#?}");
        }
        self
    }

    /// Its data.
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.out);
        parsed.unwrap_or_else(|error| panic!("no JSON ({error}): {self:#?}"))
    }
}
