package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/org/edamame-posture/pkg/redact"
)

// cmpText lets cmp look into texts and addresses, which have no exported fields.
var cmpText = cmp.Options{
	cmp.Comparer(func(a, b redact.Text) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// text makes a text of what a log may hold.
func text(s string) redact.Text {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	var t redact.Text
	if err := t.UnmarshalJSON(b); err != nil {
		panic(err)
	}
	return t
}

// generate fills every field of an event by reflection, so that a field that
// is added to Event and forgotten in the format fails the round trip.
func generate(r *rand.Rand, k Kind) *Event {
	e := new(Event)
	fill(r, reflect.ValueOf(e).Elem())
	e.Kind, e.KindName = k, redact.Text{}
	if k == Unknown {
		e.KindName = text("kind-of-tomorrow")
	}
	e.Via = Via(r.IntN(int(viaCount)))
	e.Op = Op(r.IntN(int(opCount)))
	e.Access &= 1<<len(accessWords) - 1
	e.Image &= 1<<len(imageWords) - 1
	e.Extra = nil
	if r.IntN(3) == 0 {
		e.Extra = []Member{{"a\"b", []byte(`{"x":[1,2.5e3,null,"\u0000"]}`)}, {"later", []byte(`-1`)}}
	}
	return e
}

var samples = []string{
	"", "a", "/usr/bin/node", "with \"quotes\" and \\", "tab\tline\nret\r\b\f\x00\x1b[31m", "\x7f\u0080\u009f",
	"naïve 日本 🌱", "<script>&amp;</script>", "\u2028\u2029", "abc\u202edef\u2066", "\ufffd", strings.Repeat("x", 300),
}

func fill(r *rand.Rand, v reflect.Value) {
	if r.IntN(4) == 0 {
		return // the zero value
	}
	switch p := v.Addr().Interface().(type) {
	case *redact.Text:
		*p = text(samples[r.IntN(len(samples))])
		return
	case *[]Member:
		return // generate makes these
	case *netip.Addr:
		*p = address(r)
		return
	case *netip.AddrPort:
		*p = netip.AddrPortFrom(address(r), uint16(r.Uint32()))
		return
	}
	switch v.Kind() {
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Slice:
		n := 1 + r.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(r.Uint64()) >> r.IntN(64))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() >> (64 - v.Type().Bits()) >> r.IntN(v.Type().Bits()))
	default:
		panic(fmt.Sprintf("a field of type %v: say how to make one", v.Type()))
	}
}

func address(r *rand.Rand) netip.Addr {
	switch r.IntN(4) {
	case 0:
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(r.Uint32())})
	case 1:
		return netip.MustParseAddr("2001:db8::1:0:0:7")
	case 2:
		return netip.MustParseAddr("::ffff:192.0.2.9")
	}
	return netip.IPv6Unspecified()
}

func TestAnEventOfEveryKindComesBackAsItWas(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	again := new(Event) // with the memory of the ones before
	for _, k := range append(Kinds(), Unknown) {
		for range 200 {
			e := generate(r, k)
			line := e.AppendJSON(nil)
			if !json.Valid(line) || !utf8.Valid(line) {
				t.Fatalf("not valid JSON in UTF-8: %s", line)
			}
			got := new(Event)
			if err := Decode(line, got); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if diff := cmp.Diff(e, got, cmpText); diff != "" {
				t.Fatalf("(-written +read):\n%s\n%s", diff, line)
			}
			if err := Decode(line, again); err != nil {
				t.Fatal(err)
			}
			if twice := again.AppendJSON(nil); !bytes.Equal(twice, line) {
				t.Fatalf("written again:\n got %s\nwant %s", twice, line)
			}
		}
	}
}

// names returns the names of an object's members in their order.
func names(t *testing.T, line []byte) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(line))
	var names []string
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func TestMembersStandInTheOrderOfTheirNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	written := make(map[string]bool)
	for range 500 {
		last := -1
		for _, name := range names(t, generate(r, Exec).AppendJSON(nil)) {
			m, known := memberByName[name]
			if !known {
				last = int(memberCount)
				continue
			}
			if int(m) <= last {
				t.Fatalf("%s stands after a later member", name)
			}
			last = int(m)
			written[name] = true
		}
	}
	for _, name := range memberNames {
		if !written[name] {
			t.Errorf("%s is never written", name)
		}
	}
}

func TestTheFormatsPageNamesEveryMemberKindAndWord(t *testing.T) {
	page, err := os.ReadFile("../../docs/evidence-format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "## 2. Members")
	members, rest, _ := strings.Cut(rest, "## 3. Kinds")
	kinds, _, _ := strings.Cut(rest, "## 4.")

	at := 0
	for _, name := range memberNames {
		i := strings.Index(members[at:], "`"+name+"`")
		if i < 0 {
			t.Fatalf("member %s is missing, or not in its order", name)
		}
		at += i
	}
	for _, k := range Kinds() {
		if !strings.Contains(kinds, "`"+k.String()+"`") {
			t.Errorf("kind %s is missing", k)
		}
	}
	var words []string
	words = append(words, viaNames[:]...)
	words = append(words, opNames[1:]...)
	words = append(words, accessWords...)
	words = append(words, imageWords...)
	for _, w := range words {
		if !strings.Contains(string(page), "`"+w+"`") {
			t.Errorf("word %s is missing", w)
		}
	}
}

func lines(t testing.TB, file string) []string {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if s.Text() != "" && !strings.HasPrefix(s.Text(), "#") {
			lines = append(lines, s.Text())
		}
	}
	if len(lines) == 0 {
		t.Fatalf("%s is empty", file)
	}
	return lines
}

func TestCanonicalLinesAreWrittenAgainAsTheyWere(t *testing.T) {
	seen := make(map[Kind]bool)
	for i, line := range lines(t, "vectors.jsonl") {
		var e Event
		if err := Decode([]byte(line), &e); err != nil {
			t.Errorf("line %d: %v", i+1, err)
			continue
		}
		if got := string(e.AppendJSON(nil)); got != line {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, got, line)
		}
		if e.Seq != uint64(i) {
			t.Errorf("line %d has seq %d", i+1, e.Seq)
		}
		seen[e.Kind] = true
	}
	for _, k := range append(Kinds(), Unknown) {
		if !seen[k] {
			t.Errorf("no line of kind %s", k)
		}
	}
}

func TestOtherLinesThatMayBeReadAreWrittenCanonically(t *testing.T) {
	pairs := lines(t, "accepted.txt")
	for i := 0; i+1 < len(pairs); i += 2 {
		var e Event
		if err := Decode([]byte(pairs[i]), &e); err != nil {
			t.Errorf("%s: %v", pairs[i], err)
			continue
		}
		if got := string(e.AppendJSON(nil)); got != pairs[i+1] {
			t.Errorf("%s\n got %s\nwant %s", pairs[i], got, pairs[i+1])
		}
	}
}

func TestLinesThatBreakTheFormatAreRefused(t *testing.T) {
	for _, line := range lines(t, "refused.txt") {
		var e Event
		if err := Decode([]byte(line), &e); err == nil {
			t.Errorf("taken: %s", line)
		}
	}
	head := `{"seq":0,"time":0,"kind":"note","later":`
	deep := func(n int) string { return head + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	for name, line := range map[string]string{
		"bytes that are not UTF-8":   head + "\"\xff\"}",
		"a raw control character":    head + "\"\x01\"}",
		"a value nested too deep":    deep(MaxDepth + 1),
		"a value nested beyond hope": deep(100000),
		"a line that is too long":    head + `"` + strings.Repeat("x", MaxLine) + `"}`,
	} {
		if err := Decode([]byte(line), new(Event)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := Decode([]byte(deep(MaxDepth)), new(Event)); err != nil {
		t.Errorf("a value nested as deep as allowed: %v", err)
	}
}

func TestEveryPrefixOfALineIsRefused(t *testing.T) {
	for _, line := range lines(t, "vectors.jsonl") {
		for n := range len(line) {
			if err := Decode([]byte(line[:n]), new(Event)); err == nil {
				t.Fatalf("taken: %s", line[:n])
			}
		}
	}
}

func TestAZoneNeverReachesTheLog(t *testing.T) {
	a := netip.MustParseAddrPort("[fe80::1%ghp_secret]:80")
	e := Event{Kind: Connect, Dst: a, Answers: []Answer{{Addr: a.Addr()}}}
	if line := string(e.AppendJSON(nil)); strings.Contains(line, "secret") || !strings.Contains(line, `"[fe80::1]:80"`) {
		t.Error(line)
	}
}

func TestInvalidBytesBecomeOneReplacementEach(t *testing.T) {
	got := string(appendString(nil, "a\xff\xfe\xe2\x82z\xf0\x9f\x8c"))
	want := "\"a\ufffd\ufffd\ufffd\ufffdz\ufffd\ufffd\ufffd\""
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEncodingJSONReadsWhatIsWritten(t *testing.T) {
	for _, s := range samples {
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil || back != s {
			t.Errorf("%q came back as %q, %v", s, back, err)
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	e := generate(r, Exec)
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	got := new(Event)
	if err := json.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got, cmpText); diff != "" {
		t.Error(diff)
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var events []*Event
	for _, k := range append(Kinds(), Unknown) {
		events = append(events, generate(r, k))
	}
	buf := make([]byte, 0, 64<<10)
	n := testing.AllocsPerRun(100, func() {
		for _, e := range events {
			buf = e.AppendJSON(buf[:0])
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReadingAllocatesItsTextsOnly(t *testing.T) {
	line := []byte(`{"seq":7,"time":8,"kind":"fork","actor":{"pid":2,"start":5},"parent":{"pid":1,"start":4,"image":1}}`)
	var e Event
	n := testing.AllocsPerRun(100, func() {
		if err := Decode(line, &e); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a line without texts", n)
	}
}

func TestACloneKeepsItsTextsWhenTheEventIsReadAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	e := generate(r, Exec)
	e.Argv = []redact.Text{text("one"), text("two")}
	c := e.Clone()
	want := string(c.AppendJSON(nil))
	if err := Decode([]byte(`{"seq":0,"time":0,"kind":"exec","argv":["other","thing"]}`), e); err != nil {
		t.Fatal(err)
	}
	if got := string(c.AppendJSON(nil)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, file := range []string{"vectors.jsonl", "accepted.txt", "refused.txt"} {
		for _, line := range lines(f, file) {
			f.Add([]byte(line))
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var e, again Event
		if Decode(line, &e) != nil {
			return
		}
		if !json.Valid(line) {
			t.Fatal("taken, and not JSON")
		}
		written := e.AppendJSON(nil)
		if len(written) > MaxLine {
			return // escapes made it longer
		}
		if err := Decode(written, &again); err != nil {
			t.Fatalf("%v: %s", err, written)
		}
		if diff := cmp.Diff(&e, &again, cmpText, cmp.Transformer("list", func(m []Member) string { return fmt.Sprintf("%q", m) })); diff != "" {
			t.Fatal(diff)
		}
		if twice := again.AppendJSON(nil); !bytes.Equal(twice, written) {
			t.Fatalf("%s\n%s", written, twice)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	e := exampleExec(b)
	buf := e.AppendJSON(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendJSON(buf[:0])
	}
}

func BenchmarkDecode(b *testing.B) {
	line := exampleExec(b).AppendJSON(nil)
	var e Event
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Decode(line, &e); err != nil {
			b.Fatal(err)
		}
	}
}

// exampleExec is the exec of the vectors.
func exampleExec(t testing.TB) *Event {
	for _, line := range lines(t, "vectors.jsonl") {
		var e Event
		if err := Decode([]byte(line), &e); err == nil && e.Kind == Exec {
			return &e
		}
	}
	t.Fatal("no exec")
	return nil
}
