package monitor

import (
	"context"
	"fmt"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/steplog"
)

const (
	// maxDisclosures bounds the events of one recording: a job that prints its
	// secrets in every form has said enough by then.
	maxDisclosures = 256
	maxSecretName  = 128 // bytes of a name that are kept
)

var formTexts = map[steplog.Form]redact.Text{
	steplog.Plain: redact.Const("plain"), steplog.Split: redact.Const("split"), steplog.Reversed: redact.Const("reversed"),
	steplog.Hex: redact.Const("hex"), steplog.Base64: redact.Const("base64"), steplog.Base64Twice: redact.Const("base64 twice"),
	steplog.Gzip: redact.Const("gzip in base64"),
}

// disclosed records a secret that the command printed, as who reads its output
// tells it.
func (m *Monitor) disclosed(r *recording, d Disclosed) error {
	form, ok := formTexts[steplog.ParseForm(d.Form)]
	if !ok || d.Line < 1 || d.Name == "" {
		return fmt.Errorf("disclosed: %.40q on line %d is no form in which a secret is printed", d.Form, d.Line)
	}
	// Who started what printed it comes before it in the log, also where that is
	// still in the ring. A sensor that does not answer is told by others.
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	_ = m.catchUp(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.disclosures++; r.disclosures > maxDisclosures {
		return nil // said at the end
	}
	ev := r.blank(event.Disclosure, boottime())
	ev.Actor = r.root
	ev.Name = r.red.Text([]byte(d.Name[:min(len(d.Name), maxSecretName)]))
	ev.Detail, ev.Count = form, uint64(d.Line)
	r.append(ev)
	return nil
}
