//! Medians, and measuring several servers in turns, so that what else the machine does falls on all of them alike.

use anyhow::Result;

use crate::bench::usage::Meter;

/// A server that is compared.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: &'static str,
    /// `http://HOST:PORT`.
    pub url: String,
    pub meter: Meter,
}

/// The names under which servers are compared.
pub const REGMESH: &str = "regmesh";
pub const REGMESH_LOGGING: &str = "regmesh, request log";
pub const NGINX: &str = "nginx";
pub const REGISTRY: &str = "docker-registry";
pub const REGISTRY_PROXY: &str = "docker-registry proxy";

/// What each server gave in each run.
pub struct Compared<M>(Vec<(&'static str, Vec<M>)>);

impl<M> Compared<M> {
    /// The median of one quantity of one server; `None` when it did not take part.
    pub fn of(&self, name: &str, quantity: impl Fn(&M) -> f64) -> Option<f64> {
        let (_, runs) = self.0.iter().find(|(server, _)| *server == name)?;
        median(runs.iter().map(quantity).collect())
    }
}

/// Measures each of `servers` once, `runs` times over.
pub async fn in_turns<M>(
    runs: usize,
    servers: &[Server],
    measure: impl AsyncFn(&Server) -> Result<M>,
) -> Result<Compared<M>> {
    let mut all: Vec<_> = servers
        .iter()
        .map(|server| (server.name, Vec::new()))
        .collect();
    for _ in 0..runs {
        for (server, (_, series)) in servers.iter().zip(&mut all) {
            series.push(measure(server).await?);
        }
    }
    Ok(Compared(all))
}

/// The middle of `values`; of an even number the mean of the two in the middle. `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_run_does_not_move_the_median() {
        assert_eq!(median(vec![3.0, 1.0, 900.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_server_that_took_no_part_has_no_value() {
        let compared = Compared(vec![(NGINX, vec![2.0, 1.0, 3.0])]);
        assert_eq!(compared.of(NGINX, |value| *value), Some(2.0));
        assert_eq!(compared.of(REGMESH, |value| *value), None);
    }
}
