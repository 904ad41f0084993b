//! A value that must not leave the process: a password, a token, a private key.
//!
//! `Secret` wipes its memory when dropped and has neither `Display` nor `Serialize`, so a log line, an error or an API object that
//! would carry it does not compile. `Debug` exists, because structs around a secret want one, and always prints `[secret]`. Where a
//! secret comes from is left to its owner; the wiping covers this copy only, not what a caller makes of `expose()`.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A value that is zeroised on drop and can be neither printed nor serialised.
#[derive(Clone)]
pub struct Secret<T: Zeroize = String>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in. Whoever held it before is responsible for other copies.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself. Every call is a place where it could leak: keep the borrow short, and put nothing of it into an error.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_around_a_secret_prints_without_it() {
        #[derive(Debug)]
        struct Account {
            #[expect(dead_code, reason = "read by Debug alone")]
            password: Secret,
        }
        let account = Account {
            password: Secret::from("hunter2"),
        };
        assert_eq!(format!("{account:?}"), "Account { password: [secret] }");
        assert!(!format!("{account:#?}").contains("hunter2"));
    }

    #[test]
    fn the_value_comes_back_when_asked_for() {
        let secret = Secret::new(vec![1_u8, 2, 3]);
        assert_eq!(secret.expose(), &[1, 2, 3]);
    }
}
