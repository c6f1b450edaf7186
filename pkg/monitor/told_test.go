package monitor

import (
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

func TestWhatTheSecondWitnessMissedIsInTheLog(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	r := opened(t, m, "x")
	m.handleWitness(&sensor.Record{Kind: event.SensorGap, Detail: "its buffer was full", Lost: 7})
	m.finish(r, Closing{}, "")
	for _, e := range events(t, r) {
		if e.Kind == event.Note && strings.Contains(e.Detail.String(), "its buffer was full") && e.Count == 7 {
			return
		}
	}
	t.Error("the log does not tell it")
}
