//! The script with which the workflows check an image, on a stand-in for the container engine: it knows the engine's commands
//! that the script uses, and runs what [`super::image_container`] runs.

use std::{
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
};

use rivulet_tests::repository;

use super::image_container::{ENTER, Root, image_environment};

/// The engine. `STATE` is a directory of its own, with the script that enters a root; `ROOT` is what images hold.
const ENGINE: &str = r#"#!/bin/bash
set -eu
command=$1
shift
case $command in
create)
    while [ $# -gt 1 ]; do
        case $1 in
        --env) echo "$2" >>"$STATE/env"; shift 2 ;;
        --name | --cap-drop | --security-opt) echo "$1 $2" >>"$STATE/options"; shift 2 ;;
        *) echo "$1" >>"$STATE/options"; shift ;;
        esac
    done
    ;;
export) tar -C "$ROOT" -cf - . ;;
start)
    mapfile -t environment <"$STATE/env"
    (
        env -i PATH="$PATH" $IMAGE_ENV "${environment[@]}" unshare --mount --pid --net --fork --kill-child \
            sh "$STATE/enter" "$ROOT" Own ${ENTRY_POINT} &
        echo $! >"$STATE/pid"
        wait $! && echo 0 >"$STATE/code" || echo $? >"$STATE/code"
    ) >"$STATE/log" 2>&1 </dev/null &
    ;;
exec)
    shift
    parent=$(cat "$STATE/pid")
    pid=$(cat "/proc/$parent/task/$parent/children")
    [ "$(cat "/proc/${pid% }/comm")" = rivulet ]
    exec timeout 20 env -i PATH="$PATH" nsenter --target "${pid% }" --mount --pid --net --root --wd \
        --setuid 65532 --setgid 65532 -- "$@"
    ;;
stop)
    parent=$(cat "$STATE/pid")
    kill -TERM $(cat "/proc/$parent/task/$parent/children")
    for _ in $(seq 300); do [ ! -e "$STATE/code" ] || exit 0; sleep 0.1; done
    exit 1
    ;;
inspect)
    case $2 in
    *Running*) if [ -e "$STATE/code" ]; then echo false; else echo true; fi ;;
    *) cat "$STATE/code" ;;
    esac
    ;;
logs) cat "$STATE/log" ;;
rm)
    touch "$STATE/removed"
    if [ ! -e "$STATE/code" ] && [ -e "$STATE/pid" ]; then kill -KILL "$(cat "$STATE/pid")"; fi
    ;;
*) exit 64 ;;
esac
"#;

/// What the script says of an image that holds a root.
fn check(root: &Root, entry_point: &str, size_max: Option<&str>) -> Output {
    let state = tempfile::tempdir().expect("a temporary directory");
    let engine = state.path().join("engine");
    std::fs::write(&engine, ENGINE).expect("a file");
    std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    std::fs::write(state.path().join("enter"), ENTER).expect("a file");
    let environment: Vec<String> =
        image_environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut command = Command::new("timeout");
    command
        .args(["60", "sh"])
        .arg(repository::root().join("crates/rivulet/image/check.sh"))
        .arg("rivulet:stand-in");
    command.env("CONTAINER_ENGINE", &engine).env("STATE", state.path()).env("ROOT", root.path());
    command.env("IMAGE_ENV", environment.join(" ")).env("ENTRY_POINT", entry_point);
    command.envs(size_max.map(|size_max| ("SIZE_MAX", size_max)));
    let output = command.output().expect("a shell can be started");
    assert!(state.path().join("removed").exists(), "what was created is removed: {output:?}");
    let options = std::fs::read_to_string(state.path().join("options")).expect("a container was created");
    for option in ["--read-only", "--cap-drop ALL", "--security-opt no-new-privileges"] {
        assert!(options.lines().any(|line| line == option), "{option}: {options}");
    }
    output
}

#[test]
fn the_check_of_an_image_passes_where_all_is_well_and_says_what_is_not() {
    let root = Root::new();
    root.names("127.0.0.1 localhost\n", "");
    let script = repository::text("crates/rivulet/image/check.sh");
    assert!(script.contains("size_max=${SIZE_MAX:-30000000}\n"), "30 MB");
    // A build for development has more names of functions in it than fit.
    let ample = Some("300000000");
    let output = check(&root, "/rivulet", ample);
    assert!(output.status.success(), "{output:?}");

    let checks = [
        ("/rivulet", Some("1000000"), "more than 1000000"),
        ("/rivulet --dev=maybe", ample, "has ended by itself"),
    ];
    for (entry_point, size_max, words) in checks {
        let output = check(&root, entry_point, size_max);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{entry_point}: {output:?}");
    }
}
