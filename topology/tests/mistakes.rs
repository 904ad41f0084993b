//! One file with one of each mistake: every code appears, at the text that is wrong, in one go.
//!
//! The fixture marks each place with a comment: `#! CODE TEXT` on a line says that a problem with this code is expected on that
//! line, beginning where TEXT stands. What is not marked must not be found.

use std::collections::BTreeSet;

use topology::problem::{Code, Problem};

const FIXTURE: &str = include_str!("fixtures/mistakes.yaml");

fn problems() -> Vec<Problem> {
    let files = [("mistakes.yaml".to_owned(), FIXTURE.to_owned())];
    topology::load(&files).expect_err("a file of mistakes")
}

/// (line, column, code) of every mark.
fn marks() -> BTreeSet<(usize, usize, String)> {
    let mut marks = BTreeSet::new();
    for (number, line) in FIXTURE.lines().enumerate() {
        let mut parts = line.split("#! ");
        let before = parts.next().expect("the line");
        for mark in parts {
            let (code, text) = mark.trim().split_once(' ').expect("a code and a text");
            let byte = before.find(text).expect(line);
            let column = before[..byte].chars().count() + 1;
            marks.insert((number + 1, column, code.to_owned()));
        }
    }
    marks
}

#[test]
fn every_code_of_the_table_is_marked() {
    let marked: BTreeSet<String> = marks().into_iter().map(|(.., code)| code).collect();
    let known: BTreeSet<String> = Code::ALL
        .iter()
        .map(|code| code.as_str().to_owned())
        .collect();
    assert_eq!(marked, known);
}

#[test]
fn all_mistakes_are_found_at_once_each_at_its_place() {
    let found: BTreeSet<_> = problems()
        .iter()
        .map(|problem| (problem.line, problem.column, problem.code.to_owned()))
        .collect();
    let marks = marks();
    let missing: Vec<_> = marks.difference(&found).collect();
    let surplus: Vec<_> = found.difference(&marks).collect();
    let all: String = problems().iter().map(ToString::to_string).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing {missing:#?}\nnot marked {surplus:#?}\n{all}"
    );
}

#[test]
fn every_problem_says_what_to_do_and_underlines_the_text() {
    for problem in problems() {
        assert!(!problem.advice.is_empty(), "{problem}");
        assert_eq!(problem.file, "mistakes.yaml");
        let text = problem.to_string();
        let place = format!("mistakes.yaml:{}:{}", problem.line, problem.column);
        assert!(text.contains(&place), "{text}");
        assert!(text.contains(&format!("[{}]", problem.code)), "{text}");
        assert!(text.contains("help: "), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let at = lines
            .iter()
            .position(|line| line.contains("^"))
            .expect("an underline");
        let marks: Vec<usize> = lines[at]
            .char_indices()
            .filter(|(_, c)| *c == '^')
            .map(|(at, _)| at)
            .collect();
        let shown: String = lines[at - 1]
            .chars()
            .skip(marks[0])
            .take(marks.len())
            .collect();
        let span = &FIXTURE[problem.span.start..problem.span.end];
        let first = span.lines().next().unwrap_or_default();
        if problem.code != "literal-secret" {
            assert_eq!(shown, first, "{text}");
        }
    }
}

#[test]
fn no_problem_shows_a_secret() {
    for problem in problems() {
        let text = format!("{problem}{problem:?}{}", problem.render(true));
        let json = serde_json::to_string(&problem).expect("JSON");
        for secret in ["hunter2", "swordfish", "opensesame"] {
            assert!(!text.contains(secret), "{text}");
            assert!(!json.contains(secret), "{json}");
        }
    }
}

#[test]
fn a_problem_is_an_object_with_code_place_message_and_advice() {
    let problem = problems().remove(0);
    let json = serde_json::to_value(&problem).expect("JSON");
    for key in [
        "code", "severity", "message", "advice", "file", "line", "column", "span",
    ] {
        assert!(json.get(key).is_some(), "{key} in {json}");
    }
}
