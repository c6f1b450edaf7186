package compare_test

import (
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/compare"
)

func parse(t *testing.T, text string) *intent.Policy {
	t.Helper()
	p, err := intent.Parse("p", []byte("version: 1\n"+text+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var digest, digest2 = strings.Repeat("a1", 32), strings.Repeat("b2", 32)

func TestADifferenceIsToldInWords(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		want       []string
	}{
		{"the same in another order and place",
			`egress: ["a.example.com:443", "b.example.com:443"]`,
			"egress:\n  - b.example.com:443\n  - a.example.com:443", nil},
		{"a program is no longer asked for",
			`jobs: {build: {egress: [{to: "x.example:443", by: [gh]}]}}`,
			`jobs: {build: {egress: ["x.example:443"]}}`,
			[]string{"job build may now connect to x.example:443 by any program (was: by gh only)"}},
		{"and the other way round",
			`jobs: {build: {egress: ["x.example:443"]}}`,
			`jobs: {build: {egress: [{to: "x.example:443", by: [gh, git]}]}}`,
			[]string{"job build may no longer connect to x.example:443 by any program (still: by gh or git only)"}},
		{"a wider host",
			`egress: ["a.example.com:443"]`, `egress: ["*.example.com:443"]`,
			[]string{"every job may now connect to *.example.com:443 by any program (was: a.example.com:443)"}},
		{"a tighter host",
			`egress: ["*.example.com:443"]`, `egress: ["a.example.com:443"]`,
			[]string{"every job may no longer connect to *.example.com:443 by any program (still: a.example.com:443)"}},
		{"any port",
			`egress: ["a.example.com:443"]`, `egress: ["a.example.com:*"]`,
			[]string{"every job may now connect to a.example.com:* by any program (was: a.example.com:443)"}},
		{"a deny that goes is more that is allowed",
			`deny: {egress: ["*.ngrok.app"]}`, ``,
			[]string{"every job is no longer forbidden to connect to *.ngrok.app"}},
		{"a deny that comes", ``, `deny: {egress: ["*.ngrok.app"]}`,
			[]string{"every job must no longer connect to *.ngrok.app"}},
		{"a preset is taken for what it holds", `egress: ["*.npmjs.org:443", "*.yarnpkg.com:443", "nodejs.org:443"]`, `use: [local]`,
			[]string{
				"every job may now connect to 127.0.0.0/8:* by any program, of the preset local",
				"every job may now connect to 127.0.0.0/8:*/udp by any program, of the preset local",
				"every job may now connect to [::1]:* by any program, of the preset local",
				"every job may now connect to [::1]:*/udp by any program, of the preset local",
				"every job may no longer connect to *.npmjs.org:443 by any program",
				"every job may no longer connect to *.yarnpkg.com:443 by any program",
				"every job may no longer connect to nodejs.org:443 by any program"}},
		{"a digest is asked for",
			`exec: [node]`, `exec: [{to: node, sha256: ` + digest + `}]`,
			[]string{"every job may no longer run node by any program (still: by any program, with SHA-256 " + digest + " only)"}},
		{"another digest will do",
			`exec: [{to: node, sha256: ` + digest + `}]`, `exec: [{to: node, sha256: [` + digest + `, ` + digest2 + `]}]`,
			[]string{"every job may now run node by any program, with SHA-256 " + digest + " or " + digest2 + " only (was: by any program, with SHA-256 " + digest + " only)"}},
		{"the first line of a list limits what was free", ``, `exec: [npm]`,
			[]string{"every job may now only run the programs that are listed (was: any)"}},
		{"a list that goes frees all", "exec: [npm]\nwrite: [\"dist/**\", \"/opt/x\"]", ``,
			[]string{
				"every job may now run any program (was: only those listed)",
				"every job may now write any file of the workspace (was: only those listed)",
				"every job may no longer write /opt/x by any program"}},
		{"files, programs, addresses, power", "exec: [npm]\nwrite: [a]\nlisten: [\"127.0.0.1:80\"]", "exec: [npm, \"py*\"]\nwrite: [a, \"dist/**\"]\nlisten: [\"127.0.0.1:80\", \"*:8080\"]\nroot: [apt-get]",
			[]string{
				"every job may now run py* by any program",
				"every job may now write dist/** by any program",
				"every job may now listen on *:8080 by any program",
				"every job may now take power over the machine by apt-get"}},
		{"credentials", `credentials: [npm]`, `credentials: [npm, {class: aws, by: [deploy.sh], to: ["up.example:443"], step: s}]`,
			[]string{
				"every job may now read aws credentials by deploy.sh only in step s only",
				"every job may now send aws credentials to up.example:443 by deploy.sh only in step s only"}},
		{"what holds for every job is said once", `jobs: {a: , b: }`, "egress: [\"x.example:443\"]\njobs: {a: , b: }",
			[]string{"every job may now connect to x.example:443 by any program"}},
		{"jobs come and go", `jobs: {a: }`, `jobs: {b: {egress: ["x.example:443"]}}`,
			[]string{
				"job b is new; beside what every job may do:",
				"job b may now connect to x.example:443 by any program",
				"job a is gone: a run of it cannot be judged"}},
		{"fail-on", ``, `fail-on: {severity: critical, score: 60, coverage: partial}`,
			[]string{
				"the outcome fails from severity critical on (was: fails from severity high on)",
				"the outcome fails from score 60 on (was: fails from score 40 on)",
				"the outcome fails now where something was not seen"}},
		{"never", ``, `fail-on: never`, []string{"the outcome never fails now: the verdict only reports"}},
		{"a budget", `egress: [{to: "x.example:443", upload: 5MB}]`, `egress: [{to: "x.example:443", upload: 50MB}]`,
			[]string{"every job may now connect to x.example:443 by any program, 50MB at most (was: by any program, 5MB at most)"}},
		{"a budget that goes", `egress: [{to: "x.example:443", upload: 5MB}]`, `egress: ["x.example:443"]`,
			[]string{"every job may now connect to x.example:443 by any program (was: by any program, 5MB at most)"}},
		{"more requests", `egress: [{to: "x.example:80", http: GET}]`, `egress: [{to: "x.example:80", http: [GET, POST /a]}]`,
			[]string{"every job may now connect to x.example:80 by any program, for the requests GET /** or POST /a only (was: by any program, for the requests GET /** only)"}},
		{"a limit on requests that comes", `egress: ["x.example:80"]`, `egress: [{to: "x.example:80", http: GET}]`,
			[]string{"every job may no longer connect to x.example:80 by any program (still: by any program, for the requests GET /** only)"}},
		{"a finding that no longer counts", ``, `suppress: [{rule: d16, by: [node], reason: unpacks, owner: build, until: 2027-03-01}]`,
			[]string{"findings of d16 by node no longer count until 2027-03-01 (owner build: unpacks)"}},
		{"nothing obeys a terminal", ``, `write: ["/a\e[2Jb"]`, []string{
			"every job may now only write the files that are listed (was: any)",
			`every job may now write "/a\x1b[2Jb" by any program`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			changes, err := compare.Policies(parse(t, c.a), parse(t, c.b))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, ch := range changes {
				got = append(got, ch.Text)
			}
			if g, w := strings.Join(got, "\n"), strings.Join(c.want, "\n"); g != w {
				t.Errorf("told:\n%s\nwant:\n%s", g, w)
			}
		})
	}
}

// Whatever the change, B beside B is the same.
func TestAPolicyIsTheSameAsItself(t *testing.T) {
	text := "use: [github-runner, node, python]\njobs:\n  a: {use: [go], exec: [\"*\"], write: [\"**\"], credentials: [npm]}\n  b: {egress: [\"*:443\", \"10.0.0.0/8:*\", \"[fd00::/8]:1/udp\", \"b*.x.example:1\", \"**.y.example:1\"]}\ndeny: {egress: [\"*\"]}"
	changes, err := compare.Policies(parse(t, text), parse(t, text))
	if err != nil || len(changes) != 0 {
		t.Errorf("%v, %v", changes, err)
	}
}
