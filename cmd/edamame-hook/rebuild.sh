#!/bin/bash
# Builds the hook for each processor into pkg/agent/program, compressed. With
# --check it builds it elsewhere and compares: the same source and the same Go
# give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
into=pkg/agent/program
if [ "${1:-}" = --check ] && [ "$(go env GOVERSION)" != "$(cat $into/built-with)" ]; then
  echo "hook: not compared: it was built with $(cat $into/built-with), and this is $(go env GOVERSION)"
  exit 0
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for arch in amd64 arm64; do
  env -u GOFLAGS -u GOEXPERIMENT CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 \
    go build -trimpath -buildvcs=false -ldflags='-s -w -buildid= -E edamame_hook_start' -o "$out/hook_$arch" ./cmd/edamame-hook
  if [ "${1:-}" != --check ]; then
    zstd -q -19 -f "$out/hook_$arch" -o "$into/hook_$arch.zst"
  elif ! zstd -qdc "$into/hook_$arch.zst" | cmp - "$out/hook_$arch"; then
    echo "hook: $into/hook_$arch.zst is not what its source gives: run cmd/edamame-hook/rebuild.sh" >&2
    exit 1
  fi
done
if [ "${1:-}" != --check ]; then chmod 644 $into/hook_*; go env GOVERSION > $into/built-with; fi
