package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const connectorLost = "the netlink sensor, and the second witness beside eBPF"

var connectorQuestion = question{"proc-connector", "proc connector", func() Result {
	if err := CanNetlink(); err != nil {
		return Result{Detail: err.Error(), Lost: connectorLost, Get: "run it as root on the machine itself, on a kernel with CONFIG_PROC_EVENTS=y"}
	}
	return Result{OK: true, Detail: "the kernel answers"}
}}

// CanNetlink returns nil where the netlink sensor can be used, else an error
// that says why not and what to do. It subscribes to the proc connector, waits
// for the kernel's answer and leaves.
func CanNetlink() error {
	have, err := EffectiveCapabilities()
	if err != nil {
		return err
	}
	if !have.Has(unix.CAP_NET_ADMIN) {
		return errors.New("this process lacks CAP_NET_ADMIN: run it as root (sudo)")
	}
	// The kernel does not answer from other user or pid namespaces, so these
	// are told from the first ones before it is asked.
	for _, q := range []question{userNamespaceQuestion, pidNamespaceQuestion} {
		if r := q.ask(); !r.OK {
			return fmt.Errorf("the proc connector answers only in the %s (%s): %s", q.title, r.Detail, r.Get)
		}
	}
	err = subscribe(time.Second)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ECONNREFUSED) || !initialNetNS(os.DirFS("/proc")):
		return fmt.Errorf("the proc connector answers only in the initial network namespace (%w): %s", err, netNamespaceQuestion.ask().Get)
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("this kernel has no connector (%w): use one with CONFIG_CONNECTOR=y and CONFIG_PROC_EVENTS=y", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("the proc connector refuses this process (%w): run it as root (sudo)", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the proc connector does not answer (%w): use a kernel with CONFIG_PROC_EVENTS=y", err)
	}
	return fmt.Errorf("proc connector: %w", err)
}

// subscribe sends PROC_CN_MCAST_LISTEN, waits for the acknowledgement and
// sends PROC_CN_MCAST_IGNORE. Messages: include/uapi/linux/connector.h and cn_proc.h.
func subscribe(patience time.Duration) error {
	const (
		group  = 1 // CN_IDX_PROC, and also CN_VAL_PROC
		listen = 1 // PROC_CN_MCAST_LISTEN
		ignore = 2 // PROC_CN_MCAST_IGNORE
		header = 20
	)
	// The kernel gives its answer a sequence number of its own, and our
	// acknowledgement number plus one: that is how the answer is known.
	// The netlink sensor uses the same number, and takes this probe for its kind.
	const mark = 0x706f7374
	conn, err := netlink.Dial(unix.NETLINK_CONNECTOR, &netlink.Config{Groups: group})
	if err != nil {
		return err
	}
	defer conn.Close()
	op := func(op uint32) error {
		b := make([]byte, header+4)
		binary.NativeEndian.PutUint32(b[0:], group)
		binary.NativeEndian.PutUint32(b[4:], group)
		binary.NativeEndian.PutUint32(b[12:], mark)
		binary.NativeEndian.PutUint16(b[16:], 4)
		binary.NativeEndian.PutUint32(b[header:], op)
		_, err := conn.Send(netlink.Message{Header: netlink.Header{Type: netlink.Done}, Data: b})
		return err
	}
	if err := op(listen); err != nil {
		return err
	}
	defer func() { _ = op(ignore) }()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		messages, err := conn.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			// The answer is PROC_EVENT_NONE; an event before it will do as well.
			if len(m.Data) < header+20 {
				continue
			}
			if binary.NativeEndian.Uint32(m.Data[header:]) != 0 {
				return nil
			}
			if binary.NativeEndian.Uint32(m.Data[12:]) == mark+1 {
				if errno := binary.NativeEndian.Uint32(m.Data[header+16:]); errno != 0 {
					return unix.Errno(errno)
				}
				return nil
			}
		}
	}
}
