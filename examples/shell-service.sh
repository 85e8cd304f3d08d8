#!/bin/sh
# A service with nothing but a shell and the `nats` CLI: puts a file, gets it back by its name and by its CID, checks the
# bytes, and prints the events that its acts made.
#
#   NATS_URL=nats://127.0.0.1:4222 sh examples/shell-service.sh [file]
#
# STOWAGE_DOMAIN (stowage), STOWAGE_SPACE (main) and STOWAGE_TOKEN (where commands need one) are read from the environment.
set -eu

domain=${STOWAGE_DOMAIN:-stowage}
space=${STOWAGE_SPACE:-main}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

file=${1:-$work/hello.txt}
[ -e "$file" ] || printf 'Hello from a shell, %s.\n' "$$" > "$file"

name=demo/$(basename "$file")
id=shell-$(date +%s)-$$

fail() {
  echo "failed: $1" >&2
  exit 1
}
sum() { sha256sum < "$1" | cut -d' ' -f1; }

# 1. Put it under a name. The id makes the command safe to repeat; it also groups the events of this run.
nats request "$domain.cmd.$space.put" --raw --no-templates --force-stdin \
  --header "Name:$name" --header "Content-Type:text/plain" \
  --header "Stowage-Command-Id:$id" ${STOWAGE_TOKEN:+--header "Stowage-Token:$STOWAGE_TOKEN"} \
  < "$file" > "$work/put.json" || fail 'no answer to put'
cid=$(sed -n 's/.*"cid":"\(ba[a-z2-7]*\)".*/\1/p' "$work/put.json")
[ -n "$cid" ] || fail "put: $(cat "$work/put.json")"
echo "put       $name"
echo "cid       $cid"

# 2. Get it by its name and by its CID. The CLI ends what it prints with a line break of its own.
want=$(sum "$file")
size=$(wc -c < "$file")
for reference in "$name" "$cid"; do
  nats request "$domain.qry.$space.get" "$reference" --raw > "$work/got" || fail 'no answer to get'
  head -c "$size" "$work/got" > "$work/content"
  [ "$(sum "$work/content")" = "$want" ] || fail "$reference came back changed"
  echo "verified  $reference"
done

# 3. A durable command: stored first, carried out at least once, also when no node runs right now.
nats publish "$domain.queue.$space.name" "$cid" --jetstream --quiet \
  --header "Name:$name.copy" --header "Stowage-Correlation-Id:$id" ${STOWAGE_TOKEN:+--header "Stowage-Token:$STOWAGE_TOKEN"} \
  > "$work/queued" 2>&1 || fail "$(cat "$work/queued")"
tries=0
until nats request "$domain.qry.$space.has" "$name.copy" --raw 2> /dev/null | grep -q '"has":true'; do
  tries=$((tries + 1))
  [ "$tries" -lt 50 ] || fail 'the queued command was not carried out'
  sleep 0.2
done
echo "queued    $name.copy"

# 4. The events of these acts, out of the log: all that the subject filter lets through, those of this run picked out.
nats subscribe "$domain.evt.*.$space.>" --stream "${domain}_events" --all --terminate-at-end --raw \
  > "$work/events" 2> "$work/errors" || fail "$(cat "$work/errors")"
grep "\"correlationid\":\"$id\"" "$work/events" |
  sed 's/.*"id":"\([^"]*\)".*"subject":"\([^"]*\)".*"type":"[^"]*\.\([a-z]*\.[a-z]*\)\.v1".*/event     \3 \2/'
