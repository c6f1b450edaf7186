package sigstore

import (
	"os"
	"strings"
	"testing"
)

// Else the tests would be skipped for ever, and look well.
func TestTheMakefileBuildsTheProgramsThatAreStarted(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	vars := strings.NewReplacer("fulcio-", "FULCIO_VERSION      := ", "timestamp-server-", "TSA_VERSION         := ", "rekor-posix-", "REKOR_VERSION       := ")
	for _, p := range []string{fulcioProgram, tsaProgram, rekorProgram} {
		if want := vars.Replace(p) + "\n"; !strings.Contains(string(makefile), want) {
			t.Errorf("the Makefile has no line %q", want)
		}
	}
}

func TestARigLeavesNothingRunning(t *testing.T) {
	var rig *Rig
	ok := t.Run("rig", func(t *testing.T) {
		rig = Start(t, Options{Rekor: true})
		for _, url := range []string{rig.Fulcio + "/healthz", rig.TSA + "/ping", rig.Rekor + "/healthz"} {
			if _, err := get(url); err != nil {
				t.Error(err)
			}
		}
	})
	if !ok || rig == nil {
		t.SkipNow()
	}
	for _, url := range []string{rig.Fulcio, rig.TSA, rig.Rekor} {
		if _, err := get(url); err == nil {
			t.Errorf("%s still answers", url)
		}
	}
}
