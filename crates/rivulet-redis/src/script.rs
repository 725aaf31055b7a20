//! A Lua script: one file each in `scripts/`, run by its digest.

use redis::{ErrorKind, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};

/// A script with the digest by which Redis knows it once it has run.
pub(crate) struct Script {
    code: &'static str,
    digest: String,
}

/// A call of a script: keys and arguments, as they go over the wire.
pub(crate) struct Call<'a> {
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) args: Vec<&'a [u8]>,
}

impl Script {
    pub(crate) fn append() -> Self {
        Self::new(include_str!("scripts/append.lua"))
    }

    pub(crate) fn tick() -> Self {
        Self::new(include_str!("scripts/tick.lua"))
    }

    pub(crate) fn open() -> Self {
        Self::new(include_str!("scripts/open.lua"))
    }

    fn new(code: &'static str) -> Self {
        Self { code, digest: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs the script. Redis forgets scripts when it restarts: then it is sent in full, once. Nothing ran in that
    /// case, so running it again is not running it twice.
    pub(crate) async fn run(
        &self,
        connection: &mut MultiplexedConnection,
        call: &Call<'_>,
    ) -> Result<Value, RedisError> {
        match command("EVALSHA", &self.digest, call).query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", self.code, call).query_async(connection).await
            }
            answer => answer,
        }
    }
}

fn command(name: &str, script: &str, call: &Call<'_>) -> redis::Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(call.keys.len()).arg(&call.keys).arg(&call.args);
    command
}
