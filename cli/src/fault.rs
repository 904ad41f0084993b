//! The stable names of what goes wrong: every error that is printed begins with one, for scripts and for whoever looks it up.
//!
//! What the control plane or a node refuses keeps the code of its problem, whatever the command says around it. What only this program
//! can tell has a [`Code`]. Contexts without one are more words about the error within. `docs/cli.md` lists the codes.

use std::fmt;

use wire::api::problem::Problem;

use crate::exit::Wrong;

/// What went wrong here. The names are a contract: they are added, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Called wrongly.
    Usage,
    /// No control plane answers.
    ControlUnreachable,
    /// What answers is no control plane.
    NotAControlPlane,
    /// The control plane says something that this release does not understand.
    UnknownAnswer,
    /// The control plane ended a stream, and does not come back.
    StreamEnded,
    /// An address is not one.
    InvalidAddress,
    /// There is no token.
    NoToken,
    /// There is no home directory.
    NoHome,
    /// What was named is not there.
    NotFound,
    /// It is so already, or nothing was asked for.
    NoChange,
    /// Nobody agreed.
    NotAgreed,
    /// Not done when time was over.
    TimedOut,
    /// A file or folder cannot be read.
    FileUnreadable,
    /// A file or folder cannot be written.
    FileUnwritable,
    /// A file, or standard input, does not hold what it should.
    InvalidFile,
    /// A topology with problems.
    InvalidTopology,
    /// A node, or something else, does not do it.
    Refused,
    /// An image cannot be had.
    PullFailed,
    /// A registry does not answer.
    RegistryUnreachable,
    /// A registry gives no token.
    RegistryRefused,
    /// A program that keeps docker's logins does not.
    CredentialHelper,
    /// A server cannot start, or not go on.
    CannotStart,
    /// A node is not let into the mesh any more.
    NotAdmitted,
    /// The demo showed something else than it promises.
    DemoFailed,
    /// Anything else.
    Failed,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 25] = [
        Self::Usage,
        Self::ControlUnreachable,
        Self::NotAControlPlane,
        Self::UnknownAnswer,
        Self::StreamEnded,
        Self::InvalidAddress,
        Self::NoToken,
        Self::NoHome,
        Self::NotFound,
        Self::NoChange,
        Self::NotAgreed,
        Self::TimedOut,
        Self::FileUnreadable,
        Self::FileUnwritable,
        Self::InvalidFile,
        Self::InvalidTopology,
        Self::Refused,
        Self::PullFailed,
        Self::RegistryUnreachable,
        Self::RegistryRefused,
        Self::CredentialHelper,
        Self::CannotStart,
        Self::NotAdmitted,
        Self::DemoFailed,
        Self::Failed,
    ];

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::ControlUnreachable => "control-unreachable",
            Self::NotAControlPlane => "not-a-control-plane",
            Self::UnknownAnswer => "unknown-answer",
            Self::StreamEnded => "stream-ended",
            Self::InvalidAddress => "invalid-address",
            Self::NoToken => "no-token",
            Self::NoHome => "no-home",
            Self::NotFound => "not-found",
            Self::NoChange => "no-change",
            Self::NotAgreed => "not-agreed",
            Self::TimedOut => "timed-out",
            Self::FileUnreadable => "file-unreadable",
            Self::FileUnwritable => "file-unwritable",
            Self::InvalidFile => "invalid-file",
            Self::InvalidTopology => "invalid-topology",
            Self::Refused => "refused",
            Self::PullFailed => "pull-failed",
            Self::RegistryUnreachable => "registry-unreachable",
            Self::RegistryRefused => "registry-refused",
            Self::CredentialHelper => "credential-helper",
            Self::CannotStart => "cannot-start",
            Self::NotAdmitted => "not-admitted",
            Self::DemoFailed => "demo-failed",
            Self::Failed => "failed",
        }
    }

    /// An error, or words around one, with this code.
    #[must_use]
    pub fn says(self, text: impl Into<String>) -> Fault {
        Fault {
            code: self,
            text: text.into(),
        }
    }

    /// An error with this code.
    #[must_use]
    pub fn error(self, text: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(self.says(text))
    }

    /// The error, with this code unless it has one.
    #[must_use]
    pub fn unless_known(self, error: anyhow::Error) -> anyhow::Error {
        match known(&error) {
            Some(_) => error,
            None => self.error(told(&error)),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong here, by name and in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name.
    pub code: Code,
    /// What, where, why and what to do.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// The code of an error.
#[must_use]
pub fn code(error: &anyhow::Error) -> &str {
    known(error).unwrap_or(Code::Failed.as_str())
}

fn known(error: &anyhow::Error) -> Option<&str> {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return Some(&problem.code);
    }
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return Some(fault.code.as_str());
    }
    error.is::<Wrong>().then_some(Code::Usage.as_str())
}

/// The error and its causes in words, each said once: some errors name their cause in their own text. Without the code.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = match cause.downcast_ref::<Problem>() {
            Some(problem) => problem.detail.clone(),
            None => cause.to_string(),
        };
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error: anyhow::Result<()> = Err(anyhow::anyhow!("no such file"));
        let error = error.context("the store failed: no such file");
        let error = error.context("node hub cannot start").unwrap_err();
        let expected = "node hub cannot start: the store failed: no such file";
        assert_eq!((code(&error), told(&error).as_str()), ("failed", expected));
    }

    #[test]
    fn the_code_is_the_control_planes_whatever_is_said_around_it() {
        let problem = Problem::new(401, "invalid-token", "the token has ended");
        let error = anyhow::Error::new(problem).context(Code::NoToken.says("sign in"));
        let error = error.context("nothing to compare with");
        assert_eq!(code(&error), "invalid-token");
        let expected = "nothing to compare with: sign in: the token has ended";
        assert_eq!(told(&error), expected);
    }

    #[test]
    fn a_code_stays_under_more_words_and_is_given_where_there_is_none() {
        let error = Code::TimedOut.error("not done").context("more words");
        let error = Code::CannotStart.unless_known(error);
        assert_eq!(
            (code(&error), told(&error).as_str()),
            ("timed-out", "more words: not done")
        );
        let plain = anyhow::anyhow!("disk").context("no start");
        let error = Code::CannotStart.unless_known(plain);
        assert_eq!(
            (code(&error), told(&error).as_str()),
            ("cannot-start", "no start: disk")
        );
        assert_eq!(code(&Wrong("x".to_owned()).into()), "usage");
    }

    #[test]
    fn codes_are_words_with_dashes_and_each_is_in_the_documentation() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        let docs = fs::read_to_string(docs).unwrap();
        for code in Code::ALL.map(Code::as_str) {
            assert!(
                code.bytes().all(|b| b == b'-' || b.is_ascii_lowercase()),
                "{code}"
            );
            assert!(
                docs.contains(&format!("| `{code}` |")),
                "{code} is not in docs/cli.md"
            );
        }
    }

    /// Files below `dir` that make errors of plain text, except those that promise their own code for whatever goes wrong.
    fn nameless(dir: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("command/demo") {
                nameless(&path, found);
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code: String = code.split_whitespace().collect();
            let plain = ["anyhow!(\"", "bail!(\"", "bail!(format", "Error::msg"];
            let plain = plain.iter().any(|made| code.contains(made));
            let ensured = code.split("ensure!(").skip(1).any(|rest| {
                let end = rest.find(");").unwrap_or(rest.len());
                !rest[..end].contains("Code::")
            });
            if (plain || ensured) && !path.ends_with("command/demo.rs") && path.is_file() {
                found.push(path.display().to_string());
            }
        }
    }

    #[test]
    fn no_error_is_made_without_a_code() {
        let mut found = Vec::new();
        nameless(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        assert_eq!(found, [""; 0]);
    }
}
