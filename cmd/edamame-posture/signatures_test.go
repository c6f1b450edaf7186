package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const ruleForMake = `title: make was run
name: make-run
level: low
tags: [attack.t1059]
logsource: {product: linux, category: process_creation}
detection: {s: {Image|endswith: /make}, condition: s}
---
title: node below make
name: node-below-make
logsource: {product: linux, category: process_creation}
detection: {s: {Image|endswith: /node, Lineage: make}, condition: s}
---
title: one after the other
name: both
level: high
correlation: {type: temporal_ordered, rules: [make-run, node-below-make], group-by: [Lineage], timespan: 1m}
`

func TestSignaturesListTellsTheRulesThatShip(t *testing.T) {
	code, out := command(t, "signatures", "list")
	if code != 0 || !strings.Contains(out, "d1-runner-memory ") || !strings.Contains(out, "T1003.007") || !strings.Contains(out, "process_access") || strings.Contains(out, "d3-connects-out") {
		t.Errorf("%d %s", code, out)
	}
	code, out = command(t, "signatures", "list", "--json")
	var told struct {
		Name, SHA256 string
		Rules        []listedRule
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil || code != 0 || told.Name != "default" || len(told.SHA256) != 64 || len(told.Rules) < 3 {
		t.Fatalf("%d %v %.200s", code, err, out)
	}
	if r := told.Rules[0]; r.ID == "" || r.Title == "" || r.Place == "" || r.Source == "" || r.Status == "" {
		t.Errorf("%+v", r)
	}
}

func TestSignaturesListReadsAFolderLenientlyWhereItIsAsked(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"good.yml": ruleForMake, "bad.yml": strings.Replace(ruleForMake, "Image|", "Imag|", 1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, out := command(t, "signatures", "list", "--rules", dir)
	if code != exitUsage || !strings.Contains(out, filepath.Join(dir, "bad.yml")+`:6:17: the field is not known: "Imag|endswith" (did you mean "Image"?)`) {
		t.Errorf("%d %s", code, out)
	}
	code, out = command(t, "signatures", "list", "--rules", dir, "--lenient")
	if code != exitNo || !strings.Contains(out, "node-below-make") || !strings.Contains(out, "left out:\n"+filepath.Join(dir, "bad.yml")+":6:17") {
		t.Errorf("%d %s", code, out)
	}
	if code, out := command(t, "signatures", "list", "--rules", filepath.Join(dir, "gone")); code != exitUsage {
		t.Errorf("%d %s", code, out)
	}
	if code, out := command(t, "signatures", "list", "--rules", t.TempDir()); code != exitNothing {
		t.Errorf("%d %s", code, out)
	}
}

func TestSignaturesCheckCountsByReason(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yml": ruleForMake,
		"b.yml": "title: w\nid: 00000000-0000-4000-8000-000000000001\nlogsource: {product: windows, category: registry_set}\ndetection: {s: {x: y}, condition: s}\n",
		"c.yml": "title: h\nid: 00000000-0000-4000-8000-000000000002\nlogsource: {category: process_creation}\ndetection: {s: {Hashes|contains: x}, condition: s}\n",
		"d.yml": "title: e\nid: 00000000-0000-4000-8000-000000000003\nlogsource: {category: process_creation}\ndetection: {s: {CommandLine|contains|expand: '%Names%'}, condition: s}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, out := command(t, "signatures", "check", dir)
	for _, want := range []string{
		filepath.Join(dir, "c.yml") + ":4:17: the field is not supported: files are not hashed",
		"     1  the field is not supported: files are not hashed\n",
		"     1  windows registry_set\n",
		"\n6 rules, 5 in supported categories, 3 parsed (60.0 %)\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if code != exitNo {
		t.Errorf("exit code %d", code)
	}
	code, out = command(t, "signatures", "check", dir, "--placeholder", "Names=a", "--json")
	var r checkReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitNo || r.Rules != 6 || r.Supported != 5 || r.Usable != 4 || len(r.Wrong) != 1 {
		t.Errorf("%d %v %s", code, err, out)
	}
	if code, out := command(t, "signatures", "check", t.TempDir()); code != exitNothing {
		t.Errorf("%d %s", code, out)
	}
	if code, out := command(t, "signatures", "check", dir, "--placeholder", "Names"); code != exitUsage || !strings.Contains(out, "want NAME=VALUE") {
		t.Errorf("%d %s", code, out)
	}
}

func TestSignaturesTestTellsTheLinesThatMatch(t *testing.T) {
	rule := file(t, "rule.yml", ruleForMake)
	log := golden + "a-job-that-does-what-it-said.jsonl"
	want := []string{
		":6: make-run (low): exec /usr/bin/make by make < bash",
		":8: node-below-make (medium): exec /usr/bin/node by build.js < make < bash",
		":6,8: both (high): exec /usr/bin/node by build.js",
		"3 matches in 16 events\n",
	}
	for _, run := range []string{log, results(t, "a-job-that-does-what-it-said", policyText)} {
		code, out := command(t, "signatures", "test", rule, "--evidence", run)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s lacks %q:\n%s", run, w, out)
			}
		}
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	code, out := command(t, "signatures", "test", rule, "--evidence", log, "--json")
	var told struct {
		Events  int
		Matches []match
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil || code != 0 || told.Events != 16 || len(told.Matches) != 3 || told.Matches[2].Lines[1] != 8 {
		t.Errorf("%d %v %s", code, err, out)
	}
	none := file(t, "none.yml", strings.ReplaceAll(ruleForMake, "/make", "/none"))
	if code, out := command(t, "signatures", "test", none, "--evidence", log); code != 0 || !strings.Contains(out, "1 match in 16 events") {
		t.Errorf("%d %s", code, out)
	}
	none = file(t, "none.yml", strings.ReplaceAll(ruleForMake, "Image|endswith: /", "Image|endswith: /no"))
	if code, out := command(t, "signatures", "test", none, "--evidence", log); code != exitNo || out != "0 matches in 16 events\n" {
		t.Errorf("%d %s", code, out)
	}
	for _, args := range [][]string{{rule}, {rule, "--evidence", filepath.Join(t.TempDir(), "x")}, {file(t, "bad.yml", "x: ["), "--evidence", log}} {
		if code, out := command(t, append([]string{"signatures", "test"}, args...)...); code != exitUsage {
			t.Errorf("%q: %d %s", args, code, out)
		}
	}
	if code, out := command(t, "signatures", "test", rule, "--evidence", t.TempDir()); code != exitNothing {
		t.Errorf("%d %s", code, out)
	}
}
