//! What may happen to a hub, as far as it is counted.

use proptest::prelude::*;

pub(crate) const NODES: usize = 5;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A connection wants these scopes and rates, by bits; with the maxima so much off.
    Admit {
        node: usize,
        scopes: u8,
        rates: u8,
        off: i32,
    },
    /// One of the node's connections ends.
    Release {
        node: usize,
        which: prop::sample::Index,
    },
    /// The node let one in while Redis was away.
    Add {
        node: usize,
        scopes: u8,
    },
    Renew {
        node: usize,
    },
    /// The node takes a new incarnation, with what it holds.
    Join {
        node: usize,
    },
    /// The node dies and starts again with nothing; what it held goes when its lease ends.
    Die {
        node: usize,
    },
    Leave {
        node: usize,
    },
    /// A message of an earlier incarnation arrives late.
    Late {
        node: usize,
        what: u8,
    },
    Before {
        node: usize,
    },
    Publish {
        rates: u8,
    },
    /// An update that passed its rates elsewhere was not appended.
    GiveBack {
        which: prop::sample::Index,
    },
    /// An update whose rates stand with the log; or the last one's key once more.
    Append {
        rates: u8,
        again: u8,
    },
    Pass {
        micros: u64,
    },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let scopes = || any::<u8>();
    let rates = || prop_oneof![3 => Just(0_u8), 1 => any::<u8>()];
    let micros = prop_oneof![4 => 0_u64..5_000, 4 => 0_u64..2_000_000, 2 => 0_u64..20_000_000, 1 => 0_u64..100_000_000];
    let step = prop_oneof![
        12 => (node(), scopes(), rates(), prop_oneof![5 => Just(0), 1 => -2..3])
            .prop_map(|(node, scopes, rates, off)| Step::Admit { node, scopes, rates, off }),
        8 => (node(), any::<prop::sample::Index>()).prop_map(|(node, which)| Step::Release { node, which }),
        1 => (node(), scopes()).prop_map(|(node, scopes)| Step::Add { node, scopes }),
        5 => node().prop_map(|node| Step::Renew { node }),
        2 => node().prop_map(|node| Step::Join { node }),
        1 => node().prop_map(|node| Step::Die { node }),
        1 => node().prop_map(|node| Step::Leave { node }),
        1 => (node(), 0..4_u8).prop_map(|(node, what)| Step::Late { node, what }),
        2 => node().prop_map(|node| Step::Before { node }),
        4 => rates().prop_map(|rates| Step::Publish { rates }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::GiveBack { which }),
        4 => (rates(), prop_oneof![5 => Just(0_u8), 1 => 1..3_u8]).prop_map(|(rates, again)| Step::Append { rates, again }),
        4 => micros.prop_map(|micros| Step::Pass { micros }),
    ];
    prop::collection::vec(step, 1000)
}
