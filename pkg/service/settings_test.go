package service

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestTheExampleHasTheDefaults(t *testing.T) {
	s, err := ParseSettings("service.yml", Example)
	if err != nil || !reflect.DeepEqual(s, defaults()) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, key := range settingKeys {
		if !strings.Contains(string(Example), key+":") {
			t.Errorf("the example does not tell of %s", key)
		}
	}
}

func TestSettingsAreReadWhole(t *testing.T) {
	s, err := ParseSettings("x", []byte(`version: 1
sensor: netlink
seal: false
policy: /etc/p.yml
runners: [/opt/a, {dir: /opt/b, work: /srv/b}]
keep: {days: 7, size: 500MB}
metrics: unix:/run/m.sock
require: True
fail-on: high
`))
	want := &Settings{Sensor: "netlink", Policy: "/etc/p.yml", Runners: []Runner{{"/opt/a", "/opt/a/_work"}, {"/opt/b", "/srv/b"}},
		Keep: Keep{7, 500e6}, Metrics: "unix:/run/m.sock", Require: true, FailOn: "high"}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v", s, err)
	}
	signs, err := ParseSettings("x", []byte("version: 1\nsign: {name: build-7.example, subjects: [dist/*]}\n"))
	if err != nil || signs.Sign == nil || !reflect.DeepEqual(*signs.Sign, Sign{"build-7.example", KeyFile, []string{"dist/*"}}) || signs.Sign.Runs() != "build-7.example:" {
		t.Errorf("%+v, %v", signs, err)
	}
	for dir, work := range map[string]string{"/opt/a": "/opt/a/_work", "/opt/b": "/srv/b", "/opt/c": ""} {
		if got, ok := s.work(dir); ok != (work != "") || ok && got != work {
			t.Errorf("%s: %q, %v", dir, got, ok)
		}
	}
	if work, ok := defaults().work("/any"); !ok || work != "/any/_work" {
		t.Errorf("without a list: %q, %v", work, ok)
	}
}

func TestWrongSettingsAreToldWithTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"sensor: auto":                                      `x:1:1: want "version: 1"`,
		"version: 2":                                        "x:1:10",
		"version: 1\nsensors: auto":                         "x:2:1",
		"version: 1\nsensor: kprobe":                        "x:2:9",
		"version: 1\nseal: perhaps":                         "x:2:7",
		"version: 1\npolicy: p.yml":                         "x:2:9",
		"version: 1\nrunners: [/a/../b]":                    "x:2:11",
		"version: 1\nrunners:\n  - {work: /b}":              "x:3:5",
		"version: 1\nkeep: {days: 0}":                       "x:2:14",
		"version: 1\nkeep: {size: much}":                    "x:2:14",
		"version: 1\nmetrics: 0.0.0.0:9472":                 "x:2:10",
		"version: 1\nmetrics: example.com:80":               "x:2:10",
		"version: 1\nmetrics: unix:m.sock":                  "x:2:10",
		"version: 1\nrequire: 3":                            "x:2:10",
		"version: 1\nfail-on: hihg":                         "x:2:10",
		"version: 1\nkeep: {size: 10GB, days: 3, weeks: 4}": "x:2:29",
		"version: 1\nsign: {key: /k.pem}":                   "x:2:7: want name",
		"version: 1\nsign: {name: Build 7}":                 "x:2:14",
		"version: 1\nsign: {name: m, key: k.pem}":           "x:2:22",
		"version: 1\nsign: {name: m, subjects: [../x]}":     "x:2:28",
		"version: 1\nseal: false\nsign: {name: m}":          "x:3:7: what is not sealed",
	} {
		if s, err := ParseSettings("x", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %s", text, s, err, want)
		}
	}
}

func TestTheManifestHoldsSettingsThatAreRead(t *testing.T) {
	data, err := os.ReadFile("../../examples/actions-runner-controller/daemonset.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Data map[string]string }
	if err := yaml.Unmarshal(data, &config); err != nil { // the first document
		t.Fatal(err)
	}
	s, err := ParseSettings("service.yml", []byte(config.Data["service.yml"]))
	if err != nil || len(s.Runners) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func FuzzParseSettings(f *testing.F) {
	f.Add(Example)
	f.Add([]byte("version: 1\nrunners: [/a, {dir: /b}]\nkeep: {days: 1, size: 1MB}\nmetrics: 127.0.0.1:1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSettings("x", data)
		if err != nil {
			return
		}
		if s.Keep.Days < 1 || s.Keep.Size < 1e6 || s.Sensor == "" || len(s.Runners) > maxRunners {
			t.Errorf("%+v", s)
		}
		for _, r := range s.Runners {
			if !strings.HasPrefix(r.Dir, "/") || !strings.HasPrefix(r.Work, "/") {
				t.Errorf("%+v", r)
			}
		}
	})
}
