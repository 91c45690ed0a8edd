#!/bin/bash
# All tests, in the order in which a failure says most. Needs root for most of
# them; without root they skip and say why. The last lines are go test's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Two packages at a time: the engine's packages compile large libraries, and
# each test engine is a set of processes of its own.
parallel=${PARALLEL:-2}

# The same flags as in the Makefile, so that what it compiled is not compiled again.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"

step() { printf '== %s (%ds)\n' "$*" "$SECONDS"; }

step setup
scripts/setup.sh
step build
make --no-print-directory build
export DAVIT_BIN=$PWD/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DAVIT_LEFTOVERS=$work/before.json
failed=0

step check
scripts/check.sh || failed=1

step "what the host holds"
go test -count=1 ./test/leftovers || failed=1

step "tests beside the code"
mapfile -t packages < <(go list ./... | grep -v '/davit/test/')
go test -p "$parallel" -timeout 10m "${packages[@]}" || failed=1

# The race detector where goroutines share memory. Not runtime/spawn and what
# is tested through it: the child that it forks runs outside Go's rules, where
# the detector's own memory is not to be touched. It costs 4 minutes of compiling
# with a cold cache, 2 of running.
step "race detector"
mapfile -t raced < <(go list ./api/... ./cli/... ./daemon/... ./engine/... ./event/... ./image/... ./logs/... ./network/... ./volume/... \
  ./runtime/cgroup/... ./runtime/logfile/... ./runtime/multiplex/... ./runtime/shim/... ./runtime/wire/...)
CGO_ENABLED=1 go test -race -p "$parallel" -timeout 10m "${raced[@]}" || failed=1

step "tests through the real engine"
mapfile -t whole < <(go list ./test/... | grep -v -e '/test/deps$' -e '/test/leftovers$')
go test -count=1 -p 1 -timeout 15m "${whole[@]}" || failed=1

step "what is left"
go test -count=1 -v ./test/leftovers || failed=1
exit $failed
