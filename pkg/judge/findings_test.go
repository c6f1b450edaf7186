package judge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

const pairRule = `title: t
name: part
logsource: {category: process_creation}
detection: {s: {Image|endswith: /tool}, condition: s}
---
title: two by one
name: pair
level: high
correlation: {type: event_count, rules: [part], group-by: [CommandLine], timespan: 1d, condition: {gte: 2}}
`

// pairs runs n different commands, and the first of them again.
func pairs(t *testing.T, n int) (v *judge.Verdict, told int) {
	t.Helper()
	pack, err := signature.LoadFile("pair.yml", []byte(pairRule), signature.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := facttest.New("make")
	for i := range n {
		l.Run(l.Root, "/w/tool", "tool", fmt.Sprint(i))
	}
	l.Run(l.Root, "/w/tool", "tool", "0")
	l.End(0)
	j := judge.New(intent.None(), pack)
	j.OnHit = func(ev *event.Event, h *signature.Hit) {
		if h.Rule.ID != "pair" || h.Last != ev.Time || len(h.Leaves) != 2 {
			t.Errorf("%+v", h)
		}
		told++
	}
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	return j.Verdict(), told
}

func TestTheVerdictTellsWhenARuleHadTooMuchToRemember(t *testing.T) {
	has := func(v *judge.Verdict) bool {
		for _, g := range v.Coverage.Gaps {
			if strings.HasPrefix(g.What, "rules over several events forgot ") {
				return true
			}
		}
		return false
	}
	if v, told := pairs(t, 100); told != 1 || has(v) {
		t.Errorf("%d hits, %+v", told, v.Coverage)
	}
	v, told := pairs(t, 5000)
	if told != 0 || !has(v) || v.Coverage.State != "partial" {
		t.Errorf("%d hits, %+v", told, v.Coverage)
	}
}

func TestAHostThatThePolicyGrantsIsNoLookalike(t *testing.T) {
	for policy, want := range map[string]bool{
		"version: 1\negress: [\"example.com:443\"]\n":                      true,
		"version: 1\negress: [\"npm-cache.com:443\"]\n":                    false,
		"version: 1\negress: [\"**.npm-cache.com:443\"]\n":                 false,
		"version: 1\nexec: [\"*\"]\ndeny: {egress: [\"npm-cache.com\"]}\n": true,
	} {
		l := facttest.New("make")
		l.Resolve(l.Root, "x.npm-cache.com", "198.51.100.7")
		l.End(0)
		j := judge.New(resolved(t, policy), rules(t))
		for i := range l.Events {
			j.Apply(&l.Events[i])
		}
		got := false
		for _, f := range j.Verdict().Findings {
			got = got || f.Rule == "d22-lookalike"
		}
		if got != want {
			t.Errorf("%q: %v, want %v", policy, got, want)
		}
	}
}
