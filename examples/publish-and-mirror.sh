#!/bin/sh
# Publishes a folder under a name, and keeps three mirrors of it by a cron job each, over loopback: a change an hour, compressed to
# seconds. Runs overlap, and one mirror is down for a while. In the end all are equal, and the jobs print nothing unless they fail,
# since cron would mail it.
#
# Builds the tools first. Needs Rust and diff, and leaves nothing behind. Set CHANGES for another number than 6.

set -eu
cd "$(dirname "$0")/.."
changes=${CHANGES:-6}

step() { printf '\n--- %s\n' "$*"; }
fail() { printf 'publish-and-mirror: %s\n' "$*" >&2; exit 1; }

step 'Build'
cargo build --release -p cjp2p-serve -p cjp2p-get
PATH="${CARGO_TARGET_DIR:-$PWD/target}/release:$PATH"

# Stay on this machine: know no public nodes, ask nobody on the local network, and keep key and state apart from those of everyday use.
tmp=$(mktemp -d)
export CJP2P_BOOTSTRAP=
export CJP2P_NO_LAN=1
export CJP2P_KEY="$tmp/key.json"
server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null || true; wait; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

step 'Publish a folder: cjp2p-serve --name photos photos'
mkdir -p "$tmp/photos/2026"
for n in 1 2 3; do printf 'photo %s\n' "$n" > "$tmp/photos/2026/$n.jpg"; done
cjp2p-serve --json --listen 127.0.0.1:0 --for 10m --state "$tmp/serve-state" --name photos "$tmp/photos" > "$tmp/events" &
server=$!
tries=0
until grep -qs '"event":"named"' "$tmp/events"; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] && kill -0 "$server" || fail 'cjp2p-serve does not publish the name'
    sleep 0.1
done
address=$(sed -n 's/.*"event":"listening","address":"\([^"]*\)".*/\1/p' "$tmp/events")
name=$(sed -n 's/.*"event":"named","name":"\([^"]*\)".*/\1/p' "$tmp/events" | head -n 1)
echo "$name"

# The job of mirror $1, as a line of a crontab has it: what it prints is mailed, and its exit code is nobody's business. A run that finds
# another at work leaves it to that, or waits if $2 says so.
job() {
    timeout 120 cjp2p-get "$name" -o "$tmp/mirror$1" --delete --force --lock "${2:-skip}" -qq \
        --peer "$address" --state "$tmp/state$1" --timeout 20s >> "$tmp/mail$1" 2>&1 || true
}

step 'An hour is a second: each mirror runs its job, and the folder changes'
hour=0
while [ "$hour" -lt "$changes" ]; do
    hour=$((hour + 1))
    printf 'new at %s\n' "$hour" > "$tmp/photos/2026/new$hour.jpg"
    printf 'changed at %s\n' "$hour" > "$tmp/photos/2026/1.jpg"
    [ "$hour" -ne 3 ] || rm "$tmp/photos/2026/2.jpg"
    for mirror in 1 2 3; do
        # The third is down in the middle. The others do not wait for their last run.
        if [ "$mirror" -ne 3 ] || [ "$hour" -eq 1 ] || [ "$hour" -eq "$changes" ]; then
            job "$mirror" &
            jobs="${jobs:-} $!"
        fi
    done
    sleep 1
done
sleep 4

step 'The last runs'
for mirror in 1 2 3; do job "$mirror" wait & jobs="$jobs $!"; done
for job in $jobs; do wait "$job"; done
for mirror in 1 2 3; do
    diff -r "$tmp/photos" "$tmp/mirror$mirror" || fail "mirror $mirror differs"
    [ ! -s "$tmp/mail$mirror" ] || { cat "$tmp/mail$mirror"; fail "mirror $mirror would have mailed that"; }
done
echo 'three mirrors, all equal to the original, and no mail'

step 'Nothing is newer: --if-newer ends with 9'
newest() { cjp2p-get "$name" -o "$tmp/copy" --if-newer --peer "$address" --state "$tmp/state1"; }
newest
if newest; then fail 'it fetched the same version again'; else [ "$?" -eq 9 ] || fail 'it failed'; fi

step 'All went well'
