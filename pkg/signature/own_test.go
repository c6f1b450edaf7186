package signature

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/org/edamame-posture/pkg/event"
)

func ownText(name, field string) string {
	return fmt.Sprintf("title: t\nname: %s\nlogsource: {product: linux, category: process_creation}\ndetection:\n  a: {%s: x}\n  condition: a\n", name, field)
}

func TestOwnRulesStandBesideOursAndStayInTheCanonicalForm(t *testing.T) {
	shipped, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	own := &Own{Lenient: true}
	if err := own.AddAll("mine", fstest.MapFS{"b/good.yml": {Data: []byte(ownText("own-good", "Image"))}, "bad.yml": {Data: []byte(ownText("own-bad", "NoSuchField"))}}); err != nil {
		t.Fatal(err)
	}
	p, err := shipped.With(own)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadPack(p.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []*Pack{p, again} {
		rules := q.Rules()
		found := false
		for _, r := range rules {
			found = found || r.ID == "own-good" && r.Place() == "mine/b/good.yml:1"
		}
		if len(rules) != len(shipped.Rules())+1 || !found {
			t.Errorf("%d rules, want one more than %d: own-good of mine/b/good.yml:1 is among them: %v", len(rules), len(shipped.Rules()), found)
		}
		if len(q.Skipped()) != 1 || !strings.HasPrefix(q.Skipped()[0].Error(), "mine/bad.yml:5:") {
			t.Errorf("left out: %v", q.Skipped())
		}
		if q.Indicators().Len() != shipped.Indicators().Len() || q.brands == nil {
			t.Error("the indicators or the brands are lost")
		}
	}
	if again.SHA256() != p.SHA256() || p.SHA256() == shipped.SHA256() {
		t.Error("the digest does not tell the packs apart")
	}
}

func TestOwnRulesThatTakeOursPlaceAreRefused(t *testing.T) {
	shipped, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"own.yml", ownText("d15-dns-tunnel", "Image"), "own.yml:2:7: the same stands in d15-dns-tunnel.yml:"},
		{"own.yml", strings.Replace(ownText("mine", "Image"), "name:", "id: 02f6773b-dba6-5d20-bdec-67cf2ae2a593\nname:", 1), "own.yml:2:5: the same stands in d15-dns-tunnel.yml:"},
		{"d15-dns-tunnel.yml", ownText("mine", "Image"), "has this name"},
		{"own.yml", ownText("mine", "Image") + "#" + strings.Repeat("x", maxOwn), "may have 512"},
	} {
		own := &Own{}
		own.Add(c.name, []byte(c.text))
		if _, err := shipped.With(own); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	own := &Own{Lenient: true}
	own.Add("own.yml", []byte(ownText("d15-dns-tunnel", "Image")))
	p, err := shipped.With(own)
	if err != nil || len(p.Rules()) != len(shipped.Rules()) || len(p.Skipped()) == 0 {
		t.Errorf("with lenient: %v; one of ours was replaced, or nothing was said", err)
	}
}

// A correlation of one's own may count a rule that ships; that goes on to tell
// of itself, or --signatures could switch it off.
func TestOwnCorrelationsDoNotSilenceOurRules(t *testing.T) {
	shipped, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	own := &Own{}
	own.Add("own.yml", []byte("title: c\nname: own-many\ncorrelation: {type: event_count, rules: [d14-dead-drop, own-part], group-by: [Via], timespan: 1m, condition: {gte: 100}}\n---\n"+
		"title: t\nname: own-part\nlogsource: {category: dns_query}\ndetection: {s: {QueryName: webhook.site}, condition: s}\n"))
	p, err := shipped.With(own)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadPack(p.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []*Pack{p, again} {
		hits := q.Matcher().Apply(&Input{Event: &event.Event{Kind: event.DNS, Name: text("webhook.site"), QType: 1, Time: 1}})
		if len(hits) != 1 || hits[0].Rule.ID != "d14-dead-drop" {
			t.Errorf("hits %+v, want d14-dead-drop alone", hits)
		}
	}
	own.Add("own.yml", []byte(own.Files[0].Text))
	if _, err := shipped.With(own); err == nil || err.Error() != "own.yml:1: the file is given twice" {
		t.Errorf("a file that is given twice: %v", err)
	}
}
