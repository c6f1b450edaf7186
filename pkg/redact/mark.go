package redact

// Patterns that are told by where they stand.
var (
	patMasked     = Const("masked-value")
	patPrivateKey = Const("private-key")
	patOption     = Const("option-value")
	patPassword   = Const("password")
	patCookie     = Const("cookie")
	patHeader     = Const("auth-header")
	patUserinfo   = Const("url-password")
	patParameter  = Const("url-parameter")
	patNamed      = Const("named-secret")
	patUnread     = Const("unread") // encoded so often that it was not looked into
)

// patterns holds every name that may stand in a mark.
var patterns = func() map[string]bool {
	m := make(map[string]bool)
	for _, t := range []Text{patMasked, patPrivateKey, patOption, patPassword, patCookie, patHeader, patUserinfo, patParameter, patNamed, patUnread} {
		m[t.s] = true
	}
	for _, s := range shapes {
		m[s.pattern.s] = true
	}
	return m
}()

// unmarked returns from moved behind the marks that b[from:to] begins with.
func unmarked(b []byte, from, to int) int {
	for from < to {
		n := mark(b[from:to])
		if n == 0 {
			break
		}
		from += n
	}
	return from
}

// mark returns the length of the mark that b begins with, or 0. The name must
// be one of ours and the numbers short, so that a mark written by a job can
// hide nothing.
func mark(b []byte) int {
	const begin = "[redacted "
	if len(b) < len(begin)+4 || string(b[:len(begin)]) != begin {
		return 0
	}
	i := len(begin)
	from := i
	for i < len(b) && i-from < 32 && (b[i] >= 'a' && b[i] <= 'z' || b[i] >= '0' && b[i] <= '9' || b[i] == '-') {
		i++
	}
	if !patterns[string(b[from:i])] || i >= len(b) || b[i] != ' ' {
		return 0
	}
	i++
	from = i
	for i < len(b) && i-from < 7 && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == from || i >= len(b) {
		return 0
	}
	if i+3 < len(b) && b[i] == ' ' && b[i+1] == 'x' && b[i+2] >= '1' && b[i+2] <= '9' {
		i += 3
	}
	if b[i] != ']' {
		return 0
	}
	return i + 1
}
