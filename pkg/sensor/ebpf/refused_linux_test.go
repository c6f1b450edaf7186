package ebpf

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// A kernel that takes some of the programs for TLS and not the others reads none:
// that is said once, and each program that was refused is named.
func TestProgramsForTLSThatAreRefusedAreTold(t *testing.T) {
	l := &loaded{tls: true}
	for _, h := range hooks {
		if h.program == "on_tls_written" || h.program == "on_go_write" {
			l.refuse(h, errors.New("permission denied"))
		}
	}
	if l.tls || len(l.missing) != 1 || !strings.HasPrefix(l.missing[0], withoutTLS) {
		t.Errorf("TLS is read: %v; not seen: %q", l.tls, l.missing)
	}
	for _, name := range []string{"on_tls_written", "on_go_write"} {
		if !slices.ContainsFunc(l.refused, func(s string) bool { return strings.Contains(s, name) }) {
			t.Errorf("%s is not in %q", name, l.refused)
		}
	}
	for _, h := range hooks {
		if h.uprobe && h.without == "" {
			t.Errorf("that %s is refused would not be told", h.program)
		}
	}
}
