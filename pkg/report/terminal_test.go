package report

import (
	"bytes"
	"testing"
)

func terminalText(t *testing.T, d *Data, opt TerminalOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := Terminal(&b, d, opt); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSummaryOfAnInstallIsAsAUserShouldSeeIt(t *testing.T) {
	golden(t, "install.txt", []byte(terminalText(t, install(t), TerminalOptions{Dir: ".posture"})))
}
