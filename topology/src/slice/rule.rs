//! A rule instance of the model as a rule of the document. What is as by default is not written.

use std::time::Duration;

use super::{key, node::word, text};
use crate::{
    document::{
        self, Selector,
        rule::{Referrers as WrittenReferrers, WhenGone as WrittenWhenGone},
        value::{OneOrMany, Word},
    },
    model::{
        Rule,
        rule::{Allowance, Authentication, Check, Freshness, Platforms, Referrers, WhenGone},
    },
    place::At,
    read::section::is_absent,
    value::duration_text,
};

pub(crate) fn rule(rule: &Rule, on: Selector) -> document::Rule {
    let (identity, credentials) = match &rule.authentication {
        Authentication::Anonymous => (None, None),
        Authentication::Identity(name) => (text(name), None),
        Authentication::Credentials(name) => (None, text(name)),
    };
    document::Rule {
        on: Some(on),
        source: text(&rule.source),
        target: text(&rule.target),
        identity,
        credentials,
        freshness: Some(freshness(&rule.freshness)).filter(|section| !is_absent(section)),
        when_gone: match rule.when_gone {
            WhenGone::Keep => None,
            WhenGone::Deny => Some(At::made(WrittenWhenGone::Deny)),
        },
        platforms: match &rule.platforms {
            Platforms::Requested => None,
            Platforms::All => Some(OneOrMany::One(key("all"))),
            Platforms::Listed(list) => Some(OneOrMany::Many(list.iter().map(key).collect())),
        },
        referrers: match rule.referrers {
            Referrers::OnDemand => None,
            Referrers::WithImage => Some(At::made(WrittenReferrers::WithImage)),
            Referrers::None => Some(At::made(WrittenReferrers::None)),
        },
        enabled: Some(At::made(false)).filter(|_| !rule.enabled),
    }
}

fn freshness(freshness: &Freshness) -> document::rule::Freshness {
    let grace = Some(freshness.denied_grace);
    let default = Freshness::default().denied_grace;
    document::rule::Freshness {
        check: match freshness.check {
            Check::Always => None,
            Check::After(age) => span(age),
            Check::Never => word("never"),
        },
        immutable: freshness.immutable.iter().map(key).collect(),
        serve_stale: match freshness.serve_stale {
            Allowance::Forever => None,
            Allowance::For(time) => span(time),
            Allowance::Never => word("never"),
        },
        denied_grace: grace.filter(|grace| *grace != default).and_then(span),
    }
}

fn span(time: Duration) -> Option<At<Word>> {
    word(duration_text(time))
}
