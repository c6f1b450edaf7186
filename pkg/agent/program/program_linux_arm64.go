package program

import _ "embed"

//go:embed hook_arm64.zst
var compressed []byte
