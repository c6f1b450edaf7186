package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// marker is in every canary, so that one can be found whatever it was for.
const marker = "C4naryQ7zr"

// secrets are the canaries of a job by the name of their variable: made-up
// values of known shapes, put together here so that no scanner takes this file
// for a leak.
var secrets = map[string]string{
	"GITHUB_TOKEN":          "gh" + "s_" + marker + "Wm3kT9vLx2Bf8HdSjYp1Ne6Au4",
	"NPM_TOKEN":             "np" + "m_" + marker + "Jt6yRb2NcXw9MfZpKq3Vd7Gs5h",
	"PYPI_TOKEN":            "py" + "pi-AgEIcHlwaS5vcmc" + marker + "CJDdlNmE0ZDhiLTQ2Y2EtNGQyNi1hZjE0AAIqWzMs",
	"AWS_ACCESS_KEY_ID":     "AK" + "IAC4NARYQ7ZRX2BF8H",
	"AWS_SECRET_ACCESS_KEY": marker + "/bPxRfiCYEXAMPLEKEYzq8Lm2Nv4w",
	"DOCKER_PASSWORD":       "dckr" + "_pat_" + marker + "x8Kd3LmPq7Vt2Yb9",
	"DEPLOY_KEY":            marker + "-deploy-Tr0ub4dor-9931",
}

// home are the files of the runner's home folder that hold credentials.
var home = map[string]string{
	".npmrc":              "registry=http://registry.test/\n//registry.test/:_authToken=" + secrets["NPM_TOKEN"] + "\n",
	".aws/credentials":    "[default]\naws_access_key_id = " + secrets["AWS_ACCESS_KEY_ID"] + "\naws_secret_access_key = " + secrets["AWS_SECRET_ACCESS_KEY"] + "\n",
	".ssh/id_ed25519":     "-----BEGIN OPENSSH " + "PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString([]byte(marker+" no key at all, only a canary of that shape")) + "\n-----END OPENSSH " + "PRIVATE KEY-----\n",
	".ssh/known_hosts":    "",
	".docker/config.json": `{"auths":{"registry.test":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("ci:"+secrets["DOCKER_PASSWORD"])) + `"}}}` + "\n",
	".kube/config":        "apiVersion: v1\nkind: Config\nusers: [{name: ci, user: {token: " + marker + "kube0123456789}}]\n",
	".config/gcloud/application_default_credentials.json": `{"type":"authorized_user","refresh_token":"1//` + marker + `gcloud"}` + "\n",
	".azure/msal_token_cache.json":                        `{"RefreshToken":{"x":{"secret":"` + marker + `azure"}}}` + "\n",
	".netrc":                                              "machine git.test login ci password " + marker + "netrc\n",
	".git-credentials":                                    "https://ci:" + secrets["GITHUB_TOKEN"] + "@git.test\n",
	".gitconfig":                                          "[user]\n\tname = CI\n\temail = ci@example.test\n[init]\n\tdefaultBranch = main\n[safe]\n\tdirectory = *\n",
	".pypirc":                                             "[pypi]\nusername = __token__\npassword = " + secrets["PYPI_TOKEN"] + "\n",
	".config/gh/hosts.yml":                                "github.com:\n    oauth_token: " + secrets["GITHUB_TOKEN"] + "\n    user: ci\n",
	".claude.json":                                        `{"oauthAccount":{"token":"` + marker + `claude"}}` + "\n",
	".config/solana/id.json":                              `["` + marker + `wallet"]` + "\n",
	".bash_history":                                       "export NPM_TOKEN=" + secrets["NPM_TOKEN"] + "\n",
	".bashrc":                                             "# ~/.bashrc: executed by bash(1) for non-login shells.\n",
	".profile":                                            "# ~/.profile: executed by the command interpreter for login shells.\n",
}

// giveHome writes the home folder of a job.
func giveHome(dir string) error {
	for name, text := range home {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

var (
	base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}={0,2}`)
	hexRun    = regexp.MustCompile(`(?:[0-9a-fA-F]{2}){8,}`)
)

// holdsCanary reports whether a canary is in data, in clear or behind up to
// four layers of base64, hex, gzip and reversal.
func holdsCanary(data []byte) bool { return holds(data, 4) }

func holds(data []byte, depth int) bool {
	if bytes.Contains(data, []byte(marker)) {
		return true
	}
	if depth == 0 || len(data) == 0 {
		return false
	}
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		if r, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			plain, _ := io.ReadAll(io.LimitReader(r, 8<<20))
			return holds(plain, depth-1)
		}
	}
	back := slices.Clone(data)
	slices.Reverse(back)
	if bytes.Contains(back, []byte(marker)) {
		return true
	}
	// Line ends within an encoding are of no account.
	text := []byte(strings.NewReplacer("\n", "", "\r", "").Replace(string(data)))
	for _, run := range hexRun.FindAll(text, 64) {
		if plain, err := hex.DecodeString(string(run)); err == nil && holds(plain, depth-1) {
			return true
		}
	}
	for _, run := range base64Run.FindAll(text, 64) {
		s := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(string(run)), "=")
		// What stands before it may be letters of the same kind.
		for from := range min(4, len(s)) {
			part := s[from:]
			if plain, err := base64.RawStdEncoding.DecodeString(part[:len(part)/4*4]); err == nil && holds(plain, depth-1) {
				return true
			}
		}
	}
	return false
}
