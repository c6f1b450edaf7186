package report

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
)

// attack is what the taxonomy of MITRE's techniques is called.
const attack = "MITRE ATT&CK"

// Place is a line of a file of the repository.
type Place struct {
	File string // relative to the repository's root, with slashes
	Line int    // from 1
}

// SARIF writes findings, forbidden and undeclared facts as SARIF 2.1.0 (OASIS),
// as far as code scanning needs it. What was done has no line of source: the
// place of a result is the step of the workflow whose doing it is, where that is
// known, else the policy.
func SARIF(w io.Writer, d *Data) error {
	v := d.Verdict
	run := sarifRun{
		Tool: sarifTool{Driver: sarifDriver{
			Name: "edamame-posture", Version: d.Tool, InformationURI: "https://github.com/org/edamame-posture", Rules: []sarifRule{},
		}},
		Results:     []sarifResult{},
		Invocations: []sarifInvocation{{ExecutionSuccessful: v.Coverage.State == "complete"}},
		Properties:  map[string]any{"verdict": v.Verdict, "score": v.Score, "coverage": v.Coverage.State, "factsLeftOut": v.Facts.LeftOut},
	}
	rules := map[string]int{}
	taxa := map[string]bool{}
	add := func(rule, title, do string, severity judge.Severity, technique []string, step, message, id string, lines map[string]any) {
		i, ok := rules[rule]
		if !ok {
			i = len(run.Tool.Driver.Rules)
			rules[rule] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, ruleOf(rule, title, do, severity, technique))
		}
		r := sarifResult{
			RuleID: rule, RuleIndex: i, Level: level(severity), Message: sarifText{Text: visible(cutEnd(message, 1000))},
			Locations:           []sarifLocation{d.location(step)},
			PartialFingerprints: map[string]string{"posture/v1": id},
			Properties:          lines,
		}
		for _, t := range technique {
			taxa[t] = true
			r.Taxa = append(r.Taxa, sarifReference{t, sarifComponentName{attack}})
		}
		run.Results = append(run.Results, r)
	}
	for _, f := range sorted(v.Findings) {
		who := append([]string{path.Base(f.Actor.Exe)}, f.Actor.Lineage...)
		message := f.Title
		if f.Object != "" {
			message += ": " + f.Object
		}
		add(f.Rule, f.Title, f.Do, f.Severity, f.Technique, f.Scope.Step, message+" ("+chain(who[:min(len(who), 5)])+")", f.ID,
			map[string]any{"leaves": f.Leaves, "count": f.Count, "step": visible(f.Scope.Step)})
		if f.Suppressed != nil {
			// SARIF 2.1.0, 3.35: an external suppression is one that stands apart
			// from the result.
			run.Results[len(run.Results)-1].Suppressions = []sarifSuppression{{
				Kind: "external", Status: "accepted", Justification: visible(cutEnd(suppressedBy(f.Suppressed), 1000)),
			}}
		}
	}
	facts := func(fs []judge.Fact, standing string) {
		for _, f := range fs {
			do := "If the job is meant to do this, add the line that `edamame-posture explain` shows to its policy; else find out what made it."
			if standing == string(Forbidden) {
				do = "The policy denies this. Find out what made the job do it."
			}
			add(standing+"-"+f.Verb, f.Verb+" that is "+standing, do, f.Severity, nil, f.Scope.Step,
				standing+": "+f.Verb+" "+f.Object+" ("+chain(f.Who[:min(len(f.Who), 5)])+")", factID(standing, &f),
				map[string]any{"leaf": f.Leaf, "count": f.Count, "step": visible(f.Scope.Step)})
		}
	}
	facts(v.Forbidden, "forbidden")
	facts(v.Undeclared, "undeclared")
	if len(taxa) > 0 {
		t := sarifTaxonomy{Name: attack, Organization: "MITRE", InformationURI: "https://attack.mitre.org/"}
		for _, id := range slices.Sorted(maps.Keys(taxa)) {
			t.Taxa = append(t.Taxa, sarifTaxon{id})
		}
		run.Taxonomies = []sarifTaxonomy{t}
		run.Tool.Driver.Supported = []sarifComponentName{{attack}}
	}
	b, err := json.MarshalIndent(sarif{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

func ruleOf(rule, title, do string, severity judge.Severity, technique []string) sarifRule {
	r := sarifRule{
		ID: rule, ShortDescription: sarifText{Text: visible(title)}, FullDescription: sarifText{Text: visible(title)},
		Help:          sarifText{Text: visible(cmp.Or(do, title)), Markdown: "**" + text(title) + "**\n\n" + text(cmp.Or(do, title))},
		Configuration: sarifConfiguration{level(severity)},
		Properties:    map[string]any{"security-severity": securitySeverity(severity), "tags": append([]string{"security"}, technique...)},
	}
	for _, t := range technique {
		r.Relationships = append(r.Relationships, sarifRelationship{sarifReference{t, sarifComponentName{attack}}, []string{"relevant"}})
	}
	return r
}

// location is where a result of a step stands.
func (d *Data) location(step string) sarifLocation {
	p, ok := d.Steps[step]
	if !ok || step == "" {
		p = d.Declared
	}
	if p.File == "" {
		p = Place{".github/posture.yml", 1}
	}
	uri := (&url.URL{Path: strings.TrimPrefix(path.Clean("/"+p.File), "/")}).String()
	return sarifLocation{Physical: sarifPhysical{Artifact: sarifArtifact{URI: uri}, Region: sarifRegion{StartLine: max(p.Line, 1)}}}
}

// declared is the file that most of an intent stands in: that of its first
// entry which is no preset's.
func declared(in *intent.Resolved) (p Place) {
	if in == nil {
		return p
	}
	for _, e := range in.Entries() {
		if e.Preset == "" && e.Origin.File != "" && !path.IsAbs(e.Origin.File) {
			return Place{e.Origin.File, e.Origin.Line}
		}
	}
	return p
}

func level(s judge.Severity) string {
	switch s {
	case judge.Critical, judge.High:
		return "error"
	case judge.Medium:
		return "warning"
	}
	return "note"
}

// securitySeverity is on the scale that code scanning sorts by.
func securitySeverity(s judge.Severity) string {
	tenths := map[judge.Severity]int{judge.Critical: 95, judge.High: 80, judge.Medium: 55, judge.Low: 30}[s]
	return strconv.Itoa(tenths/10) + "." + strconv.Itoa(tenths%10)
}

type (
	sarif struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Taxonomies  []sarifTaxonomy   `json:"taxonomies,omitempty"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
		Properties  map[string]any    `json:"properties"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`

		Supported []sarifComponentName `json:"supportedTaxonomies,omitempty"`
	}
	sarifRule struct {
		ID               string              `json:"id"`
		ShortDescription sarifText           `json:"shortDescription"`
		FullDescription  sarifText           `json:"fullDescription"`
		Help             sarifText           `json:"help"`
		Configuration    sarifConfiguration  `json:"defaultConfiguration"`
		Relationships    []sarifRelationship `json:"relationships,omitempty"`
		Properties       map[string]any      `json:"properties"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifInvocation struct {
		ExecutionSuccessful bool `json:"executionSuccessful"`
	}
	sarifResult struct {
		RuleID              string            `json:"ruleId"`
		RuleIndex           int               `json:"ruleIndex"`
		Level               string            `json:"level"`
		Message             sarifText         `json:"message"`
		Locations           []sarifLocation   `json:"locations"`
		PartialFingerprints map[string]string `json:"partialFingerprints"`
		Properties          map[string]any    `json:"properties"`

		Taxa         []sarifReference   `json:"taxa,omitempty"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifConfiguration struct {
		Level string `json:"level"`
	}
	sarifComponentName struct {
		Name string `json:"name"`
	}
	sarifReference struct {
		ID        string             `json:"id"`
		Component sarifComponentName `json:"toolComponent"`
	}
	sarifRelationship struct {
		Target sarifReference `json:"target"`
		Kinds  []string       `json:"kinds"`
	}
	sarifTaxonomy struct {
		Name           string       `json:"name"`
		Organization   string       `json:"organization"`
		InformationURI string       `json:"informationUri"`
		Taxa           []sarifTaxon `json:"taxa"`
	}
	sarifTaxon struct {
		ID string `json:"id"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)
