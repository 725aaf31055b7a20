//! What happened in a run: what was published, what each subscriber saw, and what was broken meanwhile.

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use super::{cursor::Cursor, interest::Interest, subscriber::Habit};

/// Time since the start of a run.
pub type Moment = Duration;

/// The name of an update, which its data begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Who sent it; 0 is the run itself, which publishes markers.
    pub publisher: u32,
    /// Counts from 0 for each publisher.
    pub number: u32,
}

impl Name {
    /// Reads the name that data begin with.
    pub fn parse(data: &str) -> Option<Self> {
        let name = data.split(' ').next()?.strip_prefix('p')?;
        let (publisher, number) = name.split_once('-')?;
        Some(Self { publisher: publisher.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}-{}", self.publisher, self.number)
    }
}

/// An update and how its publication went.
#[derive(Clone, Debug)]
pub struct Update {
    /// The canonical topic first.
    pub topics: Vec<String>,
    /// Whether only granted subscribers may see it.
    pub private: bool,
    /// When it was sent for the first time.
    pub begun: Moment,
    /// All attempts that came to an end.
    pub attempts: Vec<Attempt>,
}

impl Update {
    /// The id with which it was acknowledged.
    pub fn id(&self) -> Option<&str> {
        self.attempts.iter().find_map(|attempt| match &attempt.answer {
            Answer::Acknowledged(id) => Some(id.as_str()),
            _ => None,
        })
    }

    /// Whether it may have been appended more than once where Redis forgot the first time.
    pub fn was_repeated(&self) -> bool {
        self.attempts.iter().filter(|attempt| !matches!(attempt.answer, Answer::NotSent(_))).count() > 1
    }
}

/// One request of a publisher.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it was sent.
    pub begun: Moment,
    /// When it was answered or given up.
    pub ended: Moment,
    /// To whom.
    pub node: SocketAddr,
    /// What came of it.
    pub answer: Answer,
}

/// What came of a request of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with this id.
    Acknowledged(String),
    /// Nobody took the connection: nothing was published.
    NotSent(String),
    /// It may have been published.
    Unknown(String),
    /// A refusal that no honest publisher should get (4xx).
    Refused(String),
}

/// Something that a subscriber saw or did.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// When.
    pub at: Moment,
    /// What.
    pub what: What,
}

/// Something that a subscriber saw or did.
#[derive(Clone, Debug)]
pub enum What {
    /// A stream was opened after an id, and the answer's header said which.
    Opened {
        /// On this node.
        node: SocketAddr,
        /// The id that was asked for.
        after: Option<String>,
        /// `Last-Event-ID` of the answer.
        header: Option<String>,
    },
    /// No stream was opened.
    Refused(SocketAddr, String),
    /// The stream ended.
    Ended(String),
    /// It was made to stop reading for this long.
    Stalled(Duration),
    /// An update of ours.
    Update(Name, Cursor),
    /// An event that is no update of ours, or whose id is not the hub's.
    Strange(String),
    /// An id without an event.
    Heartbeat(Cursor),
    /// The hub said that something was lost.
    Gap {
        /// The cursor from which on the stream continues.
        id: Option<Cursor>,
        /// The topics and matchers that lost updates.
        topics: Vec<String>,
        /// From here on everything is kept.
        oldest: Cursor,
    },
}

impl What {
    /// The id that the client has now.
    pub fn cursor(&self) -> Option<&Cursor> {
        match self {
            Self::Update(_, id) | Self::Heartbeat(id) => Some(id),
            Self::Gap { id, .. } => id.as_ref(),
            _ => None,
        }
    }
}

/// One subscriber and what it recorded, oldest first.
#[derive(Clone, Debug)]
pub struct Log {
    /// What it asked for.
    pub interest: Interest,
    /// How it reads.
    pub habit: Habit,
    /// What it saw.
    pub sightings: Vec<Sighting>,
}

/// What a breakage may do to updates that were acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Redis may forget what it has not acknowledged: a repeated publication gets a second position.
    Forgets,
    /// Redis may forget what it has acknowledged.
    Loses,
}

/// Something that was broken, and mended again.
#[derive(Clone, Debug)]
pub struct Breakage {
    /// When it began.
    pub from: Moment,
    /// When it was mended.
    pub to: Moment,
    /// What was done.
    pub text: String,
    /// The node that it ended, if it did.
    pub node: Option<SocketAddr>,
    /// What it may have cost.
    pub effect: Effect,
}

/// All that is known of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When it started, in microseconds since the Unix epoch: positions are such times.
    pub started_us: u64,
    /// What was published.
    pub updates: BTreeMap<Name, Update>,
    /// Who was there to see it.
    pub logs: Vec<Log>,
    /// What was broken.
    pub breakages: Vec<Breakage>,
    /// What else went wrong in the run itself: a node that panicked, a cluster that did not heal.
    pub accidents: Vec<String>,
}

impl History {
    /// The worst that may have happened to updates.
    pub fn effect(&self) -> Effect {
        self.breakages.iter().map(|breakage| breakage.effect).max().unwrap_or(Effect::Nothing)
    }

    /// The moment of a position.
    pub fn moment(&self, position: u64) -> Moment {
        Duration::from_micros(position.saturating_sub(self.started_us))
    }
}
