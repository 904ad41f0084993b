//! SQLite as we use it: WAL, `synchronous=FULL`, one writer, several readers, migrations from the binary.
//!
//! A write is a closure. One thread runs what has queued in a single transaction, a savepoint around each closure, so a failing
//! closure is rolled back alone; each caller hears back only after the COMMIT. A write whose caller goes away is still carried out.
//! SQL itself stays with the callers' `sqlite.rs`; PostgreSQL is `sql/postgres.rs`.
//!
//! Reads hop to the blocking pool once per call (`read`), or stay on the calling thread (`read_now`): a point lookup takes 4 µs, the
//! hop ten times that (`reference/dependencies.md` 4.3).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

mod again;
mod error;
mod open;
mod pool;
pub mod postgres;
mod writer;

use again::Again;
pub use error::Error;
use pool::Pool;

/// Beyond this many waiting writes, `write` itself waits.
const QUEUED_WRITES: usize = 1024;

/// Where the database is and how it is read.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file; its directory must exist.
    pub path: PathBuf,
    /// The steps from an empty database to today's, in order. Never edit one that was released: add another.
    pub migrations: &'static [&'static str],
    /// How many `read` calls run at once, and how many connections are kept open for reading.
    pub readers: usize,
}

impl Config {
    /// Four readers: enough for the blocking pool, and a few MiB at most.
    pub fn new(path: impl Into<PathBuf>, migrations: &'static [&'static str]) -> Self {
        Self {
            path: path.into(),
            migrations,
            readers: 4,
        }
    }

    /// Opens the database, creating or migrating it. Blocks.
    ///
    /// A database with more migrations than these is [`Error::Newer`] and is left as it is.
    pub fn open(self) -> Result<Sqlite, Error> {
        let connection = open::writer(&self.path, self.migrations)?;
        self.over(connection)
    }

    fn over(self, writer: Connection) -> Result<Sqlite, Error> {
        let first_reader = open::reader(&self.path)?;
        let readers = Arc::new(Pool::new(self.path, self.readers, first_reader));
        let again = Again::new(&readers, self.migrations);
        Ok(Sqlite(Arc::new(Inner {
            writer: writer::Writer::start(writer, again, QUEUED_WRITES)?,
            turns: Arc::new(Semaphore::new(self.readers)),
            readers,
        })))
    }
}

/// An open database. Clones share it; the last one to go finishes queued writes, checkpoints and closes.
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    // Dropped in this order: the writer closes last, and so folds the log into the database.
    readers: Arc<Pool>,
    turns: Arc<Semaphore>,
    writer: writer::Writer,
}

impl Sqlite {
    /// The database's file.
    pub fn path(&self) -> &Path {
        self.0.readers.path()
    }

    /// Runs `query` on the blocking pool with a read-only connection; waits for its turn when all readers are busy.
    ///
    /// Several statements in one closure see one state of the database only inside a transaction of their own.
    pub async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let turn = Arc::clone(&self.0.turns).acquire_owned().await;
        let turn = turn.expect("the semaphore is never closed");
        let inner = Arc::clone(&self.0);
        let run = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            inner.readers.query(query)
        });
        run.await.unwrap_or_else(|error| match error.is_panic() {
            true => Err(Error::Panicked),
            // The runtime ends, and the pool with it.
            false => Err(Error::Closed),
        })
    }

    /// Runs `query` here and now with a read-only connection. For point lookups: it blocks the calling thread, and never waits for
    /// other readers.
    pub fn read_now<T, F>(&self, query: F) -> Result<T, Error>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T>,
    {
        self.0.readers.query(query)
    }

    /// Runs `work` on the writer thread and returns once it is committed and flushed.
    ///
    /// `Err` from `work` rolls back `work` alone. An error of the commit comes back through `E::from`. Dropping the returned future
    /// after its first poll cancels nothing. `work` must not wait for another write of this database, nor begin a transaction.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queued = self.0.writer.queue(writer::job(work, reply)).await;
        queued.map_err(E::from)?;
        answer.await.unwrap_or_else(|_| Err(Error::Panicked.into()))
    }

    /// [`Sqlite::write`] for a thread that may block; panics on a thread that drives async tasks.
    pub fn write_now<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queued = self.0.writer.queue_now(writer::job(work, reply));
        queued.map_err(E::from)?;
        answer
            .blocking_recv()
            .unwrap_or_else(|_| Err(Error::Panicked.into()))
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use tempfile::TempDir;

    const ONE: &[&str] =
        &["CREATE TABLE pair (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT"];
    const TWO: &[&str] = &[ONE[0], "ALTER TABLE pair ADD COLUMN note TEXT"];

    fn database() -> (TempDir, Sqlite) {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = open_in(&dir, ONE).unwrap();
        (dir, sqlite)
    }

    fn open_in(dir: &TempDir, migrations: &'static [&'static str]) -> Result<Sqlite, Error> {
        Config::new(dir.path().join("test.db"), migrations).open()
    }

    fn insert(name: &str, value: i64) -> impl FnOnce(&Connection) -> Result<(), Error> + use<> {
        let name = name.to_owned();
        move |connection| {
            connection.execute(
                "INSERT INTO pair (name, value) VALUES (?1, ?2)",
                (name, value),
            )?;
            Ok(())
        }
    }

    fn count(connection: &Connection) -> rusqlite::Result<i64> {
        connection.query_row("SELECT count(*) FROM pair", (), |row| row.get(0))
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_reopening() {
        let (dir, sqlite) = database();
        sqlite.write(insert("a", 1)).await.unwrap();
        assert_eq!(sqlite.read(count).await.unwrap(), 1);
        assert_eq!(sqlite.read_now(count).unwrap(), 1);
        drop(sqlite);
        assert!(
            !dir.path().join("test.db-wal").exists(),
            "closing folds the log in"
        );
        assert_eq!(open_in(&dir, ONE).unwrap().read_now(count).unwrap(), 1);
    }

    #[tokio::test]
    async fn the_pragmas_are_what_we_promise() {
        let (_dir, sqlite) = database();
        let text = |name: &'static str| {
            move |connection: &Connection| {
                connection.pragma_query_value(None, name, |row| {
                    row.get_ref(0).map(|value| format!("{value:?}"))
                })
            }
        };
        for (name, value) in [
            ("journal_mode", "Text([119, 97, 108])"),
            ("synchronous", "Integer(2)"),
            ("foreign_keys", "Integer(1)"),
            ("busy_timeout", "Integer(5000)"),
        ] {
            let on_writer =
                sqlite.write(move |connection| text(name)(connection).map_err(Error::from));
            assert_eq!(on_writer.await.unwrap(), value, "{name}");
        }
        let refused = sqlite.read_now(|connection| connection.execute("DELETE FROM pair", ()));
        assert!(matches!(refused, Err(Error::ReadOnly(_))));
    }

    #[tokio::test]
    async fn a_failing_closure_is_rolled_back_alone() {
        let (_dir, sqlite) = database();
        let writes = (0..100).map(|number| {
            let sqlite = sqlite.clone();
            async move {
                let work = insert(&format!("n{number}"), number);
                let result = sqlite
                    .write(move |connection| {
                        work(connection)?;
                        if number % 10 == 0 {
                            Err(Error::Panicked)
                        } else {
                            Ok(())
                        }
                    })
                    .await;
                assert_eq!(result.is_err(), number % 10 == 0);
            }
        });
        join_all(writes).await;
        assert_eq!(sqlite.read(count).await.unwrap(), 90);
    }

    #[tokio::test]
    async fn a_panicking_closure_harms_nobody_else() {
        let (_dir, sqlite) = database();
        let broken = sqlite.write::<(), Error, _>(|connection| {
            insert("a", 1)(connection)?;
            unreachable!("on purpose")
        });
        let (broken, fine) = tokio::join!(broken, sqlite.write(insert("b", 2)));
        assert!(matches!(broken, Err(Error::Panicked)));
        fine.unwrap();
        assert_eq!(sqlite.read(count).await.unwrap(), 1);
        let read = sqlite.read::<(), _>(|_| unreachable!("on purpose")).await;
        assert!(matches!(read, Err(Error::Panicked)));
        assert_eq!(sqlite.read(count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_write_whose_caller_left_is_carried_out() {
        let (_dir, sqlite) = database();
        {
            let mut write = Box::pin(sqlite.write(insert("a", 1)));
            let _ = futures_util::poll!(&mut write);
        }
        sqlite.write(insert("b", 2)).await.unwrap();
        assert_eq!(sqlite.read(count).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_constraint_is_told_from_a_broken_disk() {
        let (_dir, sqlite) = database();
        sqlite.write(insert("a", 1)).await.unwrap();
        let again = sqlite.write(insert("a", 2)).await;
        assert!(matches!(again, Err(Error::Constraint(_))));
    }

    #[test]
    fn a_full_database_refuses_the_whole_batch_and_recovers() {
        let (_dir, sqlite) = database();
        let limit = |pages: i64| {
            move |connection: &Connection| -> Result<(), Error> {
                Ok(connection.pragma_update(None, "max_page_count", pages)?)
            }
        };
        let big = |connection: &Connection| -> Result<(), Error> {
            let sql = "INSERT INTO pair (name, value) SELECT hex(randomblob(100000)), 1";
            connection.execute(sql, ())?;
            Ok(())
        };
        sqlite.write_now(limit(8)).unwrap();
        assert!(matches!(sqlite.write_now(big), Err(Error::Full(_))));
        sqlite.write_now(limit(1_000_000)).unwrap();
        sqlite.write_now(big).unwrap();
        assert_eq!(sqlite.read_now(count).unwrap(), 1);
    }

    #[test]
    fn migrations_run_once_and_a_newer_database_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(open_in(&dir, ONE).unwrap());
        drop(open_in(&dir, TWO).unwrap());
        drop(open_in(&dir, TWO).unwrap());
        let before = std::fs::read(dir.path().join("test.db")).unwrap();
        let older = open_in(&dir, ONE);
        assert!(matches!(older, Err(Error::Newer { found: 2, known: 1 })));
        assert_eq!(std::fs::read(dir.path().join("test.db")).unwrap(), before);
    }

    #[test]
    fn a_broken_migration_leaves_the_database_as_it_was() {
        const BROKEN: &[&str] = &[
            ONE[0],
            "CREATE TABLE other (x INTEGER); SELECT nonsense FROM nowhere",
        ];
        let dir = tempfile::tempdir().unwrap();
        drop(open_in(&dir, ONE).unwrap());
        assert!(open_in(&dir, BROKEN).is_err());
        assert!(open_in(&dir, TWO).is_ok());
    }

    /// Opened by SQLite while the file could not be written, which it then never tries again.
    fn opened_read_only(dir: &TempDir) -> Sqlite {
        drop(open_in(dir, ONE).unwrap());
        let config = Config::new(dir.path().join("test.db"), ONE);
        let writer = open::reader(&config.path).unwrap();
        config.over(writer).unwrap()
    }

    #[tokio::test]
    async fn what_was_opened_read_only_writes_as_soon_as_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let (sqlite, path) = (opened_read_only(&dir), dir.path().join("test.db"));
        let moved = dir.path().join("moved.db");
        // Permissions stop nobody who is root: what cannot be found cannot be written by anybody.
        std::fs::rename(&path, &moved).unwrap();
        for _ in 0..2 {
            let refused = sqlite.write(insert("a", 1)).await;
            assert!(matches!(refused, Err(Error::ReadOnly(_))), "{refused:?}");
            assert_eq!(sqlite.read(count).await.unwrap(), 0);
            assert!(!path.exists(), "none is made");
        }
        std::fs::rename(&moved, &path).unwrap();
        sqlite.write(insert("a", 1)).await.unwrap();
        sqlite.write(insert("b", 2)).await.unwrap();
        assert_eq!(sqlite.read_now(count).unwrap(), 2);
        drop(sqlite);
        assert!(!dir.path().join("test.db-wal").exists());
        assert_eq!(open_in(&dir, ONE).unwrap().read_now(count).unwrap(), 2);
    }

    #[tokio::test]
    async fn another_file_in_its_place_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (sqlite, path) = (opened_read_only(&dir), dir.path().join("test.db"));
        let other = dir.path().join("other.db");
        std::fs::copy(&path, &other).unwrap();
        std::fs::rename(&other, &path).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(sqlite.write(insert("a", 1)).await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_is_no_database_is_corrupt() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("test.db"), vec![b'x'; 8192]).unwrap();
        assert!(matches!(open_in(&dir, ONE), Err(Error::Corrupt(_))));
    }
}
