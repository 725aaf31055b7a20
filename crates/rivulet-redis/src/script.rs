//! A Lua script: one file each in `scripts/`, run by its digest.

use std::borrow::Cow;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value, aio::ConnectionLike};

/// A script with the digest by which Redis knows it once it has run.
pub(crate) struct Script {
    /// Its name in spans and metrics. The two of [`Script::append`] and [`Script::append_with_rates`] share one: who
    /// looks at them asks how appends fare.
    pub(crate) name: &'static str,
    code: Cow<'static, str>,
    digest: String,
}

/// A call of a script: keys and arguments, as they go over the wire.
pub(crate) struct Call<'a> {
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) args: Vec<&'a [u8]>,
}

/// Whether the server is asked for a slot that is being moved to it (`ASKING`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    Yes,
    No,
}

impl Script {
    pub(crate) fn append() -> Self {
        Self::new("append", include_str!("scripts/append.lua"))
    }

    /// The same for updates that have rates. Those that have none are spared the twentieth that it costs to define them.
    pub(crate) fn append_with_rates() -> Self {
        Self::new("append", concat!(include_str!("scripts/gcra.lua"), include_str!("scripts/append.lua")))
    }

    pub(crate) fn admit() -> Self {
        Self::new(
            "admit",
            concat!(
                include_str!("scripts/time.lua"),
                include_str!("scripts/live.lua"),
                include_str!("scripts/gcra.lua"),
                include_str!("scripts/admit.lua")
            ),
        )
    }

    pub(crate) fn settle() -> Self {
        Self::new("settle", concat!(include_str!("scripts/time.lua"), include_str!("scripts/settle.lua")))
    }

    pub(crate) fn stage() -> Self {
        Self::new("stage", concat!(include_str!("scripts/time.lua"), include_str!("scripts/stage.lua")))
    }

    pub(crate) fn switch() -> Self {
        Self::new(
            "switch",
            concat!(
                include_str!("scripts/time.lua"),
                include_str!("scripts/live.lua"),
                include_str!("scripts/switch.lua")
            ),
        )
    }

    pub(crate) fn renew() -> Self {
        Self::new(
            "renew",
            concat!(
                include_str!("scripts/time.lua"),
                include_str!("scripts/live.lua"),
                include_str!("scripts/renew.lua")
            ),
        )
    }

    pub(crate) fn before() -> Self {
        Self::new(
            "before",
            concat!(
                include_str!("scripts/time.lua"),
                include_str!("scripts/live.lua"),
                include_str!("scripts/before.lua")
            ),
        )
    }

    pub(crate) fn rate() -> Self {
        Self::new(
            "rate",
            concat!(
                include_str!("scripts/time.lua"),
                include_str!("scripts/gcra.lua"),
                include_str!("scripts/rate.lua")
            ),
        )
    }

    pub(crate) fn kick() -> Self {
        Self::new(
            "kick",
            concat!(
                include_str!("scripts/time.lua"),
                include_str!("scripts/live.lua"),
                include_str!("scripts/kick.lua")
            ),
        )
    }

    pub(crate) fn kicks() -> Self {
        Self::new("kicks", concat!(include_str!("scripts/time.lua"), include_str!("scripts/kicks.lua")))
    }

    pub(crate) fn kicked() -> Self {
        Self::new("kicked", include_str!("scripts/kicked.lua"))
    }

    pub(crate) fn tick() -> Self {
        Self::new("tick", concat!(include_str!("scripts/void.lua"), include_str!("scripts/tick.lua")))
    }

    pub(crate) fn open() -> Self {
        Self::new("open", include_str!("scripts/open.lua"))
    }

    pub(crate) fn takeover() -> Self {
        Self::new("takeover", concat!(include_str!("scripts/void.lua"), include_str!("scripts/takeover.lua")))
    }

    pub(crate) fn read() -> Self {
        Self::new(
            "read",
            concat!(
                include_str!("scripts/void.lua"),
                include_str!("scripts/clock.lua"),
                include_str!("scripts/read.lua")
            ),
        )
    }

    pub(crate) fn index() -> Self {
        Self::new(
            "index",
            concat!(
                include_str!("scripts/void.lua"),
                include_str!("scripts/clock.lua"),
                include_str!("scripts/index.lua")
            ),
        )
    }

    fn new(name: &'static str, code: &'static str) -> Self {
        let code = released(name, code);
        let digest = redis::Script::new(&code).get_hash().to_owned();
        Self { name, code, digest }
    }

    /// Runs the script. Redis forgets scripts when it restarts: then it is sent in full, once. Nothing ran in that
    /// case, so running it again is not running it twice.
    pub(crate) async fn run(
        &self,
        connection: &mut impl ConnectionLike,
        call: &Call<'_>,
        asking: Asking,
    ) -> Result<Value, RedisError> {
        match query(command("EVALSHA", &self.digest, call), connection, asking).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                query(command("EVAL", &self.code, call), connection, asking).await
            }
            answer => answer,
        }
    }
}

/// A script as this release has it.
#[cfg(not(feature = "faults"))]
const fn released(_: &'static str, code: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(code)
}

/// The same, or as a next release might have it.
#[cfg(feature = "faults")]
fn released(name: &'static str, code: &'static str) -> Cow<'static, str> {
    crate::next_version::script(name, code)
}

async fn query(
    command: redis::Cmd,
    connection: &mut impl ConnectionLike,
    asking: Asking,
) -> Result<Value, RedisError> {
    if asking == Asking::No {
        return command.query_async(connection).await;
    }
    let mut pipeline = redis::pipe();
    pipeline.cmd("ASKING").ignore().add_command(command);
    let (answer,): (Value,) = pipeline.query_async(connection).await?;
    Ok(answer)
}

fn command(name: &str, script: &str, call: &Call<'_>) -> redis::Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(call.keys.len()).arg(&call.keys).arg(&call.args);
    command
}
