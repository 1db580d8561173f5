#!/bin/sh
# Shares a folder and fetches a file from it, over loopback: the commands to know, in the order in which one meets them.
#
# Builds the tools first. Needs Rust, sha256sum and about 300 MB in the temporary folder for a minute; leaves nothing
# behind. Set SIZE_MIB for a file of another size than 64 MiB.

set -eu
cd "$(dirname "$0")/.."
size=${SIZE_MIB:-64}

step() { printf '\n--- %s\n' "$*"; }
fail() { printf 'share-and-fetch: %s\n' "$*" >&2; exit 1; }

step 'Build'
cargo build --release -p cjp2p-hash -p cjp2p-serve -p cjp2p-get
PATH="${CARGO_TARGET_DIR:-$PWD/target}/release:$PATH"

# Stay on this machine: know no public nodes, ask nobody on the local network, and keep the state apart from that of everyday use.
tmp=$(mktemp -d)
export CJP2P_BOOTSTRAP=
export CJP2P_NO_LAN=1
server=
end_server() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2> "$tmp/ended" || true
    server=
}
trap 'end_server; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

step "A folder with a file of $size MiB"
mkdir "$tmp/shared"
head -c "$((size * 1048576))" /dev/urandom > "$tmp/shared/film.mkv"

# Starts cjp2p-serve with the given options, waits until all is shared, and sets $address.
share() {
    end_server
    : > "$tmp/events"
    cjp2p-serve --json --listen 127.0.0.1:0 --for 5m --state "$tmp/serve-state" "$@" "$tmp/shared" > "$tmp/events" &
    server=$!
    tries=0
    until grep -q '"event":"ready"' "$tmp/events"; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] && kill -0 "$server" || fail 'cjp2p-serve does not get ready'
        sleep 0.1
    done
    # The first event tells the port that was free. With jq: jq -r 'select(.event == "listening").address'
    address=$(sed -n 's/.*"event":"listening","address":"\([^"]*\)".*/\1/p' "$tmp/events")
}

# Fetches with an end to all waiting.
get() { timeout 120 cjp2p-get --state "$tmp/get-state" --peer "$address" --timeout 20s --stall 20s "$@"; }

step 'Share it: cjp2p-serve --json --listen 127.0.0.1:0 shared'
share
cat "$tmp/events"

step 'Its id: cjp2p-hash shared/film.mkv'
cjp2p-hash "$tmp/shared/film.mkv"
id=$(cjp2p-hash "$tmp/shared/film.mkv" | cut -d ' ' -f 1)

step "Fetch it through a pipe: cjp2p-get --peer $address ID | sha256sum"
get --progress always "$id" | sha256sum | tee "$tmp/fetched"
sha256sum < "$tmp/shared/film.mkv" | cmp - "$tmp/fetched" || fail 'other bytes came out of the pipe'
echo 'the same as the original'

rate=$((size / 4 + 1))M
step "Share it again, slowly, as at the end of a thin line: cjp2p-serve --rate $rate shared"
share --rate "$rate"
tail -n 1 "$tmp/events"
echo '(hashed 0: the ids were remembered)'

step 'Fetch it into a file, and kill -9 the getter after two seconds: cjp2p-get -o copy.mkv ID'
get_and_die() { timeout -s KILL 2 cjp2p-get --state "$tmp/get-state" --peer "$address" -o "$tmp/copy.mkv" "$id"; }
if get_and_die 2> "$tmp/killed"; then
    fail 'it was done before it could be killed'
fi
[ ! -e "$tmp/copy.mkv" ] || fail 'an unfinished file has the final name'
echo 'what is left of it, beside the final name:'
(cd "$tmp" && du -h copy.mkv.*)

step 'The same command again resumes: cjp2p-get -o copy.mkv ID'
get --progress always -o "$tmp/copy.mkv" "$id"
cmp "$tmp/shared/film.mkv" "$tmp/copy.mkv" || fail 'the copy differs'
echo 'complete, and the same as the original'

step 'And once more: it is there already, and right'
get -o "$tmp/copy.mkv" "$id"

step 'Check it as sha256sum does: cjp2p-hash -c'
printf '%s  %s\n' "$id" "$tmp/copy.mkv" | cjp2p-hash -c

step 'All went well'
