package posture

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"strings"
)

// authorizedKey is a line of authorized_keys, sshd(8).
type authorizedKey struct {
	kind string
	// fingerprint is as ssh-keygen -l shows it.
	fingerprint string
	// forced: the key runs one command only.
	forced bool
	line   int
}

// maxKeys bounds the keys of a file.
const maxKeys = 256

// parseAuthorizedKeys reads authorized_keys. Lines without a key are left out.
func parseAuthorizedKeys(data []byte) []authorizedKey {
	var out []authorizedKey
	number := 0
	for line := range bytes.Lines(data) {
		number++
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' || len(out) >= maxKeys {
			continue
		}
		words := quotedFields(s)
		for i := 0; i+1 < len(words) && i < 2; i++ {
			blob, err := base64.StdEncoding.DecodeString(words[i+1])
			if err != nil || !keyType(words[i]) || len(blob) == 0 {
				continue
			}
			sum := sha256.Sum256(blob)
			out = append(out, authorizedKey{
				kind: words[i], fingerprint: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]),
				forced: i > 0 && strings.Contains(strings.ToLower(words[0]), "command="), line: number,
			})
			break
		}
	}
	return out
}

func keyType(s string) bool {
	return strings.HasPrefix(s, "ssh-") || strings.HasPrefix(s, "ecdsa-") || strings.HasPrefix(s, "sk-")
}

// quotedFields splits at blanks that stand in no quotes.
func quotedFields(s string) []string {
	var out []string
	quoted, from := false, -1
	for i := 0; i <= len(s); i++ {
		blank := i == len(s) || !quoted && (s[i] == ' ' || s[i] == '\t')
		switch {
		case blank && from >= 0:
			out = append(out, s[from:i])
			from = -1
		case !blank && from < 0:
			from = i
		}
		if i < len(s) && s[i] == '"' && (i == 0 || s[i-1] != '\\') {
			quoted = !quoted
		}
	}
	return out
}

// openKey reports whether data is a private key that no password protects. The
// format is that of PROTOCOL.key of OpenSSH, or PEM of RFC 1421.
func openKey(data []byte) bool {
	block, _ := pem.Decode(data)
	if block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return false
	}
	if block.Type != "OPENSSH PRIVATE KEY" {
		return block.Type != "ENCRYPTED PRIVATE KEY" && !strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
	}
	rest, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
	if !ok || len(rest) < 4 {
		return false
	}
	n := binary.BigEndian.Uint32(rest)
	return uint64(n) <= uint64(len(rest)-4) && string(rest[4:4+n]) == "none"
}
