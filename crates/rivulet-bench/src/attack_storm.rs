//! A storm of TLS handshakes that stall, and whether others get in all the same.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use crate::{
    attack::{AGAIN, Attacker, DRIP, Nuisance, OPENED},
    subscriber,
};

/// New connections per second.
const PER_S: u32 = 300;
/// In how many turns they come.
const TURNS_PER_S: u32 = 20;

impl Attacker {
    /// Connections that stall come ever again, whatever becomes of those before; now and then somebody wants in.
    pub(crate) fn storm(&mut self) -> anyhow::Result<()> {
        let mut held: Vec<Nuisance> = Vec::new();
        let mut next_newcomer = Instant::now() + DRIP;
        while !self.is_over() {
            for _ in 0..PER_S / TURNS_PER_S {
                match self.begin() {
                    Ok(nuisance) => held.push(nuisance),
                    // The hub has closed it at once.
                    Err(_) => self.done.ended += 1,
                }
            }
            self.pause(Duration::from_secs(1) / TURNS_PER_S);
            let mut longest = self.done.longest;
            let before = held.len();
            held.retain_mut(|nuisance| {
                let goes_on = nuisance.drip().is_some();
                longest = longest.max(nuisance.began.elapsed());
                goes_on
            });
            self.done.ended += (before - held.len()) as u64;
            self.done.longest = longest;
            if Instant::now() >= next_newcomer {
                self.done.newcomers += 1;
                self.done.newcomers_failed += u64::from(!self.come_in());
                next_newcomer = Instant::now() + AGAIN;
            }
        }
        Ok(())
    }

    /// Opens a stream as everybody does; answers whether the hub let it in.
    fn come_in(&mut self) -> bool {
        let request =
            subscriber::request(self.target.hub, "https://example.com/bench/new", &self.target.token);
        let Ok(Some(mut tls)) = self.target.approach.tls_connection() else { return false };
        let Ok(mut tcp) = self.connect() else { return false };
        let mut stream = rustls::Stream::new(&mut *tls, &mut tcp);
        let mut status = [0; OPENED.len()];
        stream.write_all(&request).and_then(|()| stream.read_exact(&mut status)).is_ok() && &status == OPENED
    }
}
