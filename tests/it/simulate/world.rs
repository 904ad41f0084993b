//! The simulated mesh: four nodes on disks that lose and fail, clocks that somebody sets, and paths that break.
//!
//! Every node has a door, which its children ask for tokens and which stays when the node moves, and a way up of its own to its
//! parent (a `peerEndpoint` that only it knows), so that one spoke can be cut off alone. Clients go to the node itself: no network
//! fault is between them and it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node::app::{Config, Defaults, Running, Slice, start_on};
use node::settings::Settings;
use runtime::file::{Ailing, Files, Real, Volatile};
use runtime::{Clock, Tasks};
use tempfile::TempDir;
use tests::{Chance, Client, FaultProxy, Hook, Origin, canary};
use wire::generation::Generation;

use super::plan::{PARENTS, Place, Plan, SITES, places};
use super::truth::Truth;

/// Simulated time per tick, and how long a tick takes at least: time runs ten times as fast as ours, and slower when the machine is
/// busy, so that nothing times out because of that.
const TICK: Duration = Duration::from_millis(100);
const PACE: Duration = Duration::from_millis(10);
const ACCOUNTS: [&str; 6] = ["ci", "reader", "region", "spoke-a", "spoke-b", "hook"];

pub(super) struct World {
    pub(super) truth: Arc<Truth>,
    pub(super) origin: Origin,
    pub(super) hook: Hook,
    pub(super) sites: Vec<Site>,
    pub(super) plan: Plan,
    /// What runs beside the mesh: time, and clients.
    pub(super) tasks: Tasks,
    pub(super) dir: TempDir,
}

pub(super) struct Site {
    /// The way to its upstream.
    pub(super) way: FaultProxy,
    door: FaultProxy,
    pub(super) clock: Clock,
    pub(super) data: PathBuf,
    pub(super) machine: Option<Machine>,
    /// How often it was started.
    pub(super) runs: u32,
}

/// A node that runs, and what it runs on.
pub(super) struct Machine {
    pub(super) running: Running,
    pub(super) disk: Ailing,
    power: Volatile,
    clock: Clock,
    tasks: Tasks,
    is_up: Arc<AtomicBool>,
    /// With every right, and with few: one of each, since making a client reads the machine's trusted roots.
    clients: [Arc<Client>; 2],
}

/// Where a client stands.
#[derive(Clone)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) run: u32,
    pub(super) client: Arc<Client>,
    pub(super) stranger: Arc<Client>,
    /// How old a fresh answer by tag may be here.
    pub(super) bound: Duration,
    is_up: Arc<AtomicBool>,
}

impl World {
    pub(super) async fn start(plan: Plan, truth: Arc<Truth>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_secrets(dir.path());
        let origin = Origin::start().await;
        // Files carry the machine's own time: the mesh lives in our days.
        let wall_ms = Clock::system().wall_ms();
        let mut sites = Vec::new();
        for (place, name) in SITES.iter().enumerate() {
            sites.push(Site {
                way: FaultProxy::to_nowhere().await,
                door: FaultProxy::to_nowhere().await,
                clock: Clock::manual(wall_ms + plan.skews[place]),
                data: dir.path().join("data").join(name),
                machine: None,
                runs: 0,
            });
        }
        sites[0].way.aim(origin.address());
        let mut world = Self {
            truth,
            origin,
            hook: Hook::start().await,
            sites,
            plan,
            tasks: Tasks::new("simulation"),
            dir,
        };
        world.let_time_pass();
        for place in places() {
            let started = world.start_site(place).await;
            started.unwrap_or_else(|error| panic!("{} does not start: {error}", SITES[place]));
        }
        world
    }

    fn clocks(&self) -> Vec<Clock> {
        let sites = self.sites.iter().map(|site| site.clock.clone());
        std::iter::once(self.truth.clock.clone())
            .chain(sites)
            .collect()
    }

    fn let_time_pass(&self) {
        let clocks = self.clocks();
        self.tasks.spawn("time", async move {
            let real = Clock::system();
            loop {
                real.sleep(PACE).await;
                clocks.iter().for_each(|clock| clock.advance(TICK));
            }
        });
    }

    /// Everybody sleeps for so long.
    pub(super) fn leap(&self, by: Duration) {
        self.truth.leapt(by);
        self.clocks().iter().for_each(|clock| clock.advance(by));
    }

    /// Starts a site on what its disk has; an error says why it does not.
    pub(super) async fn start_site(&mut self, place: Place) -> Result<(), String> {
        let slice = self.slice(place);
        let site = &mut self.sites[place];
        let grave = site.data.with_extension(format!("grave-{}", site.runs));
        let power = Volatile::new(Arc::new(Real), grave).map_err(|it| it.to_string())?;
        let disk = Ailing::new(Arc::new(power.clone()));
        let files: Arc<dyn Files> = Arc::new(disk.clone());
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let config = Config {
            name: SITES[place].parse().expect("a node's name"),
            data_dir: site.data.clone(),
            listen: Some(loopback),
            admin: Some(loopback),
            defaults: Defaults::Up,
            settings: settings(),
        };
        let (tasks, clock) = (Tasks::new(SITES[place]), site.clock.restarted());
        let running = start_on(files, config, slice, clock.clone(), &tasks)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let address = running.address();
        site.runs += 1;
        site.machine = Some(Machine {
            running,
            disk,
            power,
            clock,
            tasks,
            is_up: Arc::new(AtomicBool::new(true)),
            clients: ["ci", "reader"].map(|account| {
                let client = Client::new(format!("http://{address}"));
                Arc::new(client.with_account(account, &canary::secret(account)))
            }),
        });
        site.door.aim(address);
        for child in self.children(place) {
            self.sites[child].way.aim(address);
        }
        Ok(())
    }

    fn children(&self, of: Place) -> Vec<Place> {
        places()
            .filter(|place| PARENTS[*place] == Some(of))
            .collect()
    }

    /// The power of a site fails; what survives is drawn from `chance`. What its disk then has is verified.
    pub(super) async fn crash(&mut self, place: Place, mut chance: Chance) {
        let Some(machine) = self.sites[place].machine.take() else {
            return;
        };
        machine.is_up.store(false, Ordering::SeqCst);
        let lost = machine.power.power_off(|pending| {
            // All, nothing, or something: the extremes find most.
            match chance.below(3) {
                0 => 0,
                1 => pending,
                _ => usize::try_from(chance.below(pending as u64 + 1)).expect("as many"),
            }
        });
        lost.expect("the test's own disk undoes what it did");
        machine.tasks.abort();
        drop(machine.running);
        machine.tasks.drain(Duration::ZERO).await;
        self.verify(place, "after a crash").await;
    }

    /// A polite end, as by SIGTERM.
    pub(super) async fn stop(&mut self, place: Place) {
        if let Some(machine) = self.sites[place].machine.take() {
            machine.is_up.store(false, Ordering::SeqCst);
            let timeout = Duration::from_millis(50);
            machine.running.drain(timeout).await;
            drop(machine.running);
            machine.tasks.drain(timeout).await;
            self.verify(place, "after a stop").await;
        }
    }

    /// I2 and I3 by the code of `regmesh verify`.
    pub(super) async fn verify(&self, place: Place, when: &str) {
        let data = self.sites[place].data.clone();
        let verify = move || node::store::verify::verify(&data, &Real);
        let report = self.tasks.spawn_blocking("verify", verify).await.unwrap();
        let site = SITES[place];
        match report {
            Ok(report) if report.problems.is_empty() => {}
            Ok(report) => {
                let problems = report.problems.join("; ");
                self.truth
                    .broken("I2", format!("{site} {when}: {problems}"));
            }
            Err(error) => self.truth.broken("I2", format!("{site} {when}: {error}")),
        }
    }

    /// Where a client of a site stands; `None` while it is down.
    pub(super) fn spot(&self, place: Place) -> Option<Spot> {
        let site = &self.sites[place];
        let machine = site.machine.as_ref()?;
        Some(Spot {
            place,
            run: site.runs,
            client: Arc::clone(&machine.clients[0]),
            stranger: Arc::clone(&machine.clients[1]),
            bound: self.bound(place),
            is_up: Arc::clone(&machine.is_up),
        })
    }

    /// What the checks of a chain add up to, `Age` in whole seconds, and one probe with all its time-outs.
    fn bound(&self, place: Place) -> Duration {
        let (mut seconds, mut next) = (12, Some(place));
        while let Some(place) = next {
            seconds += self.plan.checks[place] + 1;
            next = PARENTS[place];
        }
        Duration::from_secs(seconds)
    }

    pub(super) fn running(&self, place: Place) -> &Running {
        let machine = self.sites[place].machine.as_ref();
        &machine.expect("the site runs").running
    }

    /// The time by which a running site compares what it stored.
    pub(super) fn steady_ms(&self, place: Place) -> i64 {
        let machine = self.sites[place].machine.as_ref();
        machine.expect("the site runs").clock.steady_ms()
    }

    fn slice(&self, place: Place) -> Slice {
        let files = [("mesh.yaml".to_owned(), self.document(place))];
        let loaded = topology::load(&files).unwrap_or_else(|problems| {
            let shown: Vec<String> = problems.iter().map(|it| it.render(false)).collect();
            panic!("refused:\n{}\n{}", shown.join("\n"), files[0].1)
        });
        let node = SITES[place].parse().expect("a node's name");
        let slice = topology::slice::slice(&loaded.topology, &node).expect("it is declared");
        let text = slice.to_yaml().expect("a document can be written");
        Slice::read(Generation(1), node, &text).expect("a slice of a valid topology is valid")
    }

    /// The topology as this site is to see it: its own way leads to its parent.
    fn document(&self, viewer: Place) -> String {
        let mut text = String::from("version: 1\nmesh: storm\nnodes:\n");
        let secret = |name: &str| {
            let file = self.dir.path().join("secrets").join(name);
            format!("{{file: \"{}\"}}", file.display())
        };
        for (place, name) in SITES.iter().enumerate() {
            let site = &self.sites[place];
            write!(text, "  {name}: {{endpoint: \"{}\"", site.door.url()).unwrap();
            if let Some(parent) = PARENTS[place] {
                write!(text, ", parent: {}", SITES[parent]).unwrap();
            }
            if PARENTS[viewer] == Some(place) {
                let way = self.sites[viewer].way.url();
                write!(text, ", peerEndpoint: \"{way}\"").unwrap();
            }
            text.push_str("}\n");
        }
        text.push_str("credentials:\n");
        for (place, parent) in PARENTS.iter().enumerate() {
            if let Some(parent) = parent {
                let (name, host) = (SITES[place], self.sites[*parent].door.host());
                let (user, password) = (secret(&format!("{name}.user")), secret(name));
                writeln!(
                    text,
                    "  {name}: {{loginServer: \"{host}\", username: {user}, password: {password}}}"
                )
                .unwrap();
            }
        }
        text.push_str("accounts:\n");
        for name in &ACCOUNTS[..5] {
            writeln!(text, "  {name}: {{password: {}}}", secret(name)).unwrap();
        }
        text.push_str("rules:\n");
        for (place, name) in SITES.iter().enumerate() {
            let (source, shown) = match PARENTS[place] {
                None => (format!("{}/*", self.sites[0].way.host()), String::new()),
                Some(_) => ("parent://up/*".to_owned(), format!(", credentials: {name}")),
            };
            let check = match self.plan.checks[place] {
                0 => "always".to_owned(),
                seconds => format!("{seconds}s"),
            };
            writeln!(text, "  {name}-up: {{on: {name}, source: \"{source}\", target: \"up/*\"{shown}, freshness: {{check: {check}}}}}").unwrap();
        }
        let all = SITES.join(", ");
        text.push_str("access:\n");
        for role in ["repository-reader", "repository-writer"] {
            writeln!(
                text,
                "  - {{allow: {role}, to: \"account:ci\", on: [{all}]}}"
            )
            .unwrap();
        }
        writeln!(text, "  - {{allow: repository-reader, to: \"account:reader\", on: [{all}], repositories: [\"up/team/*\"]}}").unwrap();
        for (place, parent) in PARENTS.iter().enumerate() {
            if let Some(parent) = parent {
                let (child, parent) = (SITES[place], SITES[*parent]);
                writeln!(text, "  - {{allow: repository-reader, to: \"account:{child}\", on: {parent}, repositories: [\"up/*\"]}}").unwrap();
            }
        }
        let (url, secret) = (self.hook.url(), secret("hook"));
        writeln!(text, "webhooks:\n  all: {{on: [{all}], url: \"{url}\", actions: [push, delete], secret: {secret}}}").unwrap();
        text
    }
}

impl Spot {
    /// Whether the node that the client talks to was never ended.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::SeqCst)
    }
}

/// In simulated time.
fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        first_byte: seconds(6),
        progress: seconds(6),
        breaker_probe: seconds(1),
        copy_pause: Duration::from_millis(500),
        gc_grace: seconds(60),
        ..Settings::default()
    }
}

fn write_secrets(dir: &Path) {
    let dir = dir.join("secrets");
    std::fs::create_dir_all(&dir).unwrap();
    for name in ACCOUNTS {
        std::fs::write(dir.join(name), canary::secret(name)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.join(name), mode).unwrap();
        std::fs::write(dir.join(format!("{name}.user")), name).unwrap();
    }
}
