//! The manners in which connections end in the soak, and how often each of them comes.

use serde::Serialize;

/// How a visitor leaves, or is made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manner {
    /// It closes (FIN).
    Close,
    /// It resets the connection (RST).
    Reset,
    /// It says that it sends nothing more, and reads until the hub ends the stream.
    HalfClose,
    /// It reads nothing any more until the hub ends it as stalled.
    StopReading,
    /// It leaves when half of its request is sent.
    MidRequest,
    /// It leaves in the middle of TLS' hello.
    MidHandshake,
    /// It comes back with an old id, reads a little of what it missed, and leaves.
    MidReplay,
    /// Its token expires.
    TokenExpiry,
}

impl Manner {
    pub(crate) const ALL: [Manner; 8] = [
        Self::Close,
        Self::Reset,
        Self::HalfClose,
        Self::StopReading,
        Self::MidRequest,
        Self::MidHandshake,
        Self::MidReplay,
        Self::TokenExpiry,
    ];

    /// The name of the figure that counts it.
    pub(crate) fn figure(self) -> &'static str {
        match self {
            Self::Close => "ended_by_fin",
            Self::Reset => "ended_by_rst",
            Self::HalfClose => "ended_by_half_close",
            Self::StopReading => "ended_by_stop_reading",
            Self::MidRequest => "ended_mid_request",
            Self::MidHandshake => "ended_mid_handshake",
            Self::MidReplay => "ended_mid_replay",
            Self::TokenExpiry => "ended_by_token_expiry",
        }
    }

    /// Of a hundred visitors. Those that wait for the hub are few: each of them is there for seconds.
    fn share(self) -> u64 {
        match self {
            Self::Close => 26,
            Self::Reset => 20,
            Self::HalfClose => 15,
            Self::StopReading => 4,
            Self::MidRequest | Self::MidHandshake => 10,
            Self::MidReplay => 9,
            Self::TokenExpiry => 6,
        }
    }

    /// The manner of a visitor: in every hundred each as often as its share, well mixed. Without TLS nobody leaves in
    /// its handshake.
    pub(crate) fn of(number: u64, with_tls: bool) -> Self {
        // A factor without a common divisor with 100 visits each rest once.
        let mut rest = number * 37 % 100;
        for manner in Self::ALL {
            if rest < manner.share() {
                return if manner == Self::MidHandshake && !with_tls { Self::MidRequest } else { manner };
            }
            rest -= manner.share();
        }
        Self::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hundred_visitors_have_every_manner_by_its_share() {
        for manner in Manner::ALL {
            let count =
                |with_tls| (0..100).filter(|number| Manner::of(*number, with_tls) == manner).count() as u64;
            assert_eq!(count(true), manner.share(), "{manner:?}");
            if manner == Manner::MidHandshake {
                assert_eq!(count(false), 0);
            }
        }
        assert_eq!(Manner::ALL.map(Manner::share).iter().sum::<u64>(), 100);
    }
}
