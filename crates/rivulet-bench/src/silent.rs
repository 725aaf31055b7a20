//! Streams that are opened and never read: idle ones, or readers that are stuck.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use mio::{Events, Poll, Token};

use crate::{
    approach::Approach,
    call::{Call, Heard, source_of_call},
    wire::Wire,
};

/// Connections that are being opened at a time.
const OPENING_MAX: usize = 128;
/// Longest wait until all are open.
const OPEN_MAX: Duration = Duration::from_secs(30);
const TURN_MAX: Duration = Duration::from_millis(100);
/// Bytes that are read, once, to see that a stream is open.
const READ_LEN: usize = 1024;
/// What the kernel keeps for one that does not read: the hub's side is full soon, and hardly anything is ours.
const RECEIVE_BUFFER_LEN: usize = 4096;

/// Dropping it closes them.
pub(crate) struct Silent {
    calls: Vec<Call>,
    // The connections are registered there.
    _poll: Poll,
}

impl Silent {
    /// Opens so many streams, each with this request.
    pub(crate) fn open(hub: SocketAddr, count: usize, request: &[u8]) -> anyhow::Result<Self> {
        let mut poll = Poll::new().context("creating an epoll instance")?;
        let mut events = Events::with_capacity(OPENING_MAX);
        let (mut calls, mut opened, mut buffer) = (Vec::with_capacity(count), 0, vec![0; READ_LEN]);
        let deadline = Instant::now() + OPEN_MAX;
        while opened < count {
            while calls.len() < count && calls.len() - opened < OPENING_MAX {
                let place = (poll.registry(), Token(calls.len()));
                let source = Some(source_of_call(calls.len() as u64));
                let plain = Approach::default();
                let wire = Wire::connect_with(hub, source, &plain, place, Some(RECEIVE_BUFFER_LEN))?;
                calls.push(Call::new(wire, request.to_vec()));
            }
            match poll.poll(&mut events, Some(TURN_MAX)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.context("waiting for events")?,
            }
            for event in &events {
                let Some(call) = calls.get_mut(event.token().0).filter(|call: &&mut Call| !call.is_open())
                else {
                    continue;
                };
                match call.on_event(event, &mut buffer, 1) {
                    Heard::Nothing => {}
                    Heard::Opened => opened += 1,
                    Heard::Refused(status) => {
                        bail!("a stream was refused with {status}:\n{}", call.refusal())
                    }
                    Heard::Ended => bail!("the hub ended a connection before it answered"),
                }
            }
            if Instant::now() > deadline {
                bail!("{opened} of {count} streams are open after {OPEN_MAX:?}");
            }
        }
        Ok(Self { calls, _poll: poll })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }
}
