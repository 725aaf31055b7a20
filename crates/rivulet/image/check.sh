#!/bin/sh
# Checks an image in a container engine: check.sh IMAGE. Its size, and that it runs as it should be run: read-only, without
# capabilities, and healthy by its own health check; an update arrives; SIGTERM ends it well.
set -eu
image=$1
engine=${CONTAINER_ENGINE:-docker}
size_max=${SIZE_MAX:-30000000}
name=rivulet-check-$$

fail() {
    echo "check.sh: $1" >&2
    "$engine" logs "$name" >&2 || true
    exit 1
}

# Engines count sizes in different ways; the bytes of the files are what they are.
"$engine" create --name "$name" --read-only --cap-drop ALL --security-opt no-new-privileges \
    --env RIVULET_DEV=true "$image" >/dev/null
trap '"$engine" rm --force "$name" >/dev/null' EXIT
size=$("$engine" export "$name" | wc -c)
echo "$size bytes of files"
[ "$size" -le "$size_max" ] || fail "$image has $size bytes, more than $size_max"

"$engine" start "$name" >/dev/null
attempts=0
until "$engine" exec "$name" /rivulet healthcheck; do
    running=$("$engine" inspect --format '{{.State.Running}}' "$name")
    [ "$running" = true ] || fail "$image has ended by itself"
    attempts=$((attempts + 1))
    [ "$attempts" -lt 30 ] || fail "$image is not ready after 30 s"
    sleep 1
done
token=$("$engine" exec "$name" /rivulet token --dialect 0.x --publish '*')
"$engine" exec "$name" /rivulet publish --token "$token" --topic https://example.com/check --data checked
"$engine" exec "$name" /rivulet subscribe --topic https://example.com/check --last-event-id earliest --count 1 |
    grep -q '^data: checked$' || fail "the update did not arrive"
"$engine" stop -t 60 "$name" >/dev/null
code=$("$engine" inspect --format '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || fail "after SIGTERM it exits with $code"
