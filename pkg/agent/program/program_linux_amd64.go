package program

import _ "embed"

//go:embed hook_amd64.zst
var compressed []byte
