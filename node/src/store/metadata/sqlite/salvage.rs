//! Metadata that were damaged: told by a cheap look at the file, and read as far as they can be read.
//!
//! The look costs one read: a database that was cut short is shorter than its own header says. Whatever else is wrong shows when
//! SQLite reads it. Each table is copied row by row until it cannot be read further, then from its other end.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use runtime::sql;
use rusqlite::{Connection, OpenFlags, Row, params_from_iter, types::Value};

use super::Sqlite;
use crate::store::Error;

/// Contents before links, so that `blob.links`, which begins at 0, is counted by the links that follow.
const TABLES: [(&str, &str); 10] = [
    ("blob", "digest, size, stored_at, verified_at, 0 AS links"),
    ("manifest", "*"),
    ("child", "*"),
    ("link", "*"),
    ("tag", "*"),
    ("job", "*"),
    ("event", "*"),
    ("delivery", "*"),
    ("upload", "*"),
    ("value", "*"),
];
/// Rows of one transaction.
const BATCH: usize = 1_000;

impl Sqlite {
    /// What is wrong with a file that is shorter than it says; `None` when nothing is, or nothing can be told this cheaply.
    pub(crate) fn is_cut_short(path: &Path) -> Result<Option<String>, Error> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let length = file.metadata()?.len();
        let log = path.with_extension("db-wal");
        let has_log = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
        let mut header = [0; 100];
        if has_log || file.read(&mut header)? < header.len() {
            // The log may hold what the file lacks; and what is shorter than a header is empty or no database.
            return Ok(None);
        }
        let page = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size => u64::from(size),
        };
        let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
        let said = page * u64::from(pages);
        let known = header.starts_with(b"SQLite format 3\0") && header[24..28] == header[92..96];
        let short = known && length < said;
        Ok(short.then(|| format!("the metadata have {length} bytes where {said} were written")))
    }

    /// Copies what can be read of the database at `path`; how many rows that were. Blocks.
    pub(crate) fn take_over(&self, path: &Path) -> Result<usize, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let Ok(old) = Connection::open_with_flags(path, flags) else {
            return Ok(0);
        };
        let mut taken = 0;
        for (table, columns) in TABLES {
            for order in ["ASC", "DESC"] {
                let sql = format!("SELECT {columns} FROM {table} ORDER BY 1 {order}");
                let (rows, whole) = self.take_rows(&old, table, &sql)?;
                taken += rows;
                if whole {
                    break;
                }
            }
        }
        Ok(taken)
    }

    /// How many rows were new, and whether the table was read to its end. What the old database says against it is no error.
    fn take_rows(
        &self,
        old: &Connection,
        table: &'static str,
        sql: &str,
    ) -> Result<(usize, bool), Error> {
        let Ok(mut statement) = old.prepare(sql) else {
            return Ok((0, false));
        };
        let width = statement.column_count();
        let Ok(mut rows) = statement.query([]) else {
            return Ok((0, false));
        };
        let (mut taken, mut batch) = (0, Vec::new());
        let whole = loop {
            match rows.next() {
                Ok(Some(row)) => batch.extend(values(row, width)),
                Ok(None) => break true,
                Err(_) => break false,
            }
            if batch.len() >= BATCH {
                taken += self.put_rows(table, width, std::mem::take(&mut batch))?;
            }
        };
        taken += self.put_rows(table, width, batch)?;
        Ok((taken, whole))
    }

    fn put_rows(
        &self,
        table: &'static str,
        width: usize,
        rows: Vec<Vec<Value>>,
    ) -> Result<usize, Error> {
        let places = vec!["?"; width].join(", ");
        let sql = format!("INSERT INTO {table} VALUES ({places}) ON CONFLICT DO NOTHING");
        let put = self.database.write_now(move |connection| {
            let mut statement = connection.prepare(&sql)?;
            let mut put = 0;
            for row in rows {
                // A row that breaks a rule of its table is part of the damage.
                put += statement.execute(params_from_iter(row)).unwrap_or(0);
            }
            Ok::<usize, sql::Error>(put)
        });
        Ok(put?)
    }
}

fn values(row: &Row<'_>, width: usize) -> Option<Vec<Value>> {
    (0..width).map(|column| row.get(column).ok()).collect()
}
