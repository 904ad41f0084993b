//! Which words may stand where: absences of `style.md` that a lint cannot say.

use crate::source::code::{code, is_test_file};
use crate::source::{File, Tree};

/// Words that only some files may use, and why.
struct Only {
    words: &'static [&'static str],
    /// In these crates, or everywhere when empty.
    within: &'static [&'static str],
    /// But not in these files.
    home: fn(&str) -> bool,
    why: &'static str,
}

/// Nobody's home.
const NOWHERE: fn(&str) -> bool = |_| false;

const RULES: [Only; 12] = [
    Only {
        words: &[
            "tokio::",
            "std::fs",
            "std::net::Tcp",
            "std::net::Udp",
            "std::net::ToSocketAddrs",
            "std::env",
            "SystemTime",
            "Instant",
            "Utc::now",
            "Local::now",
        ],
        within: &["wire", "topology"],
        home: NOWHERE,
        why: "wire and topology do no I/O and read no clock",
    },
    Only {
        words: &["axum::", "use axum", "axum_extra::"],
        within: &[],
        home: |path| {
            ["node/src/http/", "control/src/http/", "runtime/"]
                .iter()
                .any(|dir| path.starts_with(dir))
                || matches!(path, "node/src/http.rs" | "control/src/http.rs")
                // Servers that unit tests alone start.
                || matches!(
                    path,
                    "identity/src/keys/rig.rs" | "identity/src/token_source/scripted.rs"
                )
        },
        why: "only the rim speaks HTTP as a server",
    },
    Only {
        words: &["rusqlite::", "use rusqlite", "sqlx::", "use sqlx"],
        within: &[],
        home: |path| {
            let own =
                |part: &str| matches!(part.trim_end_matches(".rs"), "sqlite" | "postgres" | "sql");
            path.split('/').any(own)
        },
        why: "only sqlite.rs, postgres.rs and sql.rs speak SQL",
    },
    Only {
        words: &["tokio::spawn", "task::spawn(", "spawn_local", "JoinSet"],
        within: &[],
        home: |path| path == "runtime/src/tasks.rs",
        why: "every task has an owner: spawn through runtime::Tasks",
    },
    Only {
        words: &["tonic::", "use tonic", "prost::", "tonic_prost::"],
        within: &[],
        home: |path| {
            [
                "control/src/grpc",
                "node/src/agent",
                "wire/src/node_service",
            ]
            .iter()
            .filter_map(|rim| path.strip_prefix(rim))
            .any(|rest| rest == ".rs" || rest.starts_with('/'))
                || path == "wire/build.rs"
        },
        why: "only the rim speaks gRPC",
    },
    Only {
        words: &["std::env", "env::var", "env::set_var", "env::args"],
        within: &[],
        home: |path| {
            path.starts_with("cli/")
                || path == "identity/src/secret/env.rs"
                // A server for tests; it reads whether a missing one is a failure.
                || path == "control/src/state/postgres/server.rs"
        },
        why: "only the command line and secrets read the environment",
    },
    Only {
        words: &["Instant::now", "SystemTime::now", "Utc::now", "Local::now"],
        within: &[],
        home: |path| path == "runtime/src/clock.rs",
        why: "only runtime::Clock reads a clock",
    },
    Only {
        words: &["TcpListener", "TcpStream", "UdpSocket", "UnixListener"],
        within: &["wire", "topology", "identity", "node", "control"],
        home: NOWHERE,
        why: "runtime opens the sockets: what accepts and what connects is bounded there",
    },
    Only {
        words: &["reqwest::Client", "hyper::client", "hyper_util::client"],
        within: &[],
        home: |path| path.starts_with("runtime/"),
        why: "requests leave through runtime::egress, with its deadlines and roots",
    },
    Only {
        words: &["unbounded_channel", "mpsc::unbounded"],
        within: &[],
        home: NOWHERE,
        why: "every queue takes a limit",
    },
    Only {
        words: &["serde_saphyr::"],
        within: &["wire", "runtime", "identity", "topology", "node", "control"],
        home: |path| matches!(path, "topology/src/yaml.rs" | "topology/src/document.rs"),
        why: "a document is read and written in one place",
    },
    Only {
        words: &[
            "azure_core",
            "azure_identity",
            "azure_security_keyvault_secrets",
        ],
        within: &[],
        home: |path| {
            [
                "identity/src/token_source/azure",
                "identity/src/secret/key_vault",
            ]
            .iter()
            .filter_map(|seam| path.strip_prefix(seam))
            .any(|rest| rest == ".rs" || rest.starts_with('/'))
        },
        why: "the surprises of Azure's crates stay behind two seams: token_source/azure and secret/key_vault",
    },
];

/// Every forbidden word in code that is not a test.
pub fn words(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for each in &tree.crates {
        let rules: Vec<&Only> = RULES
            .iter()
            .filter(|rule| rule.within.is_empty() || rule.within.contains(&each.name.as_str()))
            .collect();
        for file in each.files.iter().filter(|file| !is_test_file(&file.path)) {
            let code = code(&file.text);
            for rule in rules.iter().filter(|rule| !(rule.home)(&file.path)) {
                wrong.extend(
                    found(&code, rule)
                        .map(|(line, word)| format!("{}:{line}: {word}: {}", file.path, rule.why)),
                );
            }
        }
    }
    wrong
}

fn found<'a>(code: &'a str, rule: &'a Only) -> impl Iterator<Item = (usize, &'static str)> + 'a {
    code.lines().enumerate().flat_map(move |(number, line)| {
        let here = rule.words.iter().filter(move |word| stands_in(line, word));
        here.map(move |word| (number + 1, *word))
    })
}

/// `word` in `line`, not as the end of a longer word.
fn stands_in(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Every file that does not open by saying what it is for.
pub fn docs(tree: &Tree) -> Vec<String> {
    let undocumented = |file: &&File| {
        let first = file.text.lines().next().unwrap_or_default();
        let said = first.strip_prefix("//!").map(str::trim).unwrap_or_default();
        said.len() < 10
    };
    tree.files()
        .filter(undocumented)
        .map(|file| {
            format!(
                "{}: does not open with a //! that says what it is for",
                file.path
            )
        })
        .collect()
}

/// Every `mod.rs`.
pub fn no_mod_files(tree: &Tree) -> Vec<String> {
    tree.files()
        .filter(|file| file.path.ends_with("/mod.rs"))
        .map(|file| format!("{}: name.rs stands beside its folder", file.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fake;

    fn wrong(name: &str, path: &str, text: &str) -> usize {
        let tree = Tree {
            crates: vec![fake(name, "", &[(path, text)])],
        };
        words(&tree).len() + docs(&tree).len() + no_mod_files(&tree).len()
    }

    const DOC: &str = "//! What this file is for.\n";

    #[test]
    fn each_absence_is_a_violation_where_it_is_broken() {
        for (name, path, code) in [
            ("wire", "src/a.rs", "use tokio::time;"),
            ("topology", "src/a.rs", "let x = std::fs::read(p);"),
            ("wire", "src/a.rs", "std::time::SystemTime::now()"),
            ("wire", "src/a.rs", "std::env::var(\"X\")"),
            ("node", "src/registry/a.rs", "use axum::body::Body;"),
            ("cli", "src/a.rs", "axum::Router::new()"),
            ("node", "src/store/metadata.rs", "use rusqlite::Connection;"),
            ("node", "src/fill.rs", "tokio::spawn(async {});"),
            ("node", "src/fill.rs", "use tokio::task; task::spawn(x);"),
            ("node", "src/fill.rs", "let set = JoinSet::new();"),
            ("control", "src/publish.rs", "use tonic::Status;"),
            ("node", "src/user_agent/a.rs", "use tonic::Status;"),
            ("runtime", "src/channel.rs", "tonic::body::Body"),
            ("wire", "src/api.rs", "use prost::Message;"),
            ("control", "src/publish.rs", "sqlx::query(x)"),
            ("control", "src/app/listen.rs", "use axum::Router;"),
            ("node", "src/app.rs", "std::env::var(\"X\")"),
            ("identity", "src/secret.rs", "use std::env;\nenv::var(x)"),
            ("node", "src/fill.rs", "let now = Instant::now();"),
            ("node", "src/app/listen.rs", "use tokio::net::TcpListener;"),
            ("identity", "src/keys/jwks.rs", "reqwest::Client::new()"),
            ("runtime", "src/tasks.rs", "mpsc::unbounded_channel()"),
            ("control", "src/publish.rs", "serde_saphyr::from_str(x)"),
            (
                "identity",
                "src/token_source/federated.rs",
                "use azure_identity::ManagedIdentityCredential;",
            ),
            (
                "identity",
                "src/token_source/azure_b2c.rs",
                "azure_core::Error",
            ),
            (
                "node",
                "src/upstream/pool.rs",
                "use azure_security_keyvault_secrets::SecretClient;",
            ),
            ("node", "src/fill/mod.rs", "fn f() {}"),
        ] {
            assert!(
                wrong(name, path, &format!("{DOC}{code}")) > 0,
                "{name}/{path}: {code}"
            );
        }
        for text in [
            "",
            "fn f() {}",
            "//!\nfn f() {}",
            "// A comment.\n//! Late words.",
        ] {
            assert_eq!(wrong("node", "src/a.rs", text), 1, "{text:?}");
        }
    }

    #[test]
    fn each_word_is_at_home_somewhere() {
        for (name, path, code) in [
            ("runtime", "src/tasks.rs", "tokio::spawn(x)"),
            ("runtime", "src/operational.rs", "use axum::Router;"),
            ("node", "src/http/blob.rs", "use axum::Router;"),
            ("node", "src/http.rs", "use axum::Router;"),
            (
                "node",
                "src/store/metadata/sqlite.rs",
                "use rusqlite::Connection;",
            ),
            (
                "node",
                "src/store/metadata/sqlite/read.rs",
                "use rusqlite::Connection;",
            ),
            ("runtime", "src/sql/open.rs", "use rusqlite::Connection;"),
            ("control", "src/grpc/enrol.rs", "use tonic::Status;"),
            ("control", "src/grpc.rs", "use tonic::Status;"),
            ("node", "src/agent/connect.rs", "use tonic::Status;"),
            ("wire", "src/node_service.rs", "use tonic::Status;"),
            ("identity", "src/secret/env.rs", "std::env::var(name)"),
            ("cli", "src/main.rs", "std::env::args_os()"),
            ("runtime", "src/clock.rs", "Instant::now()"),
            ("runtime", "src/listener.rs", "use tokio::net::TcpListener;"),
            ("runtime", "src/egress.rs", "reqwest::Client::builder()"),
            ("topology", "src/yaml.rs", "serde_saphyr::from_str(x)"),
            ("topology", "src/document.rs", "serde_saphyr::to_string(x)"),
            ("cli", "src/output.rs", "serde_saphyr::to_string(x)"),
            (
                "identity",
                "src/token_source/azure/ask.rs",
                "use azure_core::credentials::TokenCredential;",
            ),
            (
                "identity",
                "src/secret/key_vault.rs",
                "use azure_core::Error;",
            ),
            (
                "node",
                "src/fill.rs",
                "// tokio::spawn would lose it\nself.tasks.spawn(\"tokio::spawn\", x);",
            ),
            (
                "wire",
                "src/a.rs",
                "#[cfg(test)]\nmod tests {\n std::fs::read(x) }",
            ),
            ("wire", "src/a.rs", "use std::net::IpAddr;"),
        ] {
            assert_eq!(
                wrong(name, path, &format!("{DOC}{code}")),
                0,
                "{name}/{path}: {code}"
            );
        }
    }
}
