#!/bin/sh
# Builds the committed objects with the compiler that Debian 12 pins: clang-14,
# with the headers of its libbpf-dev. With --check it builds them elsewhere,
# compares, and fails on a difference.
set -eu
cd "$(dirname "$0")"

clang=${CLANG:-clang-14}
strip=${STRIP:-llvm-strip-14}
for tool in "$clang" "$strip" zstd; do
	command -v "$tool" >/dev/null || {
		echo "rebuild.sh: $tool is not here; on Debian 12: apt-get install clang-14 llvm-14 libbpf-dev zstd" >&2
		exit 2
	}
done

build() { # machine, output
	"$clang" -target bpf -mcpu=v3 -O2 -g -Wall -Werror -Wno-unused-function -Wno-address-of-packed-member \
		-D__TARGET_ARCH_"$1" -fdebug-compilation-dir=. -nostdinc -isystem "${LIBBPF:-/usr/include}" \
		-c sensor.bpf.c -o "$2"
	# The type information (.BTF) stays, DWARF with its paths goes.
	"$strip" -g "$2"
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# The names of a processor: the kernel's, Go's.
for names in x86:amd64 arm64:arm64; do
	object=sensor_${names#*:}.o
	build "${names%:*}" "$tmp/$object"
	if [ "${1:-}" != --check ]; then
		zstd -q -19 -f "$tmp/$object" -o "$object.zst"
	elif ! zstd -qdc "$object.zst" | cmp - "$tmp/$object"; then
		echo "rebuild.sh: the committed $object.zst is not what this source builds; run bpf/rebuild.sh and commit" >&2
		exit 1
	fi
done
