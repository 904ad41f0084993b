//! Which crate may depend on which: the picture of `style.md`, The workspace.
//!
//! Development and build dependencies count: a test that needs another crate belongs to this package.

use crate::source::Tree;

/// Each crate of ours and what of ours it may depend on. A crate that is not here may not exist.
pub const ARROWS: [(&str, &[&str]); 8] = [
    ("wire", &[]),
    ("runtime", &[]),
    ("topology", &["wire"]),
    ("identity", &["runtime", "wire"]),
    ("node", &["identity", "topology", "runtime", "wire"]),
    ("control", &["identity", "topology", "runtime", "wire"]),
    (
        "cli",
        &["node", "control", "identity", "topology", "runtime", "wire"],
    ),
    (
        "tests",
        &[
            "cli", "node", "control", "identity", "topology", "runtime", "wire",
        ],
    ),
];

/// Every dependency that is not drawn.
pub fn arrows(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for each in &tree.crates {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == each.name) else {
            wrong.push(format!(
                "{}: a crate that style.md does not draw",
                each.name
            ));
            continue;
        };
        for dependency in dependencies(&each.cargo) {
            let ours = ARROWS.iter().any(|(name, _)| *name == dependency);
            if ours && dependency != each.name && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!(
                    "{} -> {dependency}: an arrow that style.md does not draw",
                    each.name
                ));
            }
        }
    }
    wrong
}

/// The packages a `Cargo.toml` depends on, in every kind of table and under any alias.
fn dependencies(cargo: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in cargo.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_matches(['[', ']']);
            let (table, last) = header.rsplit_once('.').unwrap_or(("", header));
            inside = last.ends_with("dependencies");
            if table.ends_with("dependencies") {
                found.push(last.trim_matches('"').to_owned());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        if inside {
            found.push(
                key.trim()
                    .split('.')
                    .next()
                    .unwrap_or_default()
                    .trim_matches('"')
                    .to_owned(),
            );
        }
        found.extend(package_of(key, value));
        found.extend(path_of(value));
    }
    found.sort();
    found.dedup();
    found
}

/// `package = "NAME"`, as a key or within braces.
fn package_of(key: &str, value: &str) -> Option<String> {
    if key.trim() == "package" || key.trim().ends_with(".package") {
        return Some(value.trim().trim_matches('"').to_owned());
    }
    let (_, rest) = value.split_once("package")?;
    rest.split('"').nth(1).map(str::to_owned)
}

/// The folder at the end of `path = "…"`.
fn path_of(value: &str) -> Option<String> {
    let (_, rest) = value.split_once("path")?;
    let path = rest.split('"').nth(1)?;
    path.rsplit('/').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fake;

    fn violations(name: &str, cargo: &str) -> usize {
        let tree = Tree {
            crates: vec![fake(name, cargo, &[])],
        };
        arrows(&tree).len()
    }

    #[test]
    fn what_is_drawn_is_allowed() {
        let cargo = "[package]\nname = \"node\"\n[dependencies]\nwire.workspace = true\ntopology = { path = \"../topology\" }\ntokio = \"1\"\n[dev-dependencies]\nruntime = { workspace = true, features = [\"testing\"] }\n";
        assert_eq!(violations("node", cargo), 0);
        assert_eq!(violations("runtime", cargo), 2);
    }

    #[test]
    fn an_arrow_is_seen_however_it_is_written() {
        for cargo in [
            "[dependencies]\nnode.workspace = true",
            "[dependencies]\nnode = { workspace = true }",
            "[dev-dependencies]\nnode = { path = \"../node\" }",
            "[build-dependencies]\n\"node\" = { path = \"../node\" }",
            "[dependencies.node]\nworkspace = true",
            "[target.'cfg(unix)'.dependencies]\nnode.workspace = true",
            "[dependencies]\nother = { package = \"node\", version = \"1\" }",
            "[dependencies.other]\npackage = \"node\"",
        ] {
            assert!(violations("identity", cargo) > 0, "{cargo}");
        }
    }

    #[test]
    fn a_crate_of_another_name_is_told() {
        assert_eq!(violations("common", "[package]"), 1);
    }

    #[test]
    fn a_crate_may_lean_on_itself_for_its_test_features() {
        assert_eq!(
            violations("wire", "[dev-dependencies]\nwire = { path = \".\" }"),
            0
        );
    }
}
