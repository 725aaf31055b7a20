//! The command line: flags of `serve` from the table of settings, and the other commands.

use clap::{Arg, ArgAction, Args as _, Command};

use crate::{
    exit, healthcheck,
    healthcheck::HealthcheckArgs,
    publish::PublishArgs,
    settings,
    settings::{Effect, GROUPS, Kind, Setting},
    subscribe::SubscribeArgs,
    token::TokenArgs,
    trace::TraceArgs,
};

/// The whole command line. Without a command it is `serve`.
pub(crate) fn command() -> Command {
    let flags =
        || GROUPS.iter().flat_map(|group| group.settings.iter().map(|setting| flag(setting, group.heading)));
    let probed = settings::settings().filter(|setting| healthcheck::SETTINGS.contains(&setting.name));
    let after = format!("{}\n\n{}", settings::HELP, exit::HELP);
    Command::new("rivulet")
        .bin_name("rivulet")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A clustered hub for the Mercure protocol: publish on one node, receive on every node")
        .args_conflicts_with_subcommands(true)
        .args(flags())
        .after_help(after.clone())
        .subcommand(
            Command::new("serve").about("Runs the hub (the default)").args(flags()).after_help(after.clone()),
        )
        .subcommand(
            Command::new("check-config")
                .about(
                    "Says what is wrong with a configuration, or what serve would do with it; starts nothing",
                )
                .args(flags())
                .after_help(after),
        )
        .subcommand(PublishArgs::augment_args(Command::new("publish")))
        .subcommand(SubscribeArgs::augment_args(Command::new("subscribe")))
        .subcommand(
            HealthcheckArgs::augment_args(Command::new("healthcheck"))
                .args(probed.map(|setting| flag(setting, Some("The hub's settings")))),
        )
        .subcommand(TokenArgs::augment_args(Command::new("token")))
        .subcommand(TraceArgs::augment_args(Command::new("trace")))
}

/// How `--help` says that a change counts without a restart.
const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Restart => "",
        Effect::Reload => " [reloaded]",
    }
}

/// The flag of a setting. Its variable stands in the help; `layers` reads it, since it stands above other layers.
fn flag(setting: &'static Setting, heading: Option<&'static str>) -> Arg {
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .help_heading(heading)
        .value_name(setting.value)
        .help(setting.help)
        .long_help(format!("{}\n[env: {}]{}", setting.help, setting.variable(), effect(setting.effect)));
    let arg = match setting.kind {
        Kind::One => arg.action(ArgAction::Set),
        Kind::Many => arg.action(ArgAction::Append),
        Kind::Switch => {
            arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).default_missing_value("true")
        }
    };
    match setting.default {
        Some(default) => arg.default_value(default),
        None => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_help_names_every_setting_with_variable_and_default() {
        let help = command().render_long_help().to_string();
        for setting in settings::settings() {
            assert!(help.contains(&format!("--{}", setting.name)), "{}", setting.name);
            assert!(help.contains(&format!("[env: {}]", setting.variable())), "{}", setting.name);
            if let Some(default) = setting.default {
                assert!(help.contains(&format!("[default: {default}]")), "{}", setting.name);
            }
        }
    }

    #[test]
    fn a_switch_needs_no_value() {
        let check = |arguments: &[&str], dev: &str| {
            let matches = command().try_get_matches_from([&["rivulet"], arguments].concat()).unwrap();
            let matches = matches.subcommand_matches("serve").unwrap_or(&matches);
            assert_eq!(matches.get_one::<String>("dev").unwrap(), dev, "{arguments:?}");
        };
        check(&[], "false");
        check(&["--dev"], "true");
        check(&["serve", "--dev"], "true");
        check(&["--dev=false", "--listen", "127.0.0.1:0"], "false");
        check(&["--dev", "--listen", "127.0.0.1:0"], "true");
    }
}
