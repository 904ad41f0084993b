//! From a 401's challenges to what is done about them, and what is remembered of it; pure.
//!
//! Several schemes may be offered: a password prefers the token protocol and falls back to Basic, nobody can only fetch an
//! anonymous token. Our own scope is asked for, because challenges carry none, or a placeholder; only what the registry calls by
//! another name, or by no name of the grammar, is asked for as it says. Source: `reference/protocols.md` 1.1.

use std::collections::HashMap;

use url::Url;
use wire::{
    challenge::Challenge,
    scope::{Action, Scope},
};

use super::Known;

/// How to authenticate for some scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// User name and password with each request.
    Basic,
    /// A token from there.
    Bearer(Ask),
}

/// A token request without its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// As the challenge has it, not checked yet.
    pub(super) realm: String,
    pub(super) service: Option<String>,
    /// Sorted, without doubles.
    pub(super) scopes: Vec<String>,
    /// Whether another repository's request would be made the same way.
    general: bool,
}

/// The scope of challenges that stand for "some repository". Source: `reference/protocols.md` 1.1 (GHCR).
const PLACEHOLDER: &str = "user/image";

/// What to do about these challenges when `wanted` is needed; `None` when none of them can be met.
pub(super) fn plan(challenges: &[Challenge], wanted: &[Scope], has_password: bool) -> Option<Plan> {
    let bearer = challenges
        .iter()
        .filter(|c| c.is_bearer())
        .find_map(|c| ask(c, wanted));
    if let Some(ask) = bearer {
        return Some(Plan::Bearer(ask));
    }
    let basic = has_password && challenges.iter().any(Challenge::is_basic);
    basic.then_some(Plan::Basic)
}

/// A request to a known token service, without a challenge.
pub(super) fn known(service: &Known, wanted: &[Scope]) -> Ask {
    let own = service.scope.clone().map(|scope| vec![scope]);
    Ask {
        realm: service.realm.clone(),
        service: service.service.clone(),
        general: own.is_none(),
        scopes: own.unwrap_or_else(|| texts(wanted)),
    }
}

fn ask(challenge: &Challenge, wanted: &[Scope]) -> Option<Ask> {
    let realm = challenge.param("realm").filter(|realm| !realm.is_empty())?;
    let own = texts(wanted);
    let scopes = foreign(challenge, wanted).unwrap_or_else(|| own.clone());
    let in_realm = Url::parse(realm).is_ok_and(|url| url.query_pairs().any(|(k, _)| k == "scope"));
    let general = scopes == own && !in_realm;
    let service = challenge
        .param("service")
        .filter(|service| !service.is_empty());
    Some(Ask {
        realm: realm.to_owned(),
        service: service.map(str::to_owned),
        scopes,
        general,
    })
}

/// The challenge's scopes, if they are to be asked for instead of ours: never more than reading.
fn foreign(challenge: &Challenge, wanted: &[Scope]) -> Option<Vec<String>> {
    let offered = Scope::parse_list(challenge.param("scope")?);
    let knows_ours = offered.iter().any(|scope| match scope {
        Scope::Repository { name, .. } => {
            name.as_str() == PLACEHOLDER || wanted.iter().any(|w| is_of(w, name.as_str()))
        }
        Scope::Catalog => true,
        Scope::Other(_) => false,
    });
    if offered.is_empty() || knows_ours {
        return None;
    }
    let reading = offered.into_iter().map(|scope| match scope {
        Scope::Repository { name, .. } => Scope::repository(name, [Action::Pull]),
        other @ (Scope::Catalog | Scope::Other(_)) => other,
    });
    Some(texts(&reading.collect::<Vec<_>>()))
}

fn is_of(scope: &Scope, repository: &str) -> bool {
    matches!(scope, Scope::Repository { name, .. } if name.as_str() == repository)
}

pub(super) fn texts(scopes: &[Scope]) -> Vec<String> {
    let mut texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.dedup();
    texts
}

/// How many scopes' plans are remembered; past it all are learnt anew.
const MAX_REMEMBERED: usize = 1024;

/// What earlier challenges taught, so that a token can be fetched before the first request.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    general: Option<Plan>,
    particular: HashMap<Vec<String>, Plan>,
}

impl Remembered {
    /// What to do for these scopes, if it is known.
    pub(super) fn plan(&self, wanted: &[Scope]) -> Option<Plan> {
        let own = texts(wanted);
        if let Some(plan) = self.particular.get(&own) {
            return Some(plan.clone());
        }
        match self.general.clone()? {
            Plan::Basic => Some(Plan::Basic),
            Plan::Bearer(ask) => Some(Plan::Bearer(Ask { scopes: own, ..ask })),
        }
    }

    /// Remembers what was done about a challenge.
    pub(super) fn learn(&mut self, wanted: &[Scope], plan: &Plan) {
        let own = texts(wanted);
        match plan {
            Plan::Bearer(ask) if !ask.general => {
                if self.particular.len() >= MAX_REMEMBERED {
                    self.particular.clear();
                }
                self.particular.insert(own, plan.clone());
            }
            Plan::Bearer(_) | Plan::Basic => {
                self.particular.remove(&own);
                self.general = Some(plan.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Challenge> {
        Challenge::parse(lines.iter().copied())
    }

    fn wanted(name: &str) -> Vec<Scope> {
        vec![Scope::repository(name.parse().unwrap(), [Action::Pull])]
    }

    fn asked(lines: &[&str], has_password: bool) -> String {
        match plan(&read(lines), &wanted("team/app"), has_password) {
            None => "none".to_owned(),
            Some(Plan::Basic) => "basic".to_owned(),
            Some(Plan::Bearer(ask)) => format!(
                "{} {} {} {}",
                ask.realm,
                ask.service.as_deref().unwrap_or("-"),
                ask.scopes.join(" "),
                if ask.general { "general" } else { "particular" },
            ),
        }
    }

    #[test]
    fn every_shape_of_challenge_has_its_plan() {
        let ours = "https://r/t s repository:team/app:pull general";
        let cases: &[(&[&str], &str, &str)] = &[
            (
                &[r#"Bearer realm="https://r/t",service="s",scope="repository:team/app:pull""#],
                ours,
                ours,
            ),
            (
                &[
                    r#"Bearer realm="https://r/t",service="s",scope="repository:team/app:pull,push""#,
                ],
                ours,
                ours,
            ),
            (&[r#"Bearer realm="https://r/t",service="s""#], ours, ours),
            // GHCR's placeholder.
            (
                &[r#"Bearer realm="https://r/t",service="s",scope="repository:user/image:pull""#],
                ours,
                ours,
            ),
            // Outside the grammar: ECR Public.
            (
                &[r#"Bearer realm="https://r/t",service="s",scope="aws""#],
                "https://r/t s aws particular",
                "https://r/t s aws particular",
            ),
            // Another name, and never more than reading.
            (
                &[
                    r#"Bearer realm="https://r/t",service="s",scope="repository:other/app:pull,push,delete""#,
                ],
                "https://r/t s repository:other/app:pull particular",
                "https://r/t s repository:other/app:pull particular",
            ),
            // nvcr: a scope inside the realm, no service.
            (
                &[r#"Bearer realm="https://n/p?account=x&scope=repository:team/app:pull""#],
                "https://n/p?account=x&scope=repository:team/app:pull - repository:team/app:pull particular",
                "https://n/p?account=x&scope=repository:team/app:pull - repository:team/app:pull particular",
            ),
            // Several: the token protocol first.
            (
                &[r#"Basic realm="b", Bearer realm="https://r/t",service="s""#],
                ours,
                ours,
            ),
            (
                &[
                    r#"Basic realm="b""#,
                    r#"Bearer realm="https://r/t",service="s""#,
                ],
                ours,
                ours,
            ),
            // ECR private, for whom nobody can be anonymous.
            (
                &[
                    r#"Basic realm="https://1.dkr.ecr.x.amazonaws.com/",service="ecr.amazonaws.com""#,
                ],
                "none",
                "basic",
            ),
            // A bearer without a realm helps nobody.
            (&[r#"Bearer service="s", Basic realm="b""#], "none", "basic"),
            (&["Negotiate"], "none", "none"),
            (&[], "none", "none"),
        ];
        for (lines, anonymous, password) in cases {
            assert_eq!(asked(lines, false), *anonymous, "{lines:?}");
            assert_eq!(asked(lines, true), *password, "{lines:?}");
        }
    }

    #[test]
    fn what_one_repository_taught_serves_the_next_if_it_can() {
        let mut remembered = Remembered::default();
        let (app, other) = (wanted("team/app"), wanted("team/other"));
        assert_eq!(remembered.plan(&app), None);
        let learn = |remembered: &mut Remembered, line: &str| {
            let plan = plan(&read(&[line]), &app, true).unwrap();
            remembered.learn(&app, &plan);
            plan
        };
        let odd = learn(
            &mut remembered,
            r#"Bearer realm="https://r/t",service="s",scope="aws""#,
        );
        assert_eq!(remembered.plan(&app), Some(odd));
        assert_eq!(remembered.plan(&other), None);
        learn(&mut remembered, r#"Bearer realm="https://r/t",service="s""#);
        let Some(Plan::Bearer(ask)) = remembered.plan(&other) else {
            unreachable!("a plain challenge is general");
        };
        assert_eq!(ask.scopes, ["repository:team/other:pull"]);
        learn(&mut remembered, r#"Basic realm="b""#);
        assert_eq!(remembered.plan(&other), Some(Plan::Basic));
    }
}
