//! Secrets in the process's environment: the one place outside `cli` that reads it.

use runtime::Secret;

/// A variable of this process; `None` when it is not set or not UTF-8.
pub(super) fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(super) fn read(
    environment: &(dyn Fn(&str) -> Option<String> + Send + Sync),
    name: &str,
) -> Result<Secret, String> {
    let value = environment(name).ok_or_else(|| "is not set".to_owned())?;
    super::checked(value)
}
