//! How a rule behaves: freshness, deleted tags, platforms, referrers.

use wire::platform::Platform;

use super::value;
use crate::{
    document::{
        self,
        rule::{Referrers as WrittenReferrers, WhenGone as WrittenWhenGone},
        value::{OneOrMany, Word},
    },
    model::rule::{Allowance, Check, Freshness, Platforms, Referrers, WhenGone},
    place::At,
    problem::Findings,
};

/// What a rule says beside where from, where to and as whom.
pub(super) struct Behaviour {
    pub(super) freshness: Freshness,
    pub(super) when_gone: WhenGone,
    pub(super) platforms: Platforms,
    pub(super) referrers: Referrers,
    pub(super) enabled: bool,
}

pub(super) fn of(section: &document::Rule, findings: &mut Findings) -> Behaviour {
    Behaviour {
        freshness: freshness(section.freshness.as_ref(), findings),
        when_gone: match section.when_gone.map(|at| at.value) {
            None | Some(WrittenWhenGone::Keep) => WhenGone::Keep,
            Some(WrittenWhenGone::Deny) => WhenGone::Deny,
        },
        platforms: platforms(section.platforms.as_ref(), findings),
        referrers: match section.referrers.map(|at| at.value) {
            None | Some(WrittenReferrers::OnDemand) => Referrers::OnDemand,
            Some(WrittenReferrers::WithImage) => Referrers::WithImage,
            Some(WrittenReferrers::None) => Referrers::None,
        },
        enabled: section.enabled.is_none_or(|at| at.value),
    }
}

fn freshness(section: Option<&document::rule::Freshness>, findings: &mut Findings) -> Freshness {
    let default = Freshness::default();
    let Some(section) = section else {
        return default;
    };
    Freshness {
        check: section
            .check
            .as_ref()
            .and_then(|at| check(at, findings))
            .unwrap_or(default.check),
        immutable: section
            .immutable
            .iter()
            .filter_map(|at| value::glob(at, findings))
            .collect(),
        serve_stale: section
            .serve_stale
            .as_ref()
            .and_then(|at| allowance(at, findings))
            .unwrap_or(default.serve_stale),
        denied_grace: section
            .denied_grace
            .as_ref()
            .and_then(|at| value::duration(at, findings))
            .unwrap_or(default.denied_grace),
    }
}

fn check(at: &At<Word>, findings: &mut Findings) -> Option<Check> {
    match at.value.0.as_str() {
        "always" => Some(Check::Always),
        "never" => Some(Check::Never),
        _ => value::duration_or(at, "`always`, `never` or ", findings).map(Check::After),
    }
}

fn allowance(at: &At<Word>, findings: &mut Findings) -> Option<Allowance> {
    match at.value.0.as_str() {
        "forever" => Some(Allowance::Forever),
        "never" => Some(Allowance::Never),
        _ => value::duration_or(at, "`forever`, `never` or ", findings).map(Allowance::For),
    }
}

fn platforms(written: Option<&OneOrMany>, findings: &mut Findings) -> Platforms {
    match written {
        None => Platforms::Requested,
        Some(OneOrMany::One(at)) if at.value == "requested" => Platforms::Requested,
        Some(OneOrMany::One(at)) if at.value == "all" => Platforms::All,
        Some(written) => {
            let listed = written.all().iter();
            let listed: Vec<Platform> = listed
                .filter_map(|at| value::platform(at, findings))
                .collect();
            Platforms::Listed(listed)
        }
    }
}
