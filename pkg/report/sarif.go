package report

import (
	"encoding/json"
	"io"
	"path"
	"strconv"

	"github.com/org/edamame-posture/pkg/judge"
)

// SARIF writes findings, forbidden and undeclared facts as SARIF 2.1.0 (OASIS),
// as far as code scanning needs it. A result's place is the policy file: what
// was done has no line of source.
func SARIF(w io.Writer, d *Data) error {
	v := d.Verdict
	s := sarif{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs: []sarifRun{{
			Tool: sarifTool{Driver: sarifDriver{
				Name: "edamame-posture", Version: d.Tool, InformationURI: "https://github.com/org/edamame-posture",
				Rules: []sarifRule{},
			}},
			Results:     []sarifResult{},
			Invocations: []sarifInvocation{{ExecutionSuccessful: v.Coverage.State == "complete"}},
		}},
	}
	run := &s.Runs[0]
	rules := map[string]int{}
	add := func(rule, title, do string, severity judge.Severity, message, id string, lines map[string]any) {
		i, ok := rules[rule]
		if !ok {
			i = len(run.Tool.Driver.Rules)
			rules[rule] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
				ID: rule, ShortDescription: sarifText{visible(title)}, Help: sarifText{visible(orTitle(do, title))},
				Properties: map[string]any{"security-severity": securitySeverity(severity), "tags": []string{"security"}},
			})
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: rule, RuleIndex: i, Level: level(severity), Message: sarifText{visible(cutEnd(message, 1000))},
			Locations: []sarifLocation{{Physical: sarifPhysical{
				Artifact: sarifArtifact{URI: ".github/posture.yml"}, Region: sarifRegion{StartLine: 1},
			}}},
			PartialFingerprints: map[string]string{"posture/v1": id},
			Properties:          lines,
		})
	}
	for _, f := range sorted(v.Findings) {
		who := append([]string{path.Base(f.Actor.Exe)}, f.Actor.Lineage...)
		message := f.Title
		if f.Object != "" {
			message += ": " + f.Object
		}
		add(f.Rule, f.Title, f.Do, f.Severity, message+" ("+chain(who[:min(len(who), 5)])+")", f.ID,
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
			add(standing+"-"+f.Verb, f.Verb+" that is "+standing, "", f.Severity,
				standing+": "+f.Verb+" "+f.Object+" ("+chain(f.Who[:min(len(f.Who), 5)])+")",
				standing+"/"+f.Verb+"/"+visible(cutEnd(f.Object, 200)+"/"+chain(f.Who)),
				map[string]any{"leaf": f.Leaf, "count": f.Count, "step": visible(f.Scope.Step)})
		}
	}
	facts(v.Forbidden, "forbidden")
	facts(v.Undeclared, "undeclared")
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

func orTitle(do, title string) string {
	if do == "" {
		return title
	}
	return do
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
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string         `json:"id"`
		ShortDescription sarifText      `json:"shortDescription"`
		Help             sarifText      `json:"help"`
		Properties       map[string]any `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
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

		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
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
