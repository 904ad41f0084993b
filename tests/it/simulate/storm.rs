//! The storm: the steps of a plan carried out one after the other, while clients come and go.

use std::collections::HashMap;
use std::time::Duration;

use tests::{Chance, Fault, Image, Script, When};
use tokio::task::JoinHandle;

use super::plan::{Event, Name, Place, REPOSITORIES, SITES, TAGS, Way, What, Wrong, places};
use super::pull::Puller;
use super::world::{Spot, World};

/// What is left of a storm: clients that still wait, and what was acknowledged.
#[derive(Default)]
pub(super) struct Storm {
    pub(super) clients: Vec<JoinHandle<()>>,
    pushes: Vec<JoinHandle<Option<Image>>>,
    /// Whose way does not listen.
    refused: HashMap<Place, ()>,
}

impl Storm {
    /// Stocks the origin, then lets everything happen.
    pub(super) async fn rage(world: &mut World) -> Self {
        let mut storm = Self::default();
        let mut seed = world.plan.seed.wrapping_mul(77) % 1_000_000_000 + 2_000_000_000;
        for repository in REPOSITORIES {
            for tag in TAGS {
                seed += 1;
                move_tag(world, (repository, tag), image(seed));
            }
        }
        for step in world.plan.steps.clone() {
            world.truth.log(format!("{:?}", step.event));
            storm.happen(world, step.event).await;
            world.truth.clock.sleep(step.pause).await;
        }
        storm
    }

    /// The weather clears, what is broken is mended, who is down is started.
    pub(super) async fn clear(&mut self, world: &mut World) {
        world.truth.log("the storm is over");
        for place in places() {
            self.happen(world, Event::Clear(place)).await;
            self.happen(world, Event::Well(place)).await;
            self.happen(world, Event::Start(place)).await;
        }
        self.happen(world, Event::Heal).await;
        self.happen(world, Event::Hook(200)).await;
    }

    /// What pushes were acknowledged as a whole.
    pub(super) async fn acknowledged(&mut self) -> Vec<Image> {
        let mut images = Vec::new();
        for push in self.pushes.drain(..) {
            images.extend(push.await.expect("a push does not panic"));
        }
        images
    }

    async fn happen(&mut self, world: &mut World, event: Event) {
        match event {
            Event::Pull(place, name, what, clients) => {
                for _ in 0..clients {
                    self.begin(world, place, name, Some(what));
                }
            }
            Event::Pry(place, name) => self.begin(world, place, name, None),
            Event::Move(name, seed) => move_tag(world, name, image(seed)),
            Event::Back(name) => {
                let places = world.truth.places(name);
                let back = places[places.len().saturating_sub(2)].clone();
                move_tag(world, name, back);
            }
            Event::Push(seed) => self.push(world, seed),
            Event::Way(place, way) => self.way(world, place, way).await,
            Event::Clear(place) => {
                world.sites[place].way.clear();
                if self.refused.remove(&place).is_some() {
                    world.sites[place].way.restore().await;
                }
            }
            Event::Origin(wrong, times) => mislead(world, wrong, times).await,
            Event::Heal => {
                world.origin.heal();
                world.origin.resume().await;
            }
            Event::Crash(place, seed) => world.crash(place, Chance::new(seed)).await,
            Event::Stop(place) => world.stop(place).await,
            Event::Start(place) => start(world, place).await,
            Event::Ill(place, illness) => ail(world, place, Some(illness)),
            Event::Well(place) => ail(world, place, None),
            Event::Hook(status) => world.hook.answer_with(status),
            Event::Set(place, by) => world.sites[place].clock.set_wall(by),
            Event::Leap(by) => world.leap(by),
        }
    }

    fn begin(&mut self, world: &World, place: Place, name: Name, what: Option<What>) {
        let Some(spot) = world.spot(place) else {
            return;
        };
        let puller = Puller::new(&world.truth, spot);
        let client = world.tasks.spawn("client", async move {
            match what {
                Some(what) => drop(puller.run(name, what).await),
                None => puller.pry(name).await,
            }
        });
        self.clients.push(client);
    }

    fn push(&mut self, world: &World, seed: u64) {
        let Some(spot) = world.spot(0) else { return };
        let image = image(seed);
        world.truth.knows(&image);
        let push = world.tasks.spawn("push", push(spot, image));
        self.pushes.push(push);
    }

    async fn way(&mut self, world: &World, place: Place, way: Way) {
        let path = &world.sites[place].way;
        match way {
            Way::Refuse => {
                if self.refused.insert(place, ()).is_none() {
                    path.refuse().await;
                }
            }
            Way::HoldDown => path.change(|it| it.hold_down = true),
            Way::HoldUp => path.change(|it| it.hold_up = true),
            Way::Latency(latency) => path.change(|it| it.latency = latency),
            Way::Bandwidth(bandwidth) => path.change(|it| it.bandwidth = Some(bandwidth)),
            Way::Cut(after, cut, times) => path.change(|it| it.cut = Some((after, cut, times))),
        }
    }
}

/// Acknowledged as a whole, or not at all for this test.
async fn push(spot: Spot, image: Image) -> Option<Image> {
    let tag = tag_of(&image);
    let pushed = spot.client.push("own/app", &[&tag], &image).await;
    pushed.is_ok().then_some(image)
}

/// The tag under which an image is pushed.
pub(super) fn tag_of(image: &Image) -> String {
    image.digest.hex()[..12].to_owned()
}

/// Small layers and, now and then, one that streams.
pub(super) fn image(seed: u64) -> Image {
    let mut chance = Chance::new(seed);
    let largest = chance.of(&[900, 70_000, 300_000, 300_000, 1_600_000]);
    let builder = match chance.below(3) {
        0 => Image::multi(seed).without_attestation(),
        1 => Image::multi(seed),
        _ => Image::single(seed),
    };
    builder
        .layer_of(largest)
        .layer_of(chance.below(40_000))
        .build()
}

fn move_tag(world: &World, name: Name, image: Image) {
    world.truth.knows(&image);
    world.origin.shelf().put(name.0, &image);
    world.truth.moved(name, &image.digest);
    world.origin.shelf().tag(name.0, name.1, &image.digest);
}

async fn mislead(world: &World, wrong: Wrong, times: usize) {
    let (when, fault) = match wrong {
        Wrong::Away => return world.origin.stop().await,
        Wrong::Status(status) => (When::any(), Fault::Status(status)),
        Wrong::TooMany => (When::any(), Fault::TooMany(Some("2".to_owned()))),
        Wrong::NoAnswer => (When::any(), Fault::NoAnswer(tests::Cut::Reset)),
        Wrong::Hang => (When::any(), Fault::Hang),
        Wrong::CutBlobs(after, cut) => (When::get().blobs(), Fault::Cut(after, cut)),
        Wrong::NoLength => (When::get().blobs(), Fault::NoLength),
        Wrong::Lie(offset) => {
            world.truth.lies();
            (When::get(), Fault::FlipBit(offset))
        }
    };
    world.origin.play(Script::new(when, [fault]).times(times));
}

async fn start(world: &mut World, place: Place) {
    if world.sites[place].machine.is_some() {
        return;
    }
    let from = world.truth.now();
    // The one that was ended may need a moment to let go of its directory.
    let mut why = String::new();
    while world.truth.now() - from < Duration::from_secs(50) {
        match world.start_site(place).await {
            Ok(()) => return,
            Err(error) => why = error,
        }
        world.truth.clock.sleep(Duration::from_millis(200)).await;
    }
    let site = SITES[place];
    world
        .truth
        .broken("I9", format!("{site} does not start: {why}"));
}

fn ail(world: &World, place: Place, illness: Option<runtime::file::Illness>) {
    if let Some(machine) = &world.sites[place].machine {
        machine.disk.set(illness);
    }
}
