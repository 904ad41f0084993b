//! The shape of the code, checked by its sources: arrows between crates, absences, the first line of every file.
//!
//! What the checks see is tested in `tests/src/source`; here they meet this workspace.

use tests::source::{ARROWS, Tree, arrows, docs, layers, no_mod_files, words};

fn assert_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_workspace_has_the_crates_of_the_picture() {
    let tree = Tree::workspace();
    for (name, _) in ARROWS {
        let found = tree.crates.iter().find(|each| each.name == name);
        assert!(
            found.is_some_and(|each| !each.files.is_empty()),
            "no sources of {name}"
        );
    }
}

#[test]
fn no_arrow_is_added() {
    assert_none(arrows(&Tree::workspace()));
}

#[test]
fn no_module_uses_one_above_it() {
    assert_none(layers(&Tree::workspace()));
}

#[test]
fn every_word_stands_where_it_may() {
    assert_none(words(&Tree::workspace()));
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_none(docs(&Tree::workspace()));
}

#[test]
fn modules_stand_beside_their_folders() {
    assert_none(no_mod_files(&Tree::workspace()));
}

#[test]
fn every_example_validates() {
    let dir = tests::source::root().join("examples");
    let mut seen = 0;
    for file in tests::canary::files_below(&dir) {
        // Beside topologies there are configurations of others.
        let of_kubelet = file.starts_with(dir.join("kubelet"));
        if of_kubelet || file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).expect("an example can be read");
        if let Err(problems) = topology::load(&[(name.clone(), text)]) {
            let shown: Vec<String> = problems
                .iter()
                .map(|problem| problem.render(false))
                .collect();
            panic!("{name}:\n{}", shown.join("\n"));
        }
    }
    assert!(seen > 0, "no examples in {}", dir.display());
}
