// Package probe says what this kernel allows: one feature a file, each found
// by trying it, never by comparing version numbers.
//
//	for _, r := range probe.All(ctx) {
//		fmt.Println(r.OK, r.Title, r.Detail)
//	}
//	if err := probe.CanEBPF(); err != nil {
//		fmt.Println("no eBPF here:", err) // says what is missing and how to get it
//	}
//
// The doctor command, the choice of the sensor and the kernel matrix of the
// tests share it. A probe leaves nothing behind: no program, no mount, no mark.
package probe

import "context"

// Result is the answer to one question about this machine.
type Result struct {
	// Name is a short word for programs, such as btf. It does not change
	// between versions.
	Name string `json:"name"`
	// Title is what was looked for, for a person.
	Title string `json:"title"`
	OK    bool   `json:"ok"`
	// Detail is what was found.
	Detail string `json:"detail,omitempty"`
	// Lost is what the monitor cannot do without it.
	Lost string `json:"lost,omitempty"`
	// Get is how to get it.
	Get string `json:"get,omitempty"`
}

// All asks every question, in an order that reads from the ground up. Once ctx
// has ended, what is left is answered with OK false and the reason.
func All(ctx context.Context) []Result {
	var results []Result
	for _, q := range questions {
		if err := ctx.Err(); err != nil {
			results = append(results, Result{Name: q.name, Title: q.title, Detail: "not asked: " + err.Error()})
			continue
		}
		r := q.ask()
		r.Name, r.Title = q.name, q.title
		if r.OK {
			r.Lost, r.Get = "", ""
		}
		results = append(results, r)
	}
	return results
}

// question is one probe. Every file of a feature declares its own.
type question struct {
	name, title string
	ask         func() Result
}
