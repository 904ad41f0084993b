//! The numbers of a node, each with the default that `spec/pull-through.md` names, each settable by name.
//!
//! Time-outs and caps are not part of the topology, because they belong to the machine and not to the mesh: `--set NAME=VALUE`
//! sets one. Components take what concerns them from here; nobody else holds a number of this kind.

use std::time::Duration;

/// Every number.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a tag check or a list may take when there is something stored to serve instead.
    pub tag_check: Duration,
    /// How long a check, a list or the beginning of a manifest may take when nothing stored can be served instead.
    pub unstored_check: Duration,
    /// How long connecting to an upstream may take.
    pub connect: Duration,
    /// How long the first byte of a blob may take.
    pub first_byte: Duration,
    /// How long a transfer may be silent.
    pub progress: Duration,
    /// Failures in a row that open an upstream's breaker.
    pub breaker_failures: u32,
    /// How often an open breaker lets a probe through.
    pub breaker_probe: Duration,
    /// How often a broken transfer is continued.
    pub resumes: u32,
    /// The first pause before a broken transfer is continued; later ones grow.
    pub resume_pause: Duration,
    /// How long a 404 of an upstream is remembered.
    pub negative: Duration,
    /// Transfers from upstreams at once.
    pub max_fills: usize,
    /// Copy jobs worked on at once.
    pub copy_workers: usize,
    /// The first pause before a failed copy is tried again; later ones grow.
    pub copy_pause: Duration,
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// Bodies of uploads under way at once.
    pub max_uploads: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections of one address at once.
    pub max_per_address: usize,
    /// From accept to the first byte of a request.
    pub accept_to_first_byte: Duration,
    /// From the first byte of a request to the end of its headers.
    pub header: Duration,
    /// How long a connection may stay without a request.
    pub keep_alive: Duration,
    /// How long a client may not read a byte of what it is sent.
    pub write_stall: Duration,
    /// How long an upload's body may be silent.
    pub upload_silence: Duration,
    /// How long an unfinished upload is kept.
    pub upload_ttl: Duration,
    /// How long unreferenced content is kept.
    pub gc_grace: Duration,
    /// Bytes of the memory cache.
    pub memory_cache: u64,
    /// How long connecting to the control plane, or a call there, may take.
    pub control_connect: Duration,
    /// The longest first pause before the control plane is tried again; later ones grow.
    pub control_retry: Duration,
    /// The longest pause before the control plane is tried again.
    pub control_retry_most: Duration,
    /// Whether somebody collects traces; set with the exporter, not by name.
    pub traced: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            tag_check: seconds(2),
            unstored_check: seconds(8),
            connect: seconds(5),
            first_byte: seconds(30),
            progress: seconds(30),
            breaker_failures: 5,
            breaker_probe: seconds(5),
            resumes: 5,
            resume_pause: Duration::from_millis(250),
            negative: seconds(10),
            max_fills: 256,
            copy_workers: 4,
            copy_pause: seconds(1),
            max_in_flight: 4096,
            max_uploads: 256,
            max_connections: 8192,
            max_per_address: 2048,
            accept_to_first_byte: seconds(10),
            header: seconds(10),
            keep_alive: seconds(75),
            write_stall: seconds(60),
            upload_silence: seconds(30),
            upload_ttl: seconds(24 * 3600),
            gc_grace: seconds(3600),
            memory_cache: 256 << 20,
            control_connect: seconds(10),
            control_retry: seconds(1),
            control_retry_most: seconds(60),
            traced: false,
        }
    }
}

/// Why a setting was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is none of that name.
    #[error("there is no setting '{name}'; there are: {}", NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value does not parse.
    #[error("the setting '{name}' takes {wants}, not '{value}'")]
    Value {
        /// The name.
        name: String,
        /// The value.
        value: String,
        /// What it takes.
        wants: &'static str,
    },
}

macro_rules! settings {
    ($($name:literal => $field:ident: $kind:ident,)*) => {
        /// The names of all settings.
        pub const NAMES: &[&str] = &[$($name),*];

        impl Settings {
            /// Sets one by name.
            ///
            /// # Errors
            /// When there is none of that name, or the value does not parse.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
                match name {
                    $($name => self.$field = $kind(name, value)?,)*
                    _ => return Err(SettingError::Unknown { name: name.to_owned() }),
                }
                Ok(())
            }
        }
    };
}

settings! {
    "tag-check" => tag_check: duration,
    "unstored-check" => unstored_check: duration,
    "connect" => connect: duration,
    "first-byte" => first_byte: duration,
    "progress" => progress: duration,
    "breaker-failures" => breaker_failures: number,
    "breaker-probe" => breaker_probe: duration,
    "resumes" => resumes: number,
    "resume-pause" => resume_pause: duration,
    "negative" => negative: duration,
    "max-fills" => max_fills: number,
    "copy-workers" => copy_workers: number,
    "copy-pause" => copy_pause: duration,
    "max-in-flight" => max_in_flight: number,
    "max-uploads" => max_uploads: number,
    "max-connections" => max_connections: number,
    "max-per-address" => max_per_address: number,
    "accept-to-first-byte" => accept_to_first_byte: duration,
    "header" => header: duration,
    "keep-alive" => keep_alive: duration,
    "write-stall" => write_stall: duration,
    "upload-silence" => upload_silence: duration,
    "upload-ttl" => upload_ttl: duration,
    "gc-grace" => gc_grace: duration,
    "memory-cache" => memory_cache: size,
    "control-connect" => control_connect: duration,
    "control-retry" => control_retry: duration,
    "control-retry-most" => control_retry_most: duration,
}

fn duration(name: &str, value: &str) -> Result<Duration, SettingError> {
    topology::value::duration(value)
        .ok_or_else(|| refused(name, value, "a duration such as 500ms, 30s or 5m"))
}

fn size(name: &str, value: &str) -> Result<u64, SettingError> {
    topology::value::size(value).ok_or_else(|| refused(name, value, "a size such as 64MiB"))
}

fn number<N: std::str::FromStr + From<u8> + PartialOrd>(
    name: &str,
    value: &str,
) -> Result<N, SettingError> {
    value
        .parse()
        .ok()
        .filter(|n| *n >= N::from(1))
        .ok_or_else(|| refused(name, value, "a number of at least 1"))
}

fn refused(name: &str, value: &str, wants: &'static str) -> SettingError {
    SettingError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        wants,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_sets_something_and_no_other_name_does() {
        for name in NAMES {
            let mut settings = Settings::default();
            let before = format!("{settings:?}");
            let value = ["7ms", "7", "7MiB"]
                .into_iter()
                .find(|value| settings.set(name, value).is_ok());
            assert!(value.is_some(), "{name} takes none of the usual values");
            assert_ne!(before, format!("{settings:?}"), "{name} changed nothing");
        }
        assert!(matches!(
            Settings::default().set("tagcheck", "1s"),
            Err(SettingError::Unknown { .. })
        ));
        assert!(matches!(
            Settings::default().set("max-fills", "0"),
            Err(SettingError::Value { .. })
        ));
        assert!(matches!(
            Settings::default().set("tag-check", "soon"),
            Err(SettingError::Value { .. })
        ));
    }
}
