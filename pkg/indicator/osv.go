package indicator

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// ecosystems are the names of OSV (ossf.github.io/osv-schema, "ecosystem") and
// the types of package URLs that stand for them.
var ecosystems = map[string]string{
	"npm": "npm", "PyPI": "pypi", "RubyGems": "gem", "crates.io": "cargo", "Go": "golang", "NuGet": "nuget", "Packagist": "composer",
	"Maven": "maven", "Pub": "pub", "Hex": "hex", "GitHub Actions": "githubactions", "VSCode": "vscode-extension",
}

// FromOSV returns the entry of one OSV record, as OSSF's malicious-packages
// publishes them (id MAL-...). ok is false for a record that was withdrawn, is of no
// malicious package, or of an ecosystem without a package URL. The digests in
// such a record (malicious-packages-origins) are of the report that it was made
// from, not of a file that runs, so they are not taken over.
func FromOSV(data []byte) (e Entry, ok bool, err error) {
	var r struct {
		ID        string `json:"id"`
		Summary   string `json:"summary"`
		Published string `json:"published"`
		Withdrawn string `json:"withdrawn"`
		Affected  []struct {
			Package struct {
				Ecosystem string `json:"ecosystem"`
				Name      string `json:"name"`
			} `json:"package"`
			Versions []string `json:"versions"`
			Ranges   []struct {
				Events []map[string]string `json:"events"`
			} `json:"ranges"`
		} `json:"affected"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Entry{}, false, fmt.Errorf("no OSV record: %w", err)
	}
	if r.Withdrawn != "" || !strings.HasPrefix(r.ID, "MAL-") {
		return Entry{}, false, nil
	}
	e = Entry{Incident: r.ID, Source: "OSSF malicious-packages", Severity: severities[0]}
	if len(r.Published) >= len("2006-01-02") {
		e.Date = r.Published[:len("2006-01-02")]
	}
	if r.Summary != "" {
		e.Incident += ": " + r.Summary
	}
	if len(e.Incident) > maxText {
		e.Incident = strings.ToValidUTF8(e.Incident[:maxText], "")
	}
	for _, a := range r.Affected {
		kind, known := ecosystems[a.Package.Ecosystem]
		if !known || a.Package.Name == "" {
			continue
		}
		purl := "pkg:" + kind + "/" + escapeName(a.Package.Name)
		for _, v := range a.Versions {
			if v != "" {
				e.Packages = append(e.Packages, purl+"@"+url.PathEscape(v))
			}
		}
		if len(a.Versions) > 0 {
			continue
		}
		// Without versions the record means all of them, if its range has no end.
		open := true
		for _, rg := range a.Ranges {
			for _, ev := range rg.Events {
				_, fixed := ev["fixed"]
				_, last := ev["last_affected"]
				from, begins := ev["introduced"]
				open = open && !fixed && !last && (!begins || from == "0")
			}
		}
		if open {
			e.Packages = append(e.Packages, purl)
		}
	}
	if len(e.Packages) == 0 {
		return Entry{}, false, nil
	}
	return e, true, nil
}

// escapeName writes a package's name as a package URL has it, with the slash
// between scope and name.
func escapeName(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(url.PathEscape(parts[i]), "@", "%40")
	}
	return strings.Join(parts, "/")
}
