//! `rivulet publish`: sends one update and prints its id.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use clap::Args;

use crate::{
    client,
    exit::{Code, Failure},
};

/// How long the hub may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// More data than any hub takes is not read from standard input.
const DATA_LEN_MAX: u64 = 1 << 30;

/// Publishes an update and prints its id.
#[derive(Args, Debug)]
#[command(about = "Publishes an update and prints its id")]
pub(crate) struct PublishArgs {
    /// URL of the hub
    #[arg(long, env = "RIVULET_URL", default_value = client::URL_DEFAULT)]
    url: String,
    /// Token that allows to publish to all the topics
    #[arg(long, env = "RIVULET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Topic of the update; the first is the canonical one, more are alternates
    #[arg(long, required = true)]
    topic: Vec<String>,
    /// Data of the update; without it, standard input is read
    #[arg(long)]
    data: Option<String>,
    /// Deliver only to subscribers whose token allows one of the topics
    #[arg(long)]
    private: bool,
    /// Id of the update, instead of one that the hub gives
    #[arg(long)]
    id: Option<String>,
    /// Type of the event
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Milliseconds that clients wait before they reconnect
    #[arg(long, value_name = "MILLISECONDS")]
    retry: Option<u64>,
}

/// Runs the command.
pub(crate) async fn run(args: PublishArgs) -> Result<(), Failure> {
    let url = args.url.clone();
    let data = match &args.data {
        Some(data) => data.clone(),
        None => read_input()?,
    };
    let mut request = client::client()?.post(&url).timeout(ANSWER_TIMEOUT).form(&args.fields(data));
    if let Some(token) = &args.token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(|error| client::unreachable(&url, &error))?;
    if !response.status().is_success() {
        return Err(client::refusal(response).await);
    }
    let id = response.text().await.map_err(|error| client::unreachable(&url, &error))?;
    writeln!(std::io::stdout(), "{id}")
        .map_err(|error| Failure::new(Code::Io, format!("standard output: {error}")))
}

impl PublishArgs {
    fn fields(&self, data: String) -> Vec<(&'static str, String)> {
        let mut fields: Vec<_> = self.topic.iter().map(|topic| ("topic", topic.clone())).collect();
        fields.push(("data", data));
        if self.private {
            fields.push(("private", "on".to_owned()));
        }
        let retry = self.retry.map(|retry| retry.to_string());
        for (name, value) in [("id", &self.id), ("type", &self.event_type), ("retry", &retry)] {
            if let Some(value) = value {
                fields.push((name, value.clone()));
            }
        }
        fields
    }
}

fn read_input() -> Result<String, Failure> {
    let mut data = String::new();
    match std::io::stdin().lock().take(DATA_LEN_MAX).read_to_string(&mut data) {
        Ok(_) => Ok(data),
        Err(error) => Err(Failure::new(Code::Io, format!("standard input: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use clap::FromArgMatches as _;

    #[test]
    fn every_flag_becomes_a_field() {
        let line =
            ["rivulet", "publish", "--topic=a", "--topic=b", "--private", "--id=i", "--type=t", "--retry=7"];
        let matches = cli::command().try_get_matches_from(line).unwrap();
        let args = PublishArgs::from_arg_matches(matches.subcommand_matches("publish").unwrap()).unwrap();
        let fields = args.fields("d".to_owned());
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let expected = [
            ("topic", "a"),
            ("topic", "b"),
            ("data", "d"),
            ("private", "on"),
            ("id", "i"),
            ("type", "t"),
            ("retry", "7"),
        ];
        assert_eq!(fields, expected);
    }
}
