package monitor

import (
	"os/exec"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

func TestAPacketSocketIsToldInTheSameWordsByBothSensors(t *testing.T) {
	for _, name := range []string{"ebpf", "netlink"} {
		t.Run(name, func(t *testing.T) {
			m := started(t, name)
			defer m.Close()
			r := opened(t, m, "x")
			cmd := exec.Command("python3", "-c", "import socket,sys; s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,0); print('ready',flush=True); sys.stdin.read()")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Skipf("needs python3: %v", err)
			}
			defer func() { in.Close(); _ = cmd.Wait() }()
			if _, err := out.Read(make([]byte, 16)); err != nil {
				t.Fatal(err)
			}
			m.finish(r, Closing{}, "")
			n := 0
			for _, e := range events(t, r) {
				if e.Kind == event.Packet && e.Proto == event.ProtoPacket && e.Detail.Is("a packet socket was opened") && !e.Actor.IsZero() {
					n++
				}
			}
			if n != 1 {
				t.Errorf("it is told %d times", n)
			}
		})
	}
}
