//! The schedule of one seed: everything that will happen to the mesh, in order, decided before anything starts. Pure.
//!
//! What breaks is mended some steps later, by a step of its own, so that faults overlap. Times are simulated.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::file::Illness;
use tests::{Chance, Cut};

/// The nodes: a hub, a region, two spokes.
pub(super) const SITES: [&str; 4] = ["hub", "region", "spoke-a", "spoke-b"];
/// Who asks whom; the hub asks the origin.
pub(super) const PARENTS: [Option<usize>; 4] = [None, Some(0), Some(1), Some(1)];
/// What the origin has; `reader` may not see the last one.
pub(super) const REPOSITORIES: [&str; 3] = ["team/app", "team/web", "private/key"];
pub(super) const TAGS: [&str; 2] = ["1", "latest"];

/// What happens, and how long afterwards nothing else does.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) event: Event,
    pub(super) pause: Duration,
}

/// The place of a site in [`SITES`].
pub(super) type Place = usize;
/// Every site.
pub(super) fn places() -> std::ops::Range<Place> {
    0..SITES.len()
}

/// A repository and a tag.
pub(super) type Name = (&'static str, &'static str);

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// So many clients begin this at once; nobody waits for them.
    Pull(Place, Name, What, usize),
    /// Somebody asks for what he may not have.
    Pry(Place, Name),
    /// The origin's tag moves to a new image of this seed.
    Move(Name, u64),
    /// The origin's tag moves back to where it was.
    Back(Name),
    /// A client pushes an image of this seed to the hub.
    Push(u64),
    /// The way from a site to its upstream.
    Way(Place, Way),
    Clear(Place),
    /// The origin misbehaves so many times.
    Origin(Wrong, usize),
    Heal,
    /// The power fails; the number says what of the unflushed survives.
    Crash(Place, u64),
    Stop(Place),
    Start(Place),
    Ill(Place, Illness),
    Well(Place),
    /// The receiver of events answers with this.
    Hook(u16),
    /// Somebody sets a site's wall clock by so many milliseconds.
    Set(Place, i64),
    /// Everybody was asleep for so long.
    Leap(Duration),
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Whole(&'static str),
    /// By the digest that the tag has, or had before.
    Digest,
    Head,
    /// Of the largest blob: from, and how many bytes.
    Range(u64, u64),
    /// Hangs up after the first byte of the largest blob.
    Leave,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Refuse,
    HoldDown,
    HoldUp,
    Latency(Duration),
    Bandwidth(u64),
    Cut(u64, Cut, usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Wrong {
    Status(u16),
    TooMany,
    NoAnswer,
    Hang,
    CutBlobs(u64, Cut),
    Lie(u64),
    NoLength,
    Away,
}

/// Everything of one seed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// `check` of each site's rule, in seconds; 0 is `always`.
    pub(super) checks: [u64; 4],
    /// How far each site's wall clock is off at the beginning, in milliseconds.
    pub(super) skews: [i64; 4],
    pub(super) steps: Vec<Step>,
}

const STEPS: usize = 44;

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut checks = [0; 4];
        let mut skews = [0; 4];
        for place in places() {
            checks[place] = chance.of(&[0, 1, 3, 10]);
            skews[place] = chance.of(&[0, 0, 90_000, -45_000, 86_400_000, -7_200_000]);
        }
        let mut maker = Maker {
            images: seed.wrapping_mul(1000) % 1_000_000_000,
            chance,
            down: [false; 4],
            due: BTreeMap::new(),
            steps: Vec::new(),
        };
        for number in 0..STEPS {
            for event in maker.due.remove(&number).unwrap_or_default() {
                maker.add(event);
            }
            let event = maker.event(number);
            maker.add(event);
        }
        Self {
            seed,
            checks,
            skews,
            steps: maker.steps,
        }
    }
}

struct Maker {
    chance: Chance,
    images: u64,
    down: [bool; 4],
    /// What is mended before the step of that number.
    due: BTreeMap<usize, Vec<Event>>,
    steps: Vec<Step>,
}

impl Maker {
    fn add(&mut self, event: Event) {
        if let Event::Start(place) = event {
            self.down[place] = false;
        }
        let pause = match self.chance.below(4) {
            0 => Duration::ZERO,
            1 | 2 => self.chance.millis(600),
            _ => self.chance.millis(3_000),
        };
        self.steps.push(Step { event, pause });
    }

    fn later(&mut self, number: usize, event: Event) {
        let steps = usize::try_from(2 + self.chance.below(6)).expect("few");
        self.due.entry(number + steps).or_default().push(event);
    }

    fn event(&mut self, number: usize) -> Event {
        let place = self.place();
        match self.chance.below(32) {
            0..=11 => self.pull(),
            12..=14 => self.moved(),
            15 => Event::Pry(place, self.name()),
            16 => Event::Push(self.image()),
            17..=20 => {
                let way = self.way();
                self.later(number, Event::Clear(place));
                Event::Way(place, way)
            }
            21..=23 => {
                let wrong = self.wrong();
                let times = usize::try_from(1 + self.chance.below(8)).expect("few");
                self.later(number, Event::Heal);
                Event::Origin(wrong, times)
            }
            24..=26 => self.end(number, place),
            27 | 28 => {
                let illness = self.illness();
                self.later(number, Event::Well(place));
                Event::Ill(place, illness)
            }
            29 => {
                self.later(number, Event::Hook(200));
                Event::Hook(self.chance.of(&[500, 503, 404]))
            }
            30 => {
                let by = self.chance.of(&[
                    30_000,
                    -30_000,
                    3_600_000,
                    -7_200_000,
                    31_536_000_000,
                    -86_400_000,
                ]);
                Event::Set(place, by)
            }
            _ => Event::Leap(Duration::from_secs(self.chance.of(&[5, 45, 700, 4000]))),
        }
    }

    fn pull(&mut self) -> Event {
        let what = match self.chance.below(8) {
            0..=2 => What::Whole(self.chance.of(&["amd64", "amd64", "arm64"])),
            3 => What::Digest,
            4 => What::Head,
            5 => What::Range(self.chance.below(600_000), 1 + self.chance.below(300_000)),
            6 => What::Leave,
            _ => What::Whole("amd64"),
        };
        let clients = self.chance.of(&[1, 1, 2, 6]);
        Event::Pull(self.place(), self.name(), what, clients)
    }

    fn moved(&mut self) -> Event {
        let name = self.name();
        if self.chance.once_in(5) {
            return Event::Back(name);
        }
        Event::Move(name, self.image())
    }

    fn end(&mut self, number: usize, place: Place) -> Event {
        if self.down[place] {
            return self.pull();
        }
        self.down[place] = true;
        self.later(number, Event::Start(place));
        if self.chance.once_in(3) {
            return Event::Stop(place);
        }
        Event::Crash(place, self.chance.number())
    }

    fn way(&mut self) -> Way {
        let cut = self.cut();
        match self.chance.below(7) {
            0 | 1 => Way::Refuse,
            2 => Way::HoldDown,
            3 => Way::HoldUp,
            4 => Way::Latency(Duration::from_millis(5 + self.chance.below(40))),
            5 => Way::Bandwidth(200_000 + self.chance.below(4_000_000)),
            _ => Way::Cut(self.chance.below(400_000), cut, self.chance.of(&[1, 2, 4])),
        }
    }

    fn wrong(&mut self) -> Wrong {
        let cut = self.cut();
        match self.chance.below(9) {
            0 => Wrong::Status(500),
            1 => Wrong::Status(503),
            2 => Wrong::TooMany,
            3 => Wrong::NoAnswer,
            4 => Wrong::Hang,
            5 => Wrong::CutBlobs(self.chance.below(300_000), cut),
            6 => Wrong::Lie(self.chance.below(300_000)),
            7 => Wrong::NoLength,
            _ => Wrong::Away,
        }
    }

    fn illness(&mut self) -> Illness {
        let every = 2 + u32::try_from(self.chance.below(12)).expect("few");
        self.chance.of(&[
            Illness::Full,
            Illness::ReadOnly,
            Illness::Flushes,
            Illness::Reads,
            Illness::Every(every),
        ])
    }

    fn cut(&mut self) -> Cut {
        self.chance.of(&[Cut::Fin, Cut::Reset])
    }

    /// The spokes twice as often as the others.
    fn place(&mut self) -> Place {
        self.chance.of(&[0, 1, 2, 2, 3, 3])
    }

    fn name(&mut self) -> Name {
        (self.chance.of(&REPOSITORIES), self.chance.of(&TAGS))
    }

    fn image(&mut self) -> u64 {
        self.images += 1;
        self.images
    }
}

#[test]
fn a_seed_is_a_schedule_and_another_seed_another() {
    let text = |seed| format!("{:?}", Plan::of(seed));
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

/// What ends is started again, unless the storm is over before that.
#[test]
fn nobody_is_ended_twice() {
    for seed in 0..200 {
        let mut down = [false; 4];
        for step in Plan::of(seed).steps {
            if let Event::Crash(place, _) | Event::Stop(place) = step.event {
                assert!(!down[place], "seed {seed}");
                down[place] = true;
            } else if let Event::Start(place) = step.event {
                down[place] = false;
            }
        }
    }
}
