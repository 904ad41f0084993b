//! Which module of a crate may use which: the pictures of `style.md` inside `node` and `control`, told as absences.
//!
//! A module is a file or folder directly below `src`; it uses another by `crate::NAME`, alone or within braces. Tests may look anywhere.

use crate::source::Tree;
use crate::source::code::{code, is_test_file};

/// Modules of a crate and those of the same crate that they must not know.
struct Ignorant {
    of: &'static str,
    modules: &'static [&'static str],
    must_not_know: &'static [&'static str],
}

const LAYERS: [Ignorant; 7] = [
    // http → registry → {rule, copy → fill} → {upstream, store}; agent, event and doctor are further rims.
    Ignorant {
        of: "node",
        modules: &[
            "registry", "rule", "copy", "fill", "upstream", "store", "event", "doctor",
        ],
        must_not_know: &["http", "agent", "app"],
    },
    Ignorant {
        of: "node",
        modules: &["rule", "copy", "fill", "upstream", "store", "event"],
        must_not_know: &["registry", "doctor"],
    },
    Ignorant {
        of: "node",
        modules: &["fill"],
        must_not_know: &["copy", "event"],
    },
    Ignorant {
        of: "node",
        modules: &["upstream", "store"],
        must_not_know: &["copy", "rule", "event"],
    },
    Ignorant {
        of: "node",
        modules: &["store"],
        must_not_know: &["upstream", "fill"],
    },
    // {http, grpc} → {publish, distribute, enrol, …} → state.
    Ignorant {
        of: "control",
        modules: &[
            "ask",
            "asking",
            "ca",
            "distribute",
            "doctor",
            "enrol",
            "explain",
            "history",
            "publish",
            "recall",
            "report",
            "seal",
            "sign_in",
            "state",
            "status",
        ],
        must_not_know: &["http", "grpc", "app"],
    },
    Ignorant {
        of: "control",
        modules: &["state", "seal"],
        must_not_know: &["publish", "distribute", "enrol", "ca", "report", "ask"],
    },
];

/// Every use of a module by one that must not know it.
pub fn layers(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for each in &tree.crates {
        for file in each.files.iter().filter(|file| !is_test_file(&file.path)) {
            let Some(module) = module(&each.name, &file.path) else {
                continue;
            };
            let forbidden: Vec<&str> = LAYERS
                .iter()
                .filter(|rule| rule.of == each.name && rule.modules.contains(&module))
                .flat_map(|rule| rule.must_not_know)
                .copied()
                .collect();
            let known = used(&code(&file.text));
            let known = known
                .iter()
                .filter(|name| forbidden.contains(&name.as_str()));
            wrong.extend(known.map(|name| {
                format!(
                    "{}: uses crate::{name}, which {module} must not know",
                    file.path
                )
            }));
        }
    }
    wrong
}

/// `node` and `node/src/store/blob.rs`: `store`.
fn module<'a>(name: &str, path: &'a str) -> Option<&'a str> {
    let below = path.strip_prefix(name)?.strip_prefix("/src/")?;
    let first = below.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// The names that follow `crate::`, also each first name within its braces.
fn used(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(inside) => names.extend(first_names(inside)),
            None => names.extend(name_at(rest)),
        }
    }
    names.sort();
    names.dedup();
    names
}

/// The first name of each path in a list that ends with the brace that closes it.
fn first_names(inside: &str) -> Vec<String> {
    let mut names: Vec<String> = name_at(inside.trim_start()).into_iter().collect();
    let mut depth = 0_usize;
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(name_at(inside[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

fn name_at(text: &str) -> Option<String> {
    let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
    let name: String = text.chars().take_while(is_part).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fake;

    fn violations(name: &str, path: &str, text: &str) -> usize {
        layers(&Tree {
            crates: vec![fake(name, "", &[(path, text)])],
        })
        .len()
    }

    #[test]
    fn a_use_upwards_is_seen_however_it_is_written() {
        for text in [
            "use crate::http;",
            "use crate::http::Body;",
            "use crate::{request, http::Body};",
            "use crate::{\n    request::{self, Target},\n    http,\n};",
            "fn f() -> crate::http::Body {}",
        ] {
            assert_eq!(violations("node", "src/store/blob.rs", text), 1, "{text}");
            assert_eq!(violations("node", "src/store.rs", text), 1, "{text}");
        }
        assert_eq!(violations("control", "src/state.rs", "use crate::ca;"), 1);
    }

    #[test]
    fn what_is_drawn_and_what_only_looks_like_it_is_allowed() {
        for (name, path, text) in [
            ("node", "src/http/blob.rs", "use crate::registry::Registry;"),
            ("node", "src/registry.rs", "use crate::{fill, store};"),
            ("node", "src/store.rs", "use crate::request::{http, app};"),
            ("node", "src/store.rs", "// crate::http\nuse http::Uri;"),
            ("node", "src/store/tests.rs", "use crate::http;"),
            ("runtime", "src/store.rs", "use crate::http;"),
            ("control", "src/grpc.rs", "use crate::enrol;"),
        ] {
            assert_eq!(violations(name, path, text), 0, "{name}/{path}: {text}");
        }
    }
}
