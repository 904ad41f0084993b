//! What identities cost where everybody passes: taking an access token, and deciding by 10,000 role assignments.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result};
use identity::authenticate::access_token::{AccessTokens, Content};
use identity::decide::{Assignments, Bound, Decision, decide};
use identity::principal::Principal;
use identity::sign::Keys;
use serde_json::{Map, json};
use wire::assignment::{Assignee, Assignment, Role};
use wire::pattern::Pattern;
use wire::repository::RepositoryName;
use wire::route::Needs;
use wire::scope::Action;
use wire::time::WallTime;

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::sample::median;
use crate::bench::world::World;

const ASSIGNMENTS: usize = 10_000;
const TOKENS: usize = 2_000;
const NODE: &str = "prod.registry.example";

pub fn run(world: &World) -> Ready<Result<Vec<Figure>>> {
    ready(measure(world))
}

fn measure(world: &World) -> Result<Vec<Figure>> {
    let (first, again) = tokens(world)?;
    let decided = deciding(world)?;
    Ok(vec![
        Figure::new("an access token, seen for the first time", Unit::Seconds)
            .ours(first)
            .goal(Goal::AtMost(50e-6))
            .note("ES256, one signature verified"),
        Figure::new("an access token, remembered", Unit::Seconds)
            .ours(again)
            .goal(Goal::AtMost(50e-6))
            .note("a hash and a look-up"),
        Figure::new("10,000 role assignments, decide", Unit::Seconds)
            .ours(decided)
            .goal(Goal::AtMost(5e-6))
            .note("half accounts and identities, half claims of an issuer"),
    ])
}

/// Seconds for a token that was not seen before, and for one that was.
fn tokens(world: &World) -> Result<(Option<f64>, Option<f64>)> {
    let keys = Arc::new(Keys::generate()?);
    let now = WallTime(world.clock.wall_ms());
    let issue = |number: usize| {
        let principal = Principal::Identity {
            name: format!("identity-{number}").parse()?,
        };
        let content = Content {
            principal: &principal,
            bound: bound(&format!("team-{number}/app"))?,
            bound_to: Some("spiffe://contoso/node/prod".to_owned()),
            tie: None,
            via: None,
        };
        let issued = AccessTokens::new(Arc::clone(&keys)).issue(NODE, content, now)?;
        Ok(issued.token.expose().clone())
    };
    let tokens: Vec<String> = (0..TOKENS).map(issue).collect::<Result<_>>()?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let node = AccessTokens::new(Arc::clone(&keys));
        let pass = || -> Result<f64> {
            let start = world.clock.now();
            for token in &tokens {
                black_box(node.verify(NODE, black_box(token), now)?);
            }
            Ok((world.clock.now() - start).as_secs_f64() / TOKENS as f64)
        };
        first.push(pass()?);
        again.push(pass()?);
    }
    Ok((median(first), median(again)))
}

fn bound(repository: &str) -> Result<Bound> {
    let mut bound = Bound::default();
    let repository: Pattern = repository.parse()?;
    bound.add(repository, [Action::Pull].into_iter().collect());
    Ok(bound)
}

/// Seconds for one decision.
fn deciding(world: &World) -> Result<Option<f64>> {
    let given: Vec<Assignment> = (0..ASSIGNMENTS).map(assignment).collect::<Result<_>>()?;
    let index = Assignments::new(&given);
    let asked: Vec<(Principal, Needs)> = (0..ASSIGNMENTS).map(asked).collect::<Result<_>>()?;
    let allowed = asked
        .iter()
        .filter(|(who, needs)| decide(who, needs, &index, None) == Decision::Allow);
    anyhow::ensure!(
        allowed.count() == ASSIGNMENTS,
        "everybody may do what they ask for"
    );
    let pass = || {
        let start = world.clock.now();
        for (who, needs) in asked.iter().cycle().take(10 * ASSIGNMENTS) {
            black_box(decide(black_box(who), black_box(needs), &index, None));
        }
        (world.clock.now() - start).as_secs_f64() / (10 * ASSIGNMENTS) as f64
    };
    Ok(median((0..5).map(|_| pass()).collect()))
}

fn assignment(number: usize) -> Result<Assignment> {
    let to = match number % 4 {
        0 => Assignee::Account(format!("robot-{number}").parse()?),
        1 => Assignee::Identity(format!("identity-{number}").parse()?),
        _ => Assignee::Claims {
            issuer: "github".parse()?,
            claims: BTreeMap::from([
                ("repository_id".to_owned(), number.to_string()),
                ("ref".to_owned(), "refs/heads/*".to_owned()),
            ]),
        },
    };
    let pattern: Pattern = format!("team-{number}/*").parse()?;
    Ok(Assignment {
        role: Role::RepositoryReader,
        to,
        repositories: vec![pattern],
    })
}

fn asked(number: usize) -> Result<(Principal, Needs)> {
    let who = match number % 4 {
        0 => Principal::Account {
            name: format!("robot-{number}").parse()?,
        },
        1 => Principal::Identity {
            name: format!("identity-{number}").parse()?,
        },
        _ => {
            let claims = json!({"sub": "repo:o/r", "repository_id": number.to_string(), "ref": "refs/heads/main"});
            let claims: Map<_, _> = claims.as_object().context("an object")?.clone();
            Principal::Workload {
                issuer: "github".parse()?,
                claims: Arc::new(claims),
            }
        }
    };
    let repository: RepositoryName = format!("team-{number}/app").parse()?;
    let action = Action::Pull;
    Ok((who, Needs::Action { action, repository }))
}
