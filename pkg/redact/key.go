package redact

// keyKind is what the name in front of a value says of it.
type keyKind uint8

const (
	keyNone   keyKind = iota
	keyWeak           // may be secret: only if the value looks random
	keyStrong         // is secret
	keyHeader         // an HTTP header that carries credentials; its value runs to the end of the line
)

const maxKey = 64

// wordKind is what a word of a name says of the name.
type wordKind uint8

const (
	wordPlain  wordKind = iota
	wordSecret          // token, password
	wordKey             // key: strong after api, access, private, ...; else weak
	wordBefore          // api, access, private: makes a following key strong
	wordWeak            // auth, session
	wordAside           // file, path, url: what the name means is beside the secret
)

var nameWords = map[string]wordKind{
	"token": wordSecret, "password": wordSecret, "passwd": wordSecret, "passphrase": wordSecret, "passwort": wordSecret,
	"secret": wordSecret, "secrets": wordSecret, "apikey": wordSecret, "apitoken": wordSecret, "authtoken": wordSecret,
	"accesstoken": wordSecret, "secretkey": wordSecret, "accesskey": wordSecret, "privatekey": wordSecret, "pwd": wordSecret,
	"pass": wordSecret, "jwt": wordSecret, "bearer": wordSecret, "credentials": wordSecret, "sas": wordSecret, "otp": wordSecret,
	"pgpassword": wordSecret, "sshpass": wordSecret, "authkey": wordSecret, "pat": wordSecret, "userpass": wordSecret,
	"password1": wordSecret, "clientsecret": wordSecret, "sessiontoken": wordSecret, "oauthtoken": wordSecret,
	"key": wordKey,
	"api": wordBefore, "access": wordBefore, "private": wordBefore, "account": wordBefore, "shared": wordBefore,
	"encryption": wordBefore, "signing": wordBefore, "master": wordBefore, "app": wordBefore, "application": wordBefore,
	"license": wordBefore, "deploy": wordBefore, "storage": wordBefore, "service": wordBefore, "ssh": wordBefore, "subscription": wordBefore,
	"admin": wordBefore, "webhook": wordBefore, "publish": wordBefore, "write": wordBefore, "ingest": wordBefore,
	"auth": wordWeak, "cookie": wordWeak, "credential": wordWeak, "session": wordWeak, "sig": wordWeak, "signature": wordWeak, "cred": wordWeak,
	"creds": wordWeak, "tokens": wordWeak, "passwords": wordWeak, "sid": wordWeak, "dsn": wordWeak, "seed": wordWeak, "nonce": wordWeak,
	"file": wordAside, "files": wordAside, "path": wordAside, "paths": wordAside, "dir": wordAside, "url": wordAside, "uri": wordAside,
	"endpoint": wordAside, "type": wordAside, "types": wordAside, "id": wordAside, "ids": wordAside, "name": wordAside, "names": wordAside,
	"expiry": wordAside, "expires": wordAside, "expiration": wordAside, "ttl": wordAside, "limit": wordAside, "limits": wordAside,
	"length": wordAside, "len": wordAside, "count": wordAside, "size": wordAside, "version": wordAside, "scope": wordAside,
	"scopes": wordAside, "audience": wordAside, "format": wordAside, "mode": wordAside, "policy": wordAside, "stdin": wordAside,
	"provider": wordAside, "store": wordAside, "helper": wordAside, "manager": wordAside, "fd": wordAside, "env": wordAside,
	"prompt": wordAside, "permissions": wordAside, "permission": wordAside, "algorithm": wordAside, "alg": wordAside, "issuer": wordAside,
	"ref": wordAside, "arn": wordAside, "required": wordAside, "enabled": wordAside, "timeout": wordAside, "age": wordAside,
	"duration": wordAside, "budget": wordAside, "delimiter": wordAside, "separator": wordAside, "tests": wordAside, "usage": wordAside,
	"scan": wordAside, "scanning": wordAside, "scanner": wordAside, "detection": wordAside, "management": wordAside, "rotation": wordAside,
	"through": wordAside, "thru": wordAside, "class": wordAside, "generator": wordAside, "server": wordAside, "service-account": wordAside,
	"namespace": wordAside, "prefix": wordAside, "suffix": wordAside, "keys": wordAside, "index": wordAside, "kind": wordAside,
}

// headers are those whose value is a credential and may have a scheme before.
var headers = map[string]bool{
	"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true, "x-api-key": true,
	"private-token": true, "job-token": true, "deploy-token": true, "x-auth-token": true, "x-vault-token": true,
	"x-jfrog-art-api": true, "x-consul-token": true, "x-amz-security-token": true, "x-goog-api-key": true,
	"x-nuget-apikey": true, "x-access-token": true, "x-csrf-token": true, "x-xsrf-token": true, "api-key": true,
	"dd-api-key": true, "dd-application-key": true, "x-figma-token": true, "x-github-token": true, "circle-token": true,
	"ocp-apim-subscription-key": true, "x-shopify-access-token": true, "x-functions-key": true, "apikey": true,
	"x-auth-key": true, "x-redlock-auth": true, "x-registry-auth": true, "x-registry-config": true,
}

// classify says what a name calls its value. It splits the name where
// separators stand and where a lower-case letter meets an upper-case one.
func classify(name []byte) keyKind {
	for len(name) > 0 && (name[0] == '-' || name[0] == '_' || name[0] == '.') {
		name = name[1:]
	}
	if len(name) < 3 || len(name) > maxKey {
		return keyNone
	}
	var buf [maxKey]byte
	kind, last, before := keyNone, wordPlain, false
	words, flip := 0, false
	from := 0
	flush := func(to int) {
		if to == from {
			return
		}
		w := buf[from:to]
		for len(w) > 1 && w[len(w)-1] >= '0' && w[len(w)-1] <= '9' {
			w = w[:len(w)-1]
		}
		words++
		k := nameWords[string(w)]
		switch string(w) {
		case "no", "without", "disable", "allow":
			flip = flip || words == 1 // --no-password takes no value
		case "public":
			flip = true
		}
		switch k {
		case wordSecret:
			kind = max(kind, keyStrong)
		case wordKey:
			if before {
				kind = max(kind, keyStrong)
			} else {
				kind = max(kind, keyWeak)
			}
		case wordWeak:
			kind = max(kind, keyWeak)
		}
		before = k == wordBefore || k == wordSecret
		last = k
		from = to
	}
	for i, c := range name {
		lower := c
		switch {
		case c >= 'A' && c <= 'Z':
			lower = c + 'a' - 'A'
			if i > 0 && (name[i-1] >= 'a' && name[i-1] <= 'z' ||
				i+1 < len(name) && name[i+1] >= 'a' && name[i+1] <= 'z' && name[i-1] >= 'A' && name[i-1] <= 'Z') {
				flush(i)
			}
		case c == '-' || c == '_' || c == '.' || c == '[' || c == ']' || c == '/' || c == ':':
			flush(i)
			from = i + 1
		}
		buf[i] = lower
	}
	flush(len(name))
	if last == wordAside || flip {
		return keyNone
	}
	if kind == keyStrong && words == 1 {
		switch string(name) {
		case "PWD": // the shell's working directory
			return keyNone
		case "pass", "pat", "sas", "otp": // also words of prose and of test summaries
			return keyWeak
		}
	}
	if words == 2 && string(name) == "OLDPWD" {
		return keyNone
	}
	return kind
}

// isHeader reports whether name is an HTTP header that carries a credential.
func isHeader(name []byte) bool {
	if len(name) > 2 && name[0] == '-' && name[1] == 'H' { // curl -HName:
		name = name[2:]
	}
	if len(name) < 6 || len(name) > 32 {
		return false
	}
	var buf [32]byte
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return headers[string(buf[:len(name)])]
}

// schemes are the words that may stand before the credential in a header
// (IANA HTTP authentication schemes, and what issuers use beside them).
var schemes = map[string]bool{
	"bearer": true, "basic": true, "token": true, "digest": true, "negotiate": true, "ntlm": true, "dpop": true,
	"apikey": true, "api-key": true, "key": true, "aws4-hmac-sha256": true, "sharedkey": true, "splunk": true, "genie": true, "bot": true,
}

// skipScheme returns the offset in v after a scheme and the blanks behind it.
func skipScheme(v []byte) int {
	i := 0
	for i < len(v) && i < 20 && v[i] > ' ' {
		i++
	}
	if i == 0 || i == len(v) || v[i] != ' ' {
		return 0
	}
	var buf [20]byte
	for j, c := range v[:i] {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[j] = c
	}
	if !schemes[string(buf[:i])] {
		return 0
	}
	for i < len(v) && v[i] == ' ' {
		i++
	}
	return i
}

// reference reports whether v only names a secret or holds none: $TOKEN,
// ${{ secrets.X }}, %TOKEN%, ***, true, a lone dash, nothing.
func reference(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	switch string(v) {
	case "-", "true", "false", "null", "none", "nil", "undefined", "yes", "no", "on", "off", "always", "never", "auto", "write", "read", "inherit", "{", "[", "|", ">", "|-", ">-", "{}", "[]":
		return true
	}
	stars := 0
	for stars < len(v) && (v[stars] == '*' || v[stars] == 'x' || v[stars] == 'X') {
		stars++
	}
	if stars == len(v) {
		return true
	}
	if len(v) > 2 && v[0] == '$' && v[1] == '$' { // as make and compose escape it
		v = v[1:]
	}
	if v[0] == '$' && len(v) > 1 {
		n := v[1:]
		switch n[0] {
		case '{':
			if len(n) > 1 && n[1] == '{' {
				return true // an expression that nobody has expanded
			}
			// ${NAME} or ${{ secrets.NAME }} alone; ${NAME:-default} holds a value.
			for i, c := range n {
				if c == '}' {
					return i == len(n)-1 || i == len(n)-2 && n[len(n)-1] == '}'
				}
				if c != '{' && c != ' ' && c != '.' && !base62_[c] {
					return false
				}
			}
			return len(n) <= 2
		case '(': // a command; what it holds is looked at for itself
			return true
		}
		return isName(n)
	}
	if v[0] == '$' || v[0] == '`' {
		return len(v) == 1 || v[0] == '`'
	}
	return len(v) > 2 && v[0] == '%' && v[len(v)-1] == '%' && isName(v[1:len(v)-1])
}

// isName reports whether n could be the name of a variable in capitals.
func isName(n []byte) bool {
	if len(n) == 0 || n[0] >= '0' && n[0] <= '9' {
		return len(n) == 1
	}
	for _, c := range n {
		if !base62_[c] {
			return false
		}
	}
	return true
}

// readable reports whether v is an identifier that must stay: a digest, a git
// object name, a UUID, an npm integrity, or what is made of words.
func readable(v []byte) bool {
	v = v[:min(len(v), 256)]
	if i := indexByte(v, ':'); i > 0 && isDigestName(v[:i]) {
		v = v[i+1:]
	} else if i := indexByte(v, '-'); i > 0 && isDigestName(v[:i]) {
		return true
	}
	// A cache key is words and digests; what is left of it without the digests
	// must not look random.
	var buf [256]byte
	rest := buf[:0]
	for len(v) > 0 {
		n := 0
		for n < len(v) && base62[v[n]] {
			n++
		}
		if !isDigest(v[:n]) {
			rest = append(rest, v[:min(n, len(buf)-len(rest))]...)
		}
		if n < len(v) {
			if len(rest) < len(buf) {
				rest = append(rest, v[n])
			}
			n++
		}
		v = v[n:]
	}
	return isUUID(rest) || !highEntropy(rest)
}

// isDigest reports whether v is a digest in hex: MD5, SHA-1, SHA-2.
func isDigest(v []byte) bool {
	switch len(v) {
	case 32, 40, 56, 64, 96, 128:
		return isHexRun(v)
	}
	return false
}

func isUUID(v []byte) bool {
	if len(v) != 36 {
		return false
	}
	for i, c := range v {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !isHex(c) {
			return false
		}
	}
	return true
}

// isVersion reports whether v is a version or a range of them, as in a list of
// dependencies: ^4.0.0, >=1.2.3-rc.1.
func isVersion(v []byte) bool {
	for len(v) > 0 && (v[0] == '^' || v[0] == '~' || v[0] == '=' || v[0] == '<' || v[0] == '>' || v[0] == ' ' || v[0] == 'v') {
		v = v[1:]
	}
	dots, n := 0, 0
	for n < len(v) && (v[n] >= '0' && v[n] <= '9' || v[n] == '.' && n > 0) {
		if v[n] == '.' {
			dots++
		}
		n++
	}
	return dots == 2 && len(v) <= 24 && (n == len(v) || v[n] == '-' || v[n] == '+')
}

func indexByte(b []byte, c byte) int {
	for i, x := range b {
		if x == c {
			return i
		}
	}
	return -1
}

func isDigestName(n []byte) bool {
	switch string(n) {
	case "sha1", "sha224", "sha256", "sha384", "sha512", "md5", "h1", "blake2b", "blake3", "SHA256":
		return true
	}
	return false
}

// SecretName reports whether a name, of an environment variable say, calls its
// value a secret: GITHUB_TOKEN, DB_PASSWORD, and not TOKEN_PATH.
func SecretName(name []byte) bool { return classify(name) == keyStrong }
