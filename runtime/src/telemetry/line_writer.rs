//! A queue of lines and the thread that writes them.
//!
//! The queue is bounded and never waited for: a pipe that nobody reads must not stop a registry. Dropped lines are counted, and the
//! count is written once there is room again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

const QUEUED: usize = 8_192;
/// How long a flush may wait for a reader of our output.
const PATIENCE: Duration = Duration::from_secs(2);

/// The queue's entrance. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl LineWriter {
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUED);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(move || run(output, &messages, &counted))?;
        Ok(Self { queue, dropped })
    }

    /// Waits until all that was queued before is written, or for two seconds.
    pub(super) fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(PATIENCE);
        }
    }
}

fn run(mut output: impl Write, messages: &Receiver<Message>, dropped: &AtomicU64) {
    while let Ok(message) = messages.recv() {
        // There is nowhere to report that the log cannot be written.
        let _ = match message {
            Message::Line(line) => output.write_all(&line),
            Message::Flush(done) => {
                let flushed = output.flush();
                let _ = done.try_send(());
                flushed
            }
        };
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                output,
                r#"{{"level":"WARN","message":"log lines were dropped","count":{lost}}}"#
            );
        }
    }
}

/// One line being formatted; queued when dropped.
pub(super) struct Line<'a> {
    writer: &'a LineWriter,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Message::Line(std::mem::take(&mut self.bytes));
        if self.writer.queue.try_send(line).is_err() {
            self.writer.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            writer: self,
            bytes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// Output that blocks until it is let go, like a pipe nobody reads.
    struct Blocked {
        text: Arc<Mutex<Vec<u8>>>,
        let_go: Receiver<()>,
    }

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once let go, the sender is gone and this no longer waits.
            let _ = self.let_go.recv();
            let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_never_time() {
        let (text, (go, let_go)) = (Arc::new(Mutex::new(Vec::new())), sync_channel(0));
        let output = Blocked {
            text: Arc::clone(&text),
            let_go,
        };
        let writer = LineWriter::start(output).unwrap();
        for _ in 0..QUEUED + 100 {
            writer.make_writer().write_all(b"line\n").unwrap();
        }
        let lost = writer.dropped.load(Ordering::Relaxed);
        assert!((99..=100).contains(&lost), "{lost}");
        drop(go);
        for _ in 0..2_000 {
            writer.flush();
            if String::from_utf8_lossy(&text.lock().unwrap())
                .contains(&format!("\"count\":{lost}}}"))
            {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        unreachable!("the loss is never told");
    }
}
