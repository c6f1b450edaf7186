#!/bin/bash
# Builds the warden for each processor into pkg/warden, compressed. With --check
# it builds it elsewhere and compares: the same source and the same Go give the
# same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
into=pkg/warden
if [ "${1:-}" = --check ] && [ "$(go env GOVERSION)" != "$(cat $into/built-with)" ]; then
  echo "warden: not compared: it was built with $(cat $into/built-with), and this is $(go env GOVERSION)"
  exit 0
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for arch in amd64 arm64; do
  env -u GOFLAGS -u GOEXPERIMENT CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 \
    go build -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -o "$out/warden_$arch" ./cmd/edamame-warden
  if [ "${1:-}" != --check ]; then
    zstd -q -19 -f "$out/warden_$arch" -o "$into/warden_$arch.zst"
  elif ! zstd -qdc "$into/warden_$arch.zst" | cmp - "$out/warden_$arch"; then
    echo "warden: $into/warden_$arch.zst is not what its source gives: run cmd/edamame-warden/rebuild.sh" >&2
    exit 1
  fi
done
if [ "${1:-}" != --check ]; then chmod 644 $into/warden_a*; go env GOVERSION > $into/built-with; fi
