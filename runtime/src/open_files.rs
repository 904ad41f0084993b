//! The limit of open files, raised as far as the system lets a process raise it by itself.
//!
//! Many systems start processes with 1,024 and allow far more, because `select` knew no more; nothing here uses it. A thousand streams of
//! nodes, or clients, are beyond the smaller number. Who must not have more is given a lower hard limit.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. Returns what is in force; `None` for no limit.
///
/// # Errors
/// When the system does not allow it; what was in force stays.
pub fn raise() -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let current = maximum;
        setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    }
    Ok(maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        assert_eq!(raise().unwrap(), before.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
