package judge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/intent"
)

// The score without one thing is the one that the ledger of the others has.
func TestTheScoreWithoutACauseIsThatOfTheLedgerWithoutIt(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		items := random(r, 1+r.IntN(60))
		_, s := current.ledger(items)
		sums := make([]int, len(current.caps))
		groups := groupsOf(items)
		total := 0
		for _, g := range groups {
			sums[order[g[0].severity]] += g[0].points
		}
		for o, n := range sums {
			total += current.charged(o, n)
		}
		if score(total) != s {
			t.Fatalf("the sum scores %d, the ledger %d", score(total), s)
		}
		for _, g := range groups {
			rest := slices.DeleteFunc(slices.Clone(items), func(i item) bool { return i.group == g[0].group })
			_, want := current.ledger(rest)
			o := order[g[0].severity]
			if got := score(total - current.charged(o, sums[o]) + current.charged(o, sums[o]-g[0].points)); got != want {
				t.Fatalf("without %q the score is told as %d, and is %d", g[0].group, got, want)
			}
		}
	}
}

func judged(t *testing.T, policy string, l *facttest.Log) *Judge {
	t.Helper()
	p, err := intent.Parse("posture.yml", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	j := New(in, nil)
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	return j
}

func mixed() *facttest.Log {
	l := facttest.New("make", "all")
	node := l.Run(l.Root, "/usr/bin/node", "node", "build.js")
	l.Resolve(node, "evil.example", "203.0.113.9")
	l.Send(node, "203.0.113.9:443", 120)
	l.Resolve(node, "up.example.net", "203.0.113.8")
	l.Send(node, "203.0.113.8:443", 120)
	l.Resolve(node, "a.ngrok.app", "203.0.113.7")
	l.Send(node, "203.0.113.7:443", 120)
	l.Write(node, "/etc/cron.d/x")
	for i := range 6 {
		l.Write(node, fmt.Sprintf("%s/src%d/main.go", facttest.Root, i))
	}
	l.Read(node, "aws", facttest.Home+"/.aws/credentials")
	l.End(0)
	return l
}

const mixedPolicy = `version: 1
egress:
  - {to: "up.example.net:443", by: [gh]}
write: [dist/**]
deny:
  egress: ["*.ngrok.app"]
`

// The counterfactual, checked against the judge itself: the policy with the
// line that a cause proposes gives the score that the cause tells.
func TestTheLineOfACauseGivesTheScoreThatIsTold(t *testing.T) {
	small := facttest.New("make", "all")
	node := small.Run(small.Root, "/usr/bin/node", "node", "build.js")
	small.Resolve(node, "up.example.net", "203.0.113.8")
	small.Send(node, "203.0.113.8:443", 120)
	small.Listen(node, "127.0.0.1:8080")
	for i := range 5 {
		small.Write(node, fmt.Sprintf("%s/src%d/main.go", facttest.Root, i))
	}
	small.End(0)
	try(t, small, mixedPolicy, 6)
	try(t, mixed(), mixedPolicy, 8)
}

func try(t *testing.T, l *facttest.Log, policy string, least int) {
	t.Helper()
	given := policy
	lists := map[string]string{
		"egress": "egress:\n", "write": "write: [dist/**]\n", "credentials": "credentials:\n",
	}
	j := judged(t, given, l)
	v, causes, more := j.Explain()
	if more != 0 || len(causes) < least {
		t.Fatalf("%d causes and %d more", len(causes), more)
	}
	tried := 0
	for _, c := range causes {
		if c.Line == "" {
			continue
		}
		policy := given
		switch c.Key {
		case "write":
			policy = replace(policy, lists["write"], "write:\n  - dist/**\n  "+c.Line+"\n")
		case "egress":
			policy = replace(policy, lists["egress"], "egress:\n  "+c.Line+"\n")
		default:
			policy += c.Key + ":\n  " + c.Line + "\n"
		}
		tried++
		if got := judged(t, policy, l).Verdict().Score; got != c.Without {
			t.Errorf("%s: with %q the score is %d, told was %d (all: %d)", c.What, c.Line, got, c.Without, v.Score)
		}
	}
	if tried < least-2 {
		t.Errorf("only %d lines were tried", tried)
	}
}

func replace(s, old, with string) string {
	i := 0
	for ; i+len(old) <= len(s); i++ {
		if s[i:i+len(old)] == old {
			return s[:i] + with + s[i+len(old):]
		}
	}
	panic("not there: " + old)
}

func TestACauseNamesFactGrantAndLeaf(t *testing.T) {
	j := judged(t, mixedPolicy, mixed())
	v, causes, _ := j.Explain()
	sum := 0
	for _, c := range causes {
		sum += c.Points
		if len(c.Leaves) == 0 || len(c.Facts) == 0 {
			t.Errorf("%s: no leaves or facts", c.What)
		}
	}
	if score(sum) != v.Score {
		t.Errorf("the points add up to score %d, the verdict has %d", score(sum), v.Score)
	}
	find := func(what string) Cause {
		for _, c := range causes {
			if c.What == what {
				return c
			}
		}
		t.Fatalf("no cause %q in %v", what, causes)
		return Cause{}
	}
	if c := find("forbidden connect a.ngrok.app:443 by build.js"); c.Deny == nil || c.Deny.Origin.Line != 6 || c.Line != "" {
		t.Errorf("%+v", c)
	}
	if c := find("undeclared connect up.example.net:443 by build.js"); c.Near == nil || c.Near.Origin.Line != 3 || c.Misses != "it is for gh only" ||
		c.Line != `- {to: "up.example.net:443", by: [build.js]}` || c.Key != "egress" {
		t.Errorf("%+v", c)
	}
	if c := find("undeclared connect evil.example:443 by build.js"); c.Near != nil {
		t.Errorf("%+v", c)
	}
}

// A budget that was used up is one cause, whoever had a part in it, and the
// line that it proposes is enough for all.
func TestABudgetThatWasUsedUpIsOneCause(t *testing.T) {
	l := facttest.New("make", "all")
	for _, name := range []string{"a", "b"} {
		n := l.Run(l.Root, "/usr/bin/"+name, name)
		l.Resolve(n, "up.example.net", "203.0.113.8")
		l.Send(n, "203.0.113.8:443", 3000)
	}
	l.End(0)
	const budget = "version: 1\negress:\n  - {to: \"up.example.net:443\", upload: 5KB}\n"
	_, causes, _ := judged(t, budget, l).Explain()
	if len(causes) != 1 || len(causes[0].Facts) != 2 || causes[0].Near == nil || causes[0].Near.Origin.Line != 3 || causes[0].Without != 0 {
		t.Fatalf("%+v", causes)
	}
	if got := judged(t, budget+"  "+causes[0].Line+"\n", l).Verdict(); len(got.Undeclared) > 1 {
		t.Errorf("with %q there is still %+v", causes[0].Line, got.Undeclared)
	}
}
