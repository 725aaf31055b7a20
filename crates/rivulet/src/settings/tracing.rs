//! The settings of what traces hold and who learns of them. Where they are sent to is said by the standard `OTEL_*`
//! variables.

use super::{Setting, one, switch};

pub(super) const SETTINGS: &[Setting] = &[
    one(
        "trace-updates",
        "HOW",
        "How the spans of an update on its subscribers' nodes hang together with its publication: child = in its trace, \
         link = in traces of their own, linked to it",
    )
    .default("child"),
    switch(
        "expose-trace",
        "Tell clients which trace a recorded update belongs to: a comment before its event, and a traceresponse header \
         for its publisher",
    ),
];
