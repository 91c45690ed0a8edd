#!/bin/bash
# Everything that can be said about the code without running it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The same flags as in the Makefile, so that what it compiled is not compiled again.
export CGO_ENABLED=0
[[ " ${GOFLAGS:-} " == *" -trimpath "* ]] || export GOFLAGS="${GOFLAGS:-} -trimpath"

echo "check: gofmt"
unformatted=$(gofmt -l $(git ls-files '*.go'))
if [[ -n $unformatted ]]; then
  printf 'not formatted (make fmt):\n%s\n' "$unformatted" >&2
  exit 1
fi

echo "check: shell syntax"
for s in scripts/*.sh scripts/*/*.sh bench/*.sh .ci/run; do
  [[ -e $s ]] || continue
  bash -n "$s"
done

echo "check: go vet"
go vet ./...

echo "check: staticcheck" # the version that go.mod pins; staticcheck.conf says which checks and why
go tool staticcheck ./...

echo "check: rules"
go test -count=1 ./test/deps
