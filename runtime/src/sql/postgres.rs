//! PostgreSQL as we use it: a small pool, migrations from the binary, failures sorted by what can be done about them.
//!
//! Migrations run in one transaction under an advisory lock, so that several processes may start at once; their version is kept in the
//! table `schema_version`. A database of a newer release is refused before anything of it changes. Nothing waits without end: for a
//! connection 5 s, for a statement 30 s. SQL itself stays with the callers' `postgres.rs`.

use std::{sync::Arc, time::Duration};

use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use sqlx::PgPool;

/// Enough for one control plane: it batches what it writes.
const CONNECTIONS: u32 = 8;
/// How long a caller waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Names the lock under which migrations run.
const LOCK: i64 = 0x7265_676d_6573_6801;

/// Why PostgreSQL did not do what it was asked. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The URL is not one of PostgreSQL's. It is not repeated, because it may hold a password.
    #[error("the URL of the database is not of the form postgres://USER@HOST/DATABASE")]
    Url,
    /// It cannot be reached, refuses the connection, goes down or does not answer in time.
    #[error("the database cannot be reached: {0}")]
    Away(#[source] Arc<sqlx::Error>),
    /// Its disk or a limit of it is full.
    #[error("the database has no room left: {0}")]
    Full(#[source] Arc<sqlx::Error>),
    /// It takes no writes.
    #[error("the database cannot be written: {0}")]
    ReadOnly(#[source] Arc<sqlx::Error>),
    /// It says itself that it is damaged, or holds what this release cannot have written.
    #[error("the database is damaged: {0}")]
    Corrupt(#[source] Arc<sqlx::Error>),
    /// Anything else, mostly mistakes of ours in SQL and missing rights.
    #[error("the database refused a statement: {0}")]
    Other(#[source] Arc<sqlx::Error>),
    /// A newer release wrote this database.
    #[error(
        "the database has version {found}, this release knows {known}: start the newer release, or restore a backup"
    )]
    Newer {
        /// The version found.
        found: i64,
        /// The newest version this release knows.
        known: i64,
    },
}

impl From<sqlx::Error> for Error {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the driver may add kinds of errors at any time"
    )]
    fn from(error: sqlx::Error) -> Self {
        let kind: fn(Arc<sqlx::Error>) -> Self = match &error {
            sqlx::Error::Database(told) => kind(told.code().as_deref().unwrap_or_default()),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Away,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt,
            _ => Self::Other,
        };
        kind(Arc::new(error))
    }
}

/// By SQLSTATE: <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
fn kind(state: &str) -> fn(Arc<sqlx::Error>) -> Error {
    match state {
        "25006" => Error::ReadOnly,
        "53100" | "53200" | "53400" | "54000" => Error::Full,
        "53300" | "55P03" | "40001" | "40P01" => Error::Away,
        "XX001" | "XX002" => Error::Corrupt,
        _ if ["08", "28", "3D", "57"]
            .iter()
            .any(|class| state.starts_with(class)) =>
        {
            Error::Away
        }
        _ => Error::Other,
    }
}

/// Connects to `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=…]` and brings the database up to date.
///
/// `migrations` are the steps from an empty database to today's, in order: never edit one that was released, add another.
///
/// # Errors
/// As they say; a database with more migrations than these is [`Error::Newer`] and is left as it is.
pub async fn open(url: &str, migrations: &'static [&'static str]) -> Result<PgPool, Error> {
    // The driver takes any scheme for its own.
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(Error::Url);
    }
    let options: PgConnectOptions = url.parse().map_err(|_| Error::Url)?;
    let options = options
        .application_name("regmesh")
        .options([("statement_timeout", "30s"), ("lock_timeout", "10s")]);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        .connect_with(options)
        .await?;
    let mut connection = pool.acquire().await?;
    migrate(&mut connection, migrations).await?;
    drop(connection);
    Ok(pool)
}

async fn migrate(
    connection: &mut PgConnection,
    migrations: &'static [&'static str],
) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    let kept: bool = sqlx::query_scalar("SELECT to_regclass('schema_version') IS NOT NULL")
        .fetch_one(&mut *transaction)
        .await?;
    let found: i64 = match kept {
        true => {
            sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM schema_version")
                .fetch_one(&mut *transaction)
                .await?
        }
        false => 0,
    };
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known || found < 0 {
        return Err(Error::Newer { found, known });
    }
    if !kept {
        sqlx::raw_sql("CREATE TABLE schema_version (version BIGINT PRIMARY KEY)")
            .execute(&mut *transaction)
            .await?;
    }
    for (version, migration) in (1_i64..).zip(migrations).filter(|(v, _)| *v > found) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_follows_from_the_code() {
        let error = |state: &str| {
            let sorted = kind(state)(Arc::new(sqlx::Error::PoolClosed));
            format!("{sorted:?}").split('(').next().map(str::to_owned)
        };
        let cases = [
            ("25006", "ReadOnly"),
            ("53100", "Full"),
            ("57P01", "Away"),
            ("57014", "Away"),
            ("08006", "Away"),
            ("28P01", "Away"),
            ("3D000", "Away"),
            ("40P01", "Away"),
            ("XX001", "Corrupt"),
            ("42601", "Other"),
            ("23505", "Other"),
            ("", "Other"),
        ];
        for (state, expected) in cases {
            assert_eq!(error(state).as_deref(), Some(expected), "{state}");
        }
    }

    #[tokio::test]
    async fn what_is_no_url_is_not_repeated() {
        let error = open("sqlite://secret:hunter2@here", &[]).await.err();
        let text = format!(
            "{error:?} {}",
            error.as_ref().map(ToString::to_string).unwrap_or_default()
        );
        assert!(matches!(error, Some(Error::Url)), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
