//! The breakable path between two parties: a TCP proxy that delays, throttles, holds, cuts, refuses and swallows on demand.
//!
//! Portable and deterministic where the kernel's queues are neither. It knows nothing of HTTP: bytes are counted per connection and
//! direction, from the target to the client unless said otherwise. What a direction swallows arrives when it heals, as TCP would
//! send it again. A way that swallows connections too is a listener whose queue is full: the kernel drops what knocks there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::{Clock, Tasks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::server::Cut;

/// What the path does to those who take it. Changes hold at once, for open connections too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Before each piece of data.
    pub latency: Duration,
    /// Bytes a second and direction.
    pub bandwidth: Option<u64>,
    /// Bytes towards the client wait; the connection stays.
    pub hold_down: bool,
    /// Bytes towards the target wait.
    pub hold_up: bool,
    /// The next connections, so many, are cut after so many bytes towards the client.
    pub cut: Option<(u64, Cut, usize)>,
}

pub struct FaultProxy {
    address: SocketAddr,
    path: Arc<Path>,
    tasks: Tasks,
    running: Mutex<Running>,
}

/// What is going on at the port.
struct Running {
    accepting: Tasks,
    connections: Tasks,
    /// A listener that nobody accepts from, and what fills its queue.
    deaf: Option<(TcpListener, TcpStream)>,
}

struct Path {
    target: watch::Sender<Option<SocketAddr>>,
    weather: watch::Sender<Weather>,
    clock: Clock,
    connections: AtomicUsize,
    down: AtomicU64,
}

impl FaultProxy {
    /// A clear path to `target` on a port of its own.
    pub async fn to(target: SocketAddr) -> Self {
        let proxy = Self::to_nowhere().await;
        proxy.aim(target);
        proxy
    }

    /// A port whose connections end at once until the path is aimed.
    pub async fn to_nowhere() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tasks = Tasks::new("fault proxy");
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            path: Arc::new(Path {
                target: watch::Sender::new(None),
                weather: watch::Sender::new(Weather::default()),
                clock: Clock::system(),
                connections: AtomicUsize::new(0),
                down: AtomicU64::new(0),
            }),
            running: Mutex::new(Running::below(&tasks)),
            tasks,
        };
        proxy.run(listener);
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where new connections lead from now on.
    pub fn aim(&self, target: SocketAddr) {
        self.path.target.send_replace(Some(target));
    }

    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.path.weather.send_modify(change);
    }

    /// Fair weather again; what was held goes on.
    pub fn clear(&self) {
        self.path.weather.send_replace(Weather::default());
    }

    /// The next connection ends after so many bytes towards the client.
    pub fn cut_next(&self, after: u64, cut: Cut) {
        self.change(|weather| weather.cut = Some((after, cut, 1)));
    }

    /// Every open connection ends now; new ones are refused until [`FaultProxy::restore`].
    pub async fn refuse(&self) {
        let ended = {
            let mut running = self.running.lock().unwrap();
            std::mem::replace(&mut *running, Running::below(&self.tasks))
        };
        ended.accepting.drain(Duration::ZERO).await;
        ended.connections.drain(Duration::ZERO).await;
    }

    /// Every open connection ends now; new ones are welcome.
    pub async fn drop_all(&self) {
        self.refuse().await;
        self.restore().await;
    }

    /// Nothing comes through either way, and who connects hears nothing, until [`FaultProxy::restore`]. Open connections stay.
    pub async fn swallow(&self) {
        self.change(|weather| (weather.hold_down, weather.hold_up) = (true, true));
        self.stop_accepting().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        // One connection fills a queue of none.
        let listener = socket.listen(0).unwrap();
        let filler = TcpStream::connect(self.address).await.unwrap();
        self.running.lock().unwrap().deaf = Some((listener, filler));
    }

    /// Fair weather and new connections again, whatever was.
    pub async fn restore(&self) {
        self.stop_accepting().await;
        self.clear();
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.run(listener);
    }

    /// The listener goes, whichever it is; connections stay.
    async fn stop_accepting(&self) {
        let accepting = {
            let mut running = self.running.lock().unwrap();
            running.deaf = None;
            std::mem::replace(&mut running.accepting, self.tasks.child("listen"))
        };
        accepting.drain(Duration::ZERO).await;
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.path.connections.load(Ordering::SeqCst)
    }

    /// Bytes towards clients so far.
    pub fn bytes_down(&self) -> u64 {
        self.path.down.load(Ordering::SeqCst)
    }

    fn run(&self, listener: TcpListener) {
        let running = self.running.lock().unwrap();
        let (path, connections) = (Arc::clone(&self.path), running.connections.clone());
        running.accepting.spawn("accept", async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let path = Arc::clone(&path);
                path.connections.fetch_add(1, Ordering::SeqCst);
                // Ends of connections are what this is for; they are no errors.
                connections.spawn("connection", async move {
                    let _ = path.connect(client).await;
                });
            }
        });
    }
}

impl Running {
    fn below(tasks: &Tasks) -> Self {
        Self {
            accepting: tasks.child("listen"),
            connections: tasks.child("connections"),
            deaf: None,
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Path {
    async fn connect(&self, client: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        let cut = self.take_cut();
        let Some(target) = *self.target.borrow() else {
            return Ok(());
        };
        let target = TcpStream::connect(target).await?;
        target.set_nodelay(true)?;
        let (client_read, client_write) = client.into_split();
        let (target_read, target_write) = target.into_split();
        let up = self.pump(client_read, target_write, |weather| weather.hold_up);
        let down = self.pump_down(target_read, client_write, cut);
        // A cut ends both ways at once; a half-close does not.
        tokio::select! {
            result = down => result,
            Err(error) = up => Err(error),
        }
    }

    fn take_cut(&self) -> Option<(u64, Cut)> {
        let mut taken = None;
        self.weather.send_if_modified(|weather| {
            if let Some((after, cut, left)) = weather.cut {
                taken = Some((after, cut));
                weather.cut = (left > 1).then_some((after, cut, left - 1));
            }
            false
        });
        taken
    }

    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        held: impl Fn(&Weather) -> bool,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            self.suffer(read, &held).await;
            if read == 0 {
                to.shutdown().await?;
                // The other way decides when the connection is over.
                return std::future::pending().await;
            }
            to.write_all(&buffer[..read]).await?;
        }
    }

    async fn pump_down(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        cut: Option<(u64, Cut)>,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = cut.map_or(u64::MAX, |(after, _)| after);
        loop {
            let room = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            if let (0, Some((_, cut))) = (room, cut) {
                if cut == Cut::Reset {
                    to.as_ref().set_zero_linger()?;
                }
                return Ok(());
            }
            let read = from.read(&mut buffer[..room]).await?;
            self.suffer(read, &|weather| weather.hold_down).await;
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..read]).await?;
            left -= read as u64;
            self.down.fetch_add(read as u64, Ordering::SeqCst);
        }
    }

    /// Waits as long as the weather wants for so many bytes.
    async fn suffer(&self, bytes: usize, held: &impl Fn(&Weather) -> bool) {
        let mut weather = self.weather.subscribe();
        let now = match weather.wait_for(|weather| !held(weather)).await {
            Ok(weather) => *weather,
            Err(_) => return,
        };
        let paced = now
            .bandwidth
            .map_or(0.0, |bandwidth| bytes as f64 / bandwidth as f64);
        let pause = now.latency + Duration::from_secs_f64(paced);
        if pause > Duration::ZERO {
            self.clock.sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests;
