//! Which rules come close to a repository without answering for it, and why they do not; pure.

use wire::{api::explain::Almost, name::RuleName, pattern::Pattern, repository::RepositoryName};

use crate::rule::Rules;

/// How many are told.
const MOST: usize = 5;

/// The closest ones first; `matched` is the rule that answers.
pub(super) fn almost(
    rules: &Rules,
    repository: &RepositoryName,
    matched: Option<&RuleName>,
) -> Vec<Almost> {
    let mut close: Vec<(usize, Almost)> = rules
        .iter()
        .filter(|active| Some(&active.rule.name) != matched)
        .filter_map(|active| {
            let (rule, target) = (&active.rule.name, &active.rule.target);
            let (closeness, mut why) = why(target, repository, matched)?;
            if !active.rule.enabled {
                why.push_str("; it is switched off, too");
            }
            let almost = Almost {
                rule: rule.clone(),
                target: target.clone(),
                why,
            };
            Some((closeness, almost))
        })
        .collect();
    close.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.rule.cmp(&y.rule)));
    close.into_iter().take(MOST).map(|(_, rule)| rule).collect()
}

/// How close a target comes, and why it does not answer; none when it is far away.
fn why(
    target: &Pattern,
    repository: &RepositoryName,
    matched: Option<&RuleName>,
) -> Option<(usize, String)> {
    if target.covers(repository) {
        let why = matched.map_or_else(
            || "it covers the name, but the name upstream would not be a legal one".to_owned(),
            |rule| format!("it covers the name, and rule {rule} is more specific"),
        );
        return Some((usize::MAX, why));
    }
    let name = repository.as_str();
    let (path, is_wildcard) = match target {
        Pattern::All => return None,
        Pattern::Below(path) => (path.as_str(), true),
        Pattern::Exact(path) => (path.as_str(), false),
    };
    let shared = shared(path, name);
    if is_wildcard && path == name {
        let why = format!("it covers what is below '{path}', not '{path}' itself");
        return Some((shared + 2, why));
    }
    if !is_wildcard && is_below(name, path) {
        let why = format!("it is for '{path}' alone, not for what is below it");
        return Some((shared + 2, why));
    }
    if is_below(path, name) {
        let why = format!("it is for '{target}', which lies below '{name}'");
        return Some((shared + 2, why));
    }
    if shared == 0 {
        let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
        let (ours, theirs) = (first(name), first(path));
        let alike = ours.starts_with(&theirs) || theirs.starts_with(&ours);
        return alike.then(|| {
            let why = format!("whole path components count: '{theirs}' is not '{ours}'");
            (0, why)
        });
    }
    let common: Vec<&str> = name.split('/').take(shared).collect();
    let why = format!(
        "its target is '{target}', the same only as far as '{}'",
        common.join("/")
    );
    Some((shared, why))
}

/// How many leading components are the same.
fn shared(one: &str, other: &str) -> usize {
    let pairs = one.split('/').zip(other.split('/'));
    pairs.take_while(|(a, b)| a == b).count()
}

fn is_below(name: &str, path: &str) -> bool {
    name.strip_prefix(path)
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_near_miss_says_why_and_what_is_far_away_is_not_told() {
        let cases = [
            ("team/*", "team", Some("below 'team', not 'team' itself")),
            ("team/app", "team/app/tools", Some("'team/app' alone")),
            ("team/app/*", "team", Some("lies below 'team'")),
            ("team/app/*", "team/api", Some("only as far as 'team'")),
            ("team/app", "team/api", Some("only as far as 'team'")),
            ("backend/*", "backendsvc/a", Some("whole path components")),
            ("*", "a", Some("rule other is more specific")),
            ("other/*", "team/a", None),
        ];
        let matched: RuleName = "other".parse().unwrap();
        for (target, name, expected) in cases {
            let (target, name) = (target.parse().unwrap(), name.parse().unwrap());
            let told = why(&target, &name, Some(&matched)).map(|(_, why)| why);
            match (&told, expected) {
                (Some(told), Some(expected)) => assert!(told.contains(expected), "{told}"),
                (None, None) => {}
                _ => panic!("{target} for {name}: {told:?}"),
            }
        }
    }
}
