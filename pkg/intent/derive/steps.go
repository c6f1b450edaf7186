package derive

import (
	"strconv"
	"strings"
)

// Steps returns the lines on which the steps of a job stand in its workflow, by
// the ids that the runner gives them: their own, or what its converter of
// templates makes up for those that have none, such as __run,
// __actions_checkout and __run_2 (actions/runner, PipelineTemplateConverter). A
// workflow of one job needs no name of it. A job that is not there has none.
// act gives those without an id their number instead, from 0, which no id of
// GitHub's can be.
func Steps(file string, data []byte, job string) (map[string]int, error) {
	w, err := readWorkflow(file, data)
	if err != nil {
		return nil, err
	}
	lines := make(map[string]int)
	for i := range w.jobs {
		j := &w.jobs[i]
		if j.id != job && (job != "" || len(w.jobs) > 1) {
			continue
		}
		for k := range j.steps {
			s := &j.steps[k]
			id := s.id
			if id == "" {
				made := "__" + madeUp(s)
				id = made
				for n := 2; lines[id] != 0; n++ {
					id = made + "_" + strconv.Itoa(n)
				}
			}
			if lines[id] == 0 {
				lines[id] = s.at.line
			}
			lines[strconv.Itoa(k)] = s.at.line
		}
	}
	return lines, nil
}

// madeUp is what a step without an id is called after.
func madeUp(s *step) string {
	if s.uses == "" {
		return "run"
	}
	if strings.HasPrefix(s.uses, "./") {
		return "self"
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(s.uses, "docker://"), "@")
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}
