//! What is left of role assignments when others take their place: what both allow. Pure.

use std::collections::{HashMap, HashSet};

use wire::{
    assignment::{Assignee, Assignment, Role},
    pattern::Pattern,
};

type Given<'a> = (Role, &'a Pattern);

/// Of `held`, what `others` allow too.
pub(super) fn left(held: &[Assignment], others: &[Assignment]) -> Vec<Assignment> {
    let mut by_assignee: HashMap<&Assignee, Vec<Given<'_>>> = HashMap::new();
    for (to, given) in others.iter().flat_map(each) {
        by_assignee.entry(to).or_default().push(given);
    }
    // Nearly all stay as they are, and there may be thousands for one assignee.
    let same: HashSet<(&Assignee, Given<'_>)> = others.iter().flat_map(each).collect();
    let mut left = Vec::new();
    for assignment in held {
        if each(assignment).all(|one| same.contains(&one)) {
            left.push(assignment.clone());
            continue;
        }
        let given = by_assignee
            .get(&assignment.to)
            .map_or(&[][..], Vec::as_slice);
        for (_, (role, pattern)) in each(assignment) {
            let both = given.iter().filter_map(|(other, at)| {
                Some(Assignment {
                    role: both_roles(role, *other)?,
                    to: assignment.to.clone(),
                    repositories: vec![both_patterns(pattern, at)?.clone()],
                })
            });
            left.extend(both);
        }
    }
    left
}

fn each(assignment: &Assignment) -> impl Iterator<Item = (&Assignee, Given<'_>)> {
    let patterns = assignment.repositories.iter();
    patterns.map(|pattern| (&assignment.to, (assignment.role, pattern)))
}

/// The role of what both give.
fn both_roles(one: Role, other: Role) -> Option<Role> {
    use Role::{RepositoryDeleter, RepositoryReader, RepositoryWriter};
    let reads = |role| {
        matches!(
            role,
            RepositoryReader | RepositoryWriter | RepositoryDeleter
        )
    };
    match (one, other) {
        (one, other) if one == other => Some(one),
        (one, other) if reads(one) && reads(other) => Some(RepositoryReader),
        _ => None,
    }
}

/// The narrower of the two, where one covers the other.
fn both_patterns<'a>(one: &'a Pattern, other: &'a Pattern) -> Option<&'a Pattern> {
    if one.contains(other) {
        return Some(other);
    }
    other.contains(one).then_some(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(text: &[&str]) -> Vec<Assignment> {
        let one = |text: &&str| {
            let mut words = text.split(' ');
            let role = match words.next().unwrap() {
                "reader" => Role::RepositoryReader,
                "writer" => Role::RepositoryWriter,
                "deleter" => Role::RepositoryDeleter,
                _ => Role::CatalogLister,
            };
            let to = Assignee::Identity(words.next().unwrap().parse().unwrap());
            let repositories = words.map(|pattern| pattern.parse().unwrap()).collect();
            Assignment {
                role,
                to,
                repositories,
            }
        };
        text.iter().map(one).collect()
    }

    #[test]
    fn what_both_allow_is_left_and_nothing_else() {
        let held = ["writer a team/*", "reader b *", "lister b *"];
        for (others, left) in [
            (&held[..], &held[..]),
            (&[], &[]),
            (&["reader b *"], &["reader b *"]),
            (&["reader a team/*"], &["reader a team/*"]),
            (&["deleter a team/x"], &["reader a team/x"]),
            (
                &["writer a team/*", "writer a more/*"],
                &["writer a team/*"],
            ),
            (&["writer a team/* more/*"], &["writer a team/*"]),
            (&["writer a *"], &["writer a team/*"]),
            (&["writer a other/*", "reader c *"], &[]),
            (&["reader b x y/*"], &["reader b x", "reader b y/*"]),
            (&["lister a team/*"], &[]),
        ] {
            assert_eq!(
                super::left(&roles(&held), &roles(others)),
                roles(left),
                "{others:?}"
            );
        }
    }

    #[test]
    fn ten_thousand_of_one_assignee_are_compared_in_one_pass() {
        let many = |from: usize| {
            let names = (from..from + 10_000).map(|n| format!("reader a r{n}"));
            let names: Vec<String> = names.collect();
            roles(&names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(left(&many(0), &many(10)).len(), 9_990);
    }
}
