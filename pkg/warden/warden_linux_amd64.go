package warden

import _ "embed"

//go:embed warden_amd64.zst
var compressed []byte
