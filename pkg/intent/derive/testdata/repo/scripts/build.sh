#!/usr/bin/env bash
set -euo pipefail
fetch() { curl -fsSLO "https://mirror.example.com/$1"; }
fetch data.bin
go build ./...
./scripts/build.sh again
