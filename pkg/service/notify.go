package service

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// notifier tells systemd how the service is: sd_notify(3). The zero value tells
// nobody.
type notifier struct {
	conn     *net.UnixConn
	watchdog time.Duration // 0 for none
}

// noWatchdog is how often the loop looks where nobody asks.
const noWatchdog = 10 * time.Second

func newNotifier(getenv func(string) string) (*notifier, error) {
	n := &notifier{}
	if at := getenv("NOTIFY_SOCKET"); at != "" {
		// A name with @ is an abstract one, for package net too.
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: at, Net: "unixgram"})
		if err != nil {
			return nil, fmt.Errorf("NOTIFY_SOCKET: %w", err)
		}
		n.conn = c
	}
	if usec := getenv("WATCHDOG_USEC"); usec != "" {
		u, err := strconv.ParseInt(usec, 10, 64)
		if err != nil || u <= 0 || u > int64(time.Hour/time.Microsecond) {
			return nil, fmt.Errorf("WATCHDOG_USEC is %q, which is no time in microseconds", usec)
		}
		n.watchdog = time.Duration(u) * time.Microsecond
	}
	return n, nil
}

// every is how often systemd wants to hear of it: three times in its time.
func (n *notifier) every() time.Duration {
	if n.watchdog == 0 {
		return noWatchdog
	}
	return n.watchdog / 3
}

func (n *notifier) tell(state string) {
	if n.conn != nil {
		_, _ = n.conn.Write([]byte(state))
	}
}
