//! The writer thread: takes what has queued, runs it in one transaction, answers after the COMMIT.
//!
//! A plain thread rather than a task, because it does nothing but block, and because the queue must be emptied even while the async
//! runtime shuts down. Some failures (a full disk above all) make SQLite roll back the whole transaction by itself; then everybody in
//! the batch is told so, also those whose own statements had worked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Error, again::Again};

/// The most closures in one transaction.
const BATCH: usize = 256;

/// Owns the thread; dropping it lets the queue run empty and waits for the end.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        again: Again,
        queued: usize,
    ) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel(queued);
        let thread = thread::Builder::new()
            .name("sql-writer".to_owned())
            .spawn(move || run(connection, &again, jobs))
            .map_err(|_| Error::Closed)?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(super) async fn queue(&self, job: Box<dyn Job>) -> Result<(), Error> {
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        queue.send(job).await.map_err(|_| Error::Closed)
    }

    pub(super) fn queue_now(&self, job: Box<dyn Job>) -> Result<(), Error> {
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        queue.blocking_send(job).map_err(|_| Error::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        // A closure may have held the last handle; then this is the writer thread itself, on its way out.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the database's writer thread panicked");
        }
    }
}

/// A closure and who waits for it.
pub(super) trait Job: Send {
    /// Runs the closure; `false` asks for a rollback to where it began.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Tells the caller: the closure's own result when committed, or why it could not be.
    fn finish(self: Box<Self>, committed: Result<(), Error>);
}

struct Work<F, T, E> {
    closure: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

pub(super) fn job<F, T, E>(closure: F, reply: oneshot::Sender<Result<T, E>>) -> Box<dyn Job>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    Box::new(Work {
        closure: Some(closure),
        result: None,
        reply,
    })
}

impl<F, T, E> Job for Work<F, T, E>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(closure) = self.closure.take() else {
            return false;
        };
        let result = catch_unwind(AssertUnwindSafe(|| closure(connection)))
            .unwrap_or_else(|_| Err(Error::Panicked.into()));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn finish(self: Box<Self>, committed: Result<(), Error>) {
        let answer = match (committed, self.result) {
            // A closure's own error is more telling than that its batch failed too.
            (_, Some(Err(error))) => Err(error),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => Err(Error::Closed.into()),
        };
        // A caller that left does not want to know.
        let _ = self.reply.send(answer);
    }
}

fn run(connection: Connection, again: &Again, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    let (mut writer, mut refused) = (Ok(connection), false);
    let mut batch = Vec::new();
    while jobs.blocking_recv_many(&mut batch, BATCH) > 0 {
        if refused || writer.as_ref().is_ok_and(is_read_only) {
            writer = again.open(writer);
        }
        let committed = match &writer {
            Ok(connection) => commit(connection, &mut batch),
            Err(error) => Err(error.clone()),
        };
        refused = writer.is_err() || matches!(committed, Err(Error::ReadOnly(_)));
        if let Err(error) = &committed {
            tracing::error!(
                error = error as &dyn std::error::Error,
                writes = batch.len(),
                "a transaction failed"
            );
        }
        for job in batch.drain(..) {
            job.finish(committed.clone());
        }
    }
}

/// Whether SQLite opened the file for reading, because it could not be written then.
fn is_read_only(connection: &Connection) -> bool {
    connection.is_readonly(rusqlite::MAIN_DB).unwrap_or(false)
}

fn commit(connection: &Connection, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = run_all(connection, batch).and_then(|()| execute(connection, "COMMIT"));
    if done.is_err() && !connection.is_autocommit() {
        execute(connection, "ROLLBACK")?;
    }
    done
}

fn run_all(connection: &Connection, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
    for job in batch {
        execute(connection, "SAVEPOINT one")?;
        let keep = job.run(connection);
        if connection.is_autocommit() {
            return Err(Error::RolledBack);
        }
        if !keep {
            execute(connection, "ROLLBACK TO one")?;
        }
        execute(connection, "RELEASE one")?;
    }
    Ok(())
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql)?.execute(())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::pool::Pool;
    use super::*;

    fn rows(connection: &Connection) -> i64 {
        let count = connection.query_row("SELECT count(*) FROM t", (), |row| row.get(0));
        count.unwrap()
    }

    #[test]
    fn what_queued_meanwhile_becomes_visible_in_one_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let connection = super::super::open::writer(&path, &["CREATE TABLE t (x)"]).unwrap();
        let (queue, jobs) = mpsc::channel(16);
        let mut answers = Vec::new();
        for _ in 0..3 {
            let other = super::super::open::reader(&path).unwrap();
            let closure = move |connection: &Connection| -> Result<(i64, i64), Error> {
                connection.execute("INSERT INTO t VALUES (1)", ())?;
                Ok((rows(connection), rows(&other)))
            };
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            queue.blocking_send(job(closure, reply)).ok().unwrap();
        }
        drop(queue);
        let pool = Pool::new(path.clone(), 1, super::super::open::reader(&path).unwrap());
        run(connection, &Again::new(&Arc::new(pool), &[]), jobs);
        let seen = answers
            .into_iter()
            .map(|answer| answer.blocking_recv().unwrap().unwrap());
        assert_eq!(seen.collect::<Vec<_>>(), [(1, 0), (2, 0), (3, 0)]);
    }
}
