//! Text that means harm: it ends in a problem, soon, and in bounded memory.

use topology::{load, problem::Problem};

fn refused(text: String) -> Vec<Problem> {
    load(&[("bad.yaml".to_owned(), text)]).expect_err("refused")
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let found = refused(text);
    assert!(found[0].message.contains("aliases"), "{}", found[0]);
}

#[test]
fn an_alias_may_be_used_with_measure() {
    let text = "mesh: m\nnodes:\n  a: {endpoint: 'https://a.example', labels: &l {env: prod}}\n  b: {endpoint: 'https://b.example', labels: *l}\n";
    let loaded = load(&[("a.yaml".to_owned(), text.to_owned())]).expect("valid");
    let b = "b".parse().expect("a name");
    assert_eq!(
        loaded.topology.node(&b).expect("the node").labels["env"],
        "prod"
    );
}

#[test]
fn depth_and_size_are_bounded() {
    let cases = [
        format!("a: {}", "[".repeat(100_000)),
        format!("a: {}{}", "{b: ".repeat(40), "}".repeat(40)),
        (0..40)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect(),
        "a: x\n".repeat(17 * 1024 * 1024 / 5),
    ];
    for text in cases {
        let found = refused(text);
        assert!(found.iter().any(|p| p.code == "wrong-type"));
    }
}

#[test]
fn what_is_no_yaml_says_where() {
    let cases = [
        ("mesh: m\nnodes: {a: [}\n", 2),
        ("mesh: 'm\n", 2),
        ("mesh: m\n\tnodes: {}\n", 1),
        ("mesh: m\n---\nmesh: m\n", 2),
        ("mesh: *m\n", 1),
        ("? [a, b]\n: c\n", 1),
        ("just text", 1),
        ("- a\n- b\n", 1),
        ("mesh: \"\\q\"\n", 1),
        ("mesh: m\0\n", 1),
    ];
    for (text, line) in cases {
        let found = refused(text.to_owned());
        let lines: Vec<usize> = found.iter().map(|problem| problem.line).collect();
        assert!(lines.contains(&line), "{text:?}: {found:#?}");
        assert!(
            found
                .iter()
                .all(|problem| !problem.to_string().contains('\0'))
        );
    }
}

#[test]
fn every_beginning_of_a_document_is_read_without_harm() {
    let text = include_str!("../../examples/promotion.yaml");
    for (end, _) in text.char_indices().step_by(7) {
        let files = [("cut.yaml".to_owned(), text[..end].to_owned())];
        let problems = match load(&files) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        assert!(
            problems
                .iter()
                .all(|problem| !problem.to_string().is_empty())
        );
    }
}

#[test]
fn one_long_line_is_cut_around_the_mistake() {
    let long = "x".repeat(5000);
    let found = refused(format!(
        "{{mesh: m, webhooks: {{}}, note: {long}, rulez: {{}}, more: {long}}}"
    ));
    for problem in &found {
        assert!(problem.to_string().len() < 1500, "{problem}");
    }
    let rulez = found
        .iter()
        .find(|p| p.message.contains("rulez"))
        .expect("found");
    assert!(rulez.to_string().contains("^^^^^"), "{rulez}");
}

#[test]
fn ten_thousand_overlaps_are_all_reported() {
    let mut text = String::from(
        "mesh: m\nnodes: {hub: {endpoint: 'https://hub.example'}}\nrules:\n  all: {on: hub, source: 'quay.io/*', target: '*'}\n",
    );
    for number in 0..10_000 {
        text.push_str(&format!(
            "  w{number}: {{on: hub, source: 'quay.io/t{number}/*', target: 't{number}/*'}}\n"
        ));
    }
    let found = refused(text);
    assert_eq!(found.len(), 10_000);
    assert!(
        found
            .iter()
            .all(|problem| problem.code == "overlapping-wildcards")
    );
}

#[test]
fn countless_mistakes_on_one_line_end_in_a_bounded_list() {
    let keys: Vec<String> = (0..50_000).map(|number| format!("k{number}: 1")).collect();
    let found = refused(format!("{{mesh: m, {}}}", keys.join(", ")));
    assert_eq!(found.len(), 20_000);
}
