package redact

// A shape is how the tokens of one issuer look: a fixed prefix and a body of
// known characters and length. Issuers chose prefixes so that scanners can tell
// their tokens; the lengths here are lower bounds of what they document.
type shape struct {
	pattern  Text
	prefix   string
	body     *charset
	min, max int // bytes of the body; max 0 means no bound
	// exact: the byte after the body must not be of body's characters, so a
	// longer string is another thing.
	exact bool
	// within: the prefix may stand within a word.
	within bool
	// check looks closer at b[from:to], the whole match; it may move both ends.
	check func(b []byte, from, to int) (int, int, bool)
	// parts: the body is a JWT's, see parts.
	parts bool
}

type charset [256]bool

func chars(ranges string) *charset {
	var c charset
	for i := 0; i < len(ranges); i++ {
		if i+2 < len(ranges) && ranges[i+1] == '-' {
			for x := int(ranges[i]); x <= int(ranges[i+2]); x++ {
				c[x] = true
			}
			i += 2
			continue
		}
		c[ranges[i]] = true
	}
	return &c
}

var (
	hexLower  = chars("0-9a-f")
	base62    = chars("0-9A-Za-z")
	base62_   = chars("0-9A-Za-z_")
	upperNum  = chars("0-9A-Z")
	base64url = chars("0-9A-Za-z_-")
	tokenChar = chars("0-9A-Za-z_.-")
	base64std = chars("0-9A-Za-z+/=")
	slackChar = chars("0-9A-Za-z-")
	pathChar  = chars("0-9A-Za-z/_-")
)

var shapes = []shape{
	{pattern: Const("github-token"), prefix: "ghp_", body: base62, min: 30, within: true},
	{pattern: Const("github-token"), prefix: "gho_", body: base62, min: 30, within: true},
	{pattern: Const("github-token"), prefix: "ghu_", body: base62, min: 30, within: true},
	{pattern: Const("github-token"), prefix: "ghs_", body: tokenChar, min: 30, within: true},
	{pattern: Const("github-token"), prefix: "ghr_", body: base62, min: 30, within: true},
	{pattern: Const("github-token"), prefix: "github_pat_", body: base62_, min: 40, within: true},

	{pattern: Const("gitlab-token"), prefix: "glpat-", body: tokenChar, min: 20, within: true},
	{pattern: Const("gitlab-token"), prefix: "gldt-", body: tokenChar, min: 20},
	{pattern: Const("gitlab-token"), prefix: "glrt-", body: tokenChar, min: 20},
	{pattern: Const("gitlab-token"), prefix: "glcbt-", body: tokenChar, min: 20},
	{pattern: Const("gitlab-token"), prefix: "glptt-", body: tokenChar, min: 20},
	{pattern: Const("gitlab-token"), prefix: "glft-", body: tokenChar, min: 20},
	{pattern: Const("gitlab-token"), prefix: "glsoat-", body: tokenChar, min: 20},
	{pattern: Const("gitlab-token"), prefix: "gloas-", body: tokenChar, min: 20},
	{pattern: Const("gitlab-token"), prefix: "glagent-", body: tokenChar, min: 20},
	{pattern: Const("gitlab-token"), prefix: "GR1348941", body: tokenChar, min: 20},
	{pattern: Const("bitbucket-token"), prefix: "ATBB", body: base62, min: 32, exact: true},
	{pattern: Const("atlassian-token"), prefix: "ATATT3", body: chars("0-9A-Za-z_=-"), min: 60},
	{pattern: Const("atlassian-token"), prefix: "ATCTT3", body: chars("0-9A-Za-z_=-"), min: 60},

	{pattern: Const("npm-token"), prefix: "npm_", body: base62, min: 36, exact: true, within: true},
	{pattern: Const("pypi-token"), prefix: "pypi-AgE", body: base64url, min: 40, within: true},
	{pattern: Const("rubygems-token"), prefix: "rubygems_", body: hexLower, min: 48, exact: true},
	{pattern: Const("crates-token"), prefix: "cio", body: base62, min: 32, max: 32, exact: true, check: random},
	{pattern: Const("nuget-key"), prefix: "oy2", body: chars("0-9a-z"), min: 43, max: 43, exact: true, check: random},
	{pattern: Const("docker-token"), prefix: "dckr_pat_", body: base64url, min: 20, within: true},
	{pattern: Const("docker-token"), prefix: "dckr_oat_", body: base64url, min: 20},

	{pattern: Const("aws-access-key-id"), prefix: "AKIA", body: upperNum, min: 16, max: 16, exact: true},
	{pattern: Const("aws-access-key-id"), prefix: "ASIA", body: upperNum, min: 16, max: 16, exact: true},
	{pattern: Const("aws-access-key-id"), prefix: "ABIA", body: upperNum, min: 16, max: 16, exact: true},
	{pattern: Const("aws-access-key-id"), prefix: "ACCA", body: upperNum, min: 16, max: 16, exact: true},
	{pattern: Const("google-api-key"), prefix: "AIza", body: base64url, min: 35, max: 35, exact: true},
	{pattern: Const("google-client-secret"), prefix: "GOCSPX-", body: base64url, min: 24},
	{pattern: Const("google-access-token"), prefix: "ya29.", body: tokenChar, min: 20},
	{pattern: Const("google-refresh-token"), prefix: "1//0", body: base64url, min: 40},
	{pattern: Const("azure-client-secret"), prefix: "Q~", body: chars("0-9A-Za-z_.~-"), min: 31, max: 34, exact: true, within: true, check: azureClientSecret},
	{pattern: Const("digitalocean-token"), prefix: "dop_v1_", body: hexLower, min: 64, exact: true},
	{pattern: Const("digitalocean-token"), prefix: "doo_v1_", body: hexLower, min: 64, exact: true},
	{pattern: Const("digitalocean-token"), prefix: "dor_v1_", body: hexLower, min: 64, exact: true},
	{pattern: Const("fly-token"), prefix: "fo1_", body: base64url, min: 40},
	{pattern: Const("fly-token"), prefix: "fm2_", body: chars("0-9A-Za-z+/=_-"), min: 60},
	{pattern: Const("netlify-token"), prefix: "nfp_", body: base62, min: 36},
	{pattern: Const("vercel-token"), prefix: "vcp_", body: base62, min: 24},
	{pattern: Const("heroku-key"), prefix: "HRKU-", body: base64url, min: 36},

	{pattern: Const("slack-token"), prefix: "xoxb-", body: slackChar, min: 20, within: true},
	{pattern: Const("slack-token"), prefix: "xoxp-", body: slackChar, min: 20, within: true},
	{pattern: Const("slack-token"), prefix: "xoxa-", body: slackChar, min: 20},
	{pattern: Const("slack-token"), prefix: "xoxr-", body: slackChar, min: 20},
	{pattern: Const("slack-token"), prefix: "xoxs-", body: slackChar, min: 20},
	{pattern: Const("slack-token"), prefix: "xoxo-", body: slackChar, min: 20},
	{pattern: Const("slack-token"), prefix: "xoxc-", body: slackChar, min: 20},
	{pattern: Const("slack-token"), prefix: "xoxd-", body: chars("0-9A-Za-z%+/=_-"), min: 20},
	{pattern: Const("slack-token"), prefix: "xoxe.", body: tokenChar, min: 20},
	{pattern: Const("slack-token"), prefix: "xoxe-", body: slackChar, min: 20},
	{pattern: Const("slack-token"), prefix: "xapp-", body: slackChar, min: 20},
	{pattern: Const("slack-webhook"), prefix: "hooks.slack.com/services/", body: pathChar, min: 20, check: afterPrefix(25)},
	{pattern: Const("slack-webhook"), prefix: "hooks.slack.com/workflows/", body: pathChar, min: 20, check: afterPrefix(26)},
	{pattern: Const("discord-webhook"), prefix: "/api/webhooks/", body: pathChar, min: 40, check: afterPrefix(14)},
	{pattern: Const("telegram-token"), prefix: ":AA", body: base64url, min: 32, max: 34, exact: true, check: telegram},

	{pattern: Const("stripe-key"), prefix: "sk_live_", body: base62, min: 16},
	{pattern: Const("stripe-key"), prefix: "sk_test_", body: base62, min: 16},
	{pattern: Const("stripe-key"), prefix: "rk_live_", body: base62, min: 16},
	{pattern: Const("stripe-key"), prefix: "rk_test_", body: base62, min: 16},
	{pattern: Const("stripe-key"), prefix: "whsec_", body: chars("0-9A-Za-z+/="), min: 24},
	{pattern: Const("square-token"), prefix: "sq0atp-", body: base64url, min: 22},
	{pattern: Const("square-token"), prefix: "sq0csp-", body: base64url, min: 40},
	{pattern: Const("shopify-token"), prefix: "shpat_", body: hexLower, min: 32},
	{pattern: Const("shopify-token"), prefix: "shpss_", body: hexLower, min: 32},
	{pattern: Const("shopify-token"), prefix: "shpca_", body: hexLower, min: 32},
	{pattern: Const("shopify-token"), prefix: "shppa_", body: hexLower, min: 32},

	{pattern: Const("anthropic-key"), prefix: "sk-ant-", body: base64url, min: 20, within: true},
	{pattern: Const("openai-key"), prefix: "sk-proj-", body: base64url, min: 20, max: 400, check: random},
	{pattern: Const("openai-key"), prefix: "sk-svcacct-", body: base64url, min: 20, max: 400, check: random},
	{pattern: Const("openai-key"), prefix: "sk-admin-", body: base64url, min: 20, max: 400, check: random},
	{pattern: Const("openrouter-key"), prefix: "sk-or-v1-", body: hexLower, min: 40},
	{pattern: Const("openai-key"), prefix: "sk-", body: base62, min: 32, exact: true, check: random},
	{pattern: Const("huggingface-token"), prefix: "hf_", body: base62, min: 30, exact: true},
	{pattern: Const("huggingface-token"), prefix: "api_org_", body: base62, min: 30, exact: true},
	{pattern: Const("groq-key"), prefix: "gsk_", body: base62, min: 40},
	{pattern: Const("xai-key"), prefix: "xai-", body: base62, min: 60},
	{pattern: Const("perplexity-key"), prefix: "pplx-", body: base62, min: 40},
	{pattern: Const("replicate-token"), prefix: "r8_", body: base62, min: 37},
	{pattern: Const("langsmith-key"), prefix: "lsv2_", body: base62_, min: 36},

	{pattern: Const("vault-token"), prefix: "hvs.", body: base64url, min: 20},
	{pattern: Const("vault-token"), prefix: "hvb.", body: base64url, min: 20},
	{pattern: Const("vault-token"), prefix: "hvr.", body: base64url, min: 20},
	{pattern: Const("terraform-token"), prefix: ".atlasv1.", body: base64url, min: 40, check: runBefore},
	{pattern: Const("pulumi-token"), prefix: "pul-", body: hexLower, min: 40, exact: true},
	{pattern: Const("doppler-token"), prefix: "dp.pt.", body: base62, min: 40},
	{pattern: Const("doppler-token"), prefix: "dp.st.", body: tokenChar, min: 40},
	{pattern: Const("1password-token"), prefix: "ops_eyJ", body: base64url, min: 60},
	{pattern: Const("age-secret-key"), prefix: "AGE-SECRET-KEY-", body: chars("0-9A-Z-"), min: 40, within: true},
	{pattern: Const("tailscale-key"), prefix: "tskey-", body: base64url, min: 20, max: 200, check: random},

	{pattern: Const("sendgrid-key"), prefix: "SG.", body: tokenChar, min: 50, max: 200, check: sendgrid},
	{pattern: Const("twilio-key"), prefix: "SK", body: hexLower, min: 32, max: 32, exact: true},
	{pattern: Const("newrelic-key"), prefix: "NRAK-", body: upperNum, min: 27},
	{pattern: Const("grafana-token"), prefix: "glsa_", body: base62_, min: 32},
	{pattern: Const("grafana-token"), prefix: "glc_", body: base64std, min: 40},
	{pattern: Const("sentry-token"), prefix: "sntrys_", body: chars("0-9A-Za-z+/=_"), min: 40},
	{pattern: Const("sentry-token"), prefix: "sntryu_", body: hexLower, min: 40},
	{pattern: Const("datadog-key"), prefix: "ddapp_", body: base62, min: 30},
	{pattern: Const("datadog-key"), prefix: "ddpat_", body: base62_, min: 30},
	{pattern: Const("linear-key"), prefix: "lin_api_", body: base62, min: 30},
	{pattern: Const("notion-token"), prefix: "ntn_", body: base62, min: 40},
	{pattern: Const("figma-token"), prefix: "figd_", body: base64url, min: 30},
	{pattern: Const("postman-key"), prefix: "PMAK-", body: chars("0-9a-f-"), min: 50},
	{pattern: Const("planetscale-token"), prefix: "pscale_", body: tokenChar, min: 32},
	{pattern: Const("supabase-token"), prefix: "sbp_", body: hexLower, min: 40},
	{pattern: Const("databricks-token"), prefix: "dapi", body: hexLower, min: 32, max: 34},
	{pattern: Const("circleci-token"), prefix: "CCIPAT_", body: base62_, min: 40},
	{pattern: Const("buildkite-token"), prefix: "bkua_", body: hexLower, min: 40},
	{pattern: Const("artifactory-key"), prefix: "AKCp", body: base62, min: 69},
	{pattern: Const("artifactory-token"), prefix: "cmVmdGtuOj", body: base62, min: 40},

	{pattern: Const("jwt"), prefix: "eyJ", body: base64url, min: 8, parts: true},
}

// shapesBy lists the shapes by the first byte of their prefix.
var shapesBy = func() (by [256][]*shape) {
	for i := range shapes {
		c := shapes[i].prefix[0]
		by[c] = append(by[c], &shapes[i])
	}
	return
}()

// match looks for a token of known shape that begins at b[i]. dead is kept
// between the calls for one text: before it no token in parts can begin, which
// makes a run of failures linear.
func match(b []byte, i int, dead *int) (from, to int, pattern Text, ok bool) {
	for _, s := range shapesBy[b[i]] {
		if len(b)-i < len(s.prefix)+s.min || string(b[i:i+len(s.prefix)]) != s.prefix {
			continue
		}
		// A prefix within a word is not one: "graphnpm_" is a name.
		if i > 0 && !s.within && base62[s.prefix[0]] && base62[b[i-1]] && !escapedBefore(b, i) {
			continue
		}
		if s.parts {
			if i < *dead {
				continue
			}
			end, ok := parts(b, i)
			if ok {
				return i, end, s.pattern, true
			}
			*dead = end
			continue
		}
		j := i + len(s.prefix)
		for j < len(b) && s.body[b[j]] && (s.max == 0 || j-i-len(s.prefix) < s.max) {
			j++
		}
		if j-i-len(s.prefix) < s.min || s.exact && j < len(b) && s.body[b[j]] {
			continue
		}
		from, to = i, j
		if s.check != nil {
			if from, to, ok = s.check(b, from, to); !ok {
				continue
			}
		}
		return from, to, s.pattern, true
	}
	return 0, 0, Text{}, false
}

// escapedBefore reports whether the letter before i ends an escape such as \n
// or %3D, so that a word begins at i.
func escapedBefore(b []byte, i int) bool {
	if i >= 2 && b[i-2] == '\\' {
		return true
	}
	return i >= 3 && b[i-3] == '%' && isHex(b[i-2]) && isHex(b[i-1])
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func random(b []byte, from, to int) (int, int, bool) {
	return from, to, highEntropy(b[from:to])
}

func afterPrefix(n int) func([]byte, int, int) (int, int, bool) {
	return func(_ []byte, from, to int) (int, int, bool) { return from + n, to, true }
}

// azureClientSecret: three characters, a digit, "Q~" and 31 to 34 more.
func azureClientSecret(b []byte, from, to int) (int, int, bool) {
	if from < 4 || b[from-1] < '0' || b[from-1] > '9' {
		return 0, 0, false
	}
	return from - 4, to, true
}

// telegram: the bot's number, a colon, 35 characters that begin with AA.
func telegram(b []byte, from, to int) (int, int, bool) {
	i := from
	for i > 0 && b[i-1] >= '0' && b[i-1] <= '9' {
		i--
	}
	return i, to, from-i >= 6 && from-i <= 12
}

// runBefore takes the word before the prefix in.
func runBefore(b []byte, from, to int) (int, int, bool) {
	i := from
	for i > 0 && base62[b[i-1]] {
		i--
	}
	return i, to, from-i >= 10
}

// sendgrid: two parts of 22 and 43 characters.
func sendgrid(b []byte, from, to int) (int, int, bool) {
	t := b[from+3 : to]
	for i, c := range t {
		if c == '.' {
			return from, to, i >= 16 && len(t)-i-1 >= 32
		}
	}
	return 0, 0, false
}

// parts finds the end of a JWT or JWE (RFC 7519, RFC 7516) at b[i]: parts of
// base64url between dots, the first two of at least 8 characters; the signature
// may be empty. Where there is none, end is the first place that is not ruled out.
func parts(b []byte, i int) (end int, ok bool) {
	end = i
	for n := 0; ; n++ {
		from := end
		for end < len(b) && base64url[b[end]] {
			end++
		}
		if n < 2 && end-from < 8 {
			return end, false
		}
		if n >= 4 || end+1 >= len(b) || b[end] != '.' || n >= 1 && !base64url[b[end+1]] {
			return end, n >= 1
		}
		end++
	}
}
