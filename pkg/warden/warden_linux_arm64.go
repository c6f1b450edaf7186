package warden

import _ "embed"

//go:embed warden_arm64.zst
var compressed []byte
