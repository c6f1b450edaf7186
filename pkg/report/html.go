package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"sync"

	"github.com/org/edamame-posture/pkg/carried"
	"github.com/org/edamame-posture/pkg/judge"
)

// The script is made of the modules in page/, see page/bundle.
//
//go:generate go run ./page/bundle -out page/report.js page

//go:embed report.html.tmpl
var pageSource string

//go:embed page/report.css.zst
var packedStyle []byte

//go:embed page/report.js.zst
var packedScript []byte

var (
	pageStyle  = sync.OnceValue(func() string { return unpack(packedStyle) })
	pageScript = sync.OnceValue(func() string { return unpack(packedScript) })
)

func unpack(packed []byte) string {
	b, err := carried.Unpack(packed)
	if err != nil {
		panic(err) // cannot be: it is embedded
	}
	return string(b)
}

// HTML writes one page that holds all of the report. It loads nothing and sends
// nothing, and its Content-Security-Policy says so: the one script and the one
// style sheet that may have an effect are named by their hash. What the job
// named stands in it as data that the script shows as text; without scripts
// the outcome and the findings can be read all the same.
func HTML(w io.Writer, d *Data) error {
	p := page{
		V: d.Verdict, Why: capital(why(d.Verdict)), Findings: sorted(d.Verdict.Findings), Command: command(d.Verdict.Run.Command.Argv, false),
		Policy: "default-src 'none'; style-src " + hashOf(pageStyle()) + "; script-src " + hashOf(pageScript()) + "; base-uri 'none'; form-action 'none'",
		Style:  template.CSS(pageStyle()), Script: template.JS(pageScript()),
	}
	if len(p.Findings) > maxPlain {
		p.More, p.Findings = uint64(len(p.Findings)-maxPlain), p.Findings[:maxPlain]
	}
	p.None = "None."
	if d.Verdict.Coverage.State != "complete" {
		p.None = "None that was seen."
	}
	var b bytes.Buffer
	b.Grow(len(pageScript()) + len(pageStyle()) + 1<<16)
	if err := pageTemplate().Execute(&b, p); err != nil {
		return err
	}
	// The data goes by the template, which would copy these megabytes twice. What
	// a job named stands escaped in front of its place, so no other is found.
	at := bytes.Index(b.Bytes(), []byte(dataElement)) + len(dataElement)
	if _, err := w.Write(b.Bytes()[:at]); err != nil {
		return err
	}
	if err := d.encode(w); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes()[at:])
	return err
}

// dataElement begins the element of the template that holds the page's data.
const dataElement = `<script type="application/json" id="data">`

// maxPlain bounds the findings that can be read without scripts.
const maxPlain = 50

// page is what the template shows.
type page struct {
	V                          *judge.Verdict
	Policy, Why, Command, None string
	Findings                   []judge.Finding
	More                       uint64
	Style                      template.CSS
	Script                     template.JS
}

// hashOf is a source of a Content-Security-Policy (CSP 3 §2.3.1).
func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// pageTemplate is parsed when the first page is made: most starts of the program
// make none.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("report").Funcs(template.FuncMap{
		"show":   func(s string) string { return visible(clip(s, maxString)) },
		"number": number,
	}).Parse(pageSource))
})
