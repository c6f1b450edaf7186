// Command storm makes load that a monitor must see whole: execs of distinct
// arguments back to back, or TCP connections of no duration.
//
//	storm exec N     runs /bin/true 1, /bin/true 2 ... and waits for each
//	storm connect N  connects N times to a listener of its own on loopback
//	storm udp N      sends N datagrams to a port on loopback where nobody answers
//	storm dns N      asks N distinct names of a responder that is another
//	                 process, in a network namespace of its own
//	storm open N F   opens the file F N times
//	storm all N F    all of these at once
//	storm flood N M D K  N writes over M files under D, among them K execs and K connects
//	storm sudo N     runs sudo -n true N times and prints the nanoseconds of each
//	storm idle       stands there until it is ended
//	storm now        prints CLOCK_BOOTTIME in nanoseconds
//	storm http S     serves HTTP on loopback to wrk for S seconds, and prints how
//	                 many requests were answered
//	storm https S    the same inside TLS
//	storm time CMD   runs CMD and prints, after its output, the nanoseconds it
//	                 took by the clock and of the processors, and from when to
//	                 when on CLOCK_BOOTTIME
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
)

func main() {
	if err := storm(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

func storm(args []string) error {
	if len(args) == 1 && args[0] == "now" {
		fmt.Println(boottime())
		return nil
	}
	if len(args) > 1 && args[0] == "time" {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		from := boottime()
		if err := cmd.Run(); err != nil {
			return err
		}
		to := boottime()
		cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Nanoseconds()
		fmt.Printf("wall=%d cpu=%d from=%d to=%d\n", to-from, cpu, from, to)
		return nil
	}
	if len(args) == 1 && args[0] == "idle" {
		end := make(chan os.Signal, 1)
		signal.Notify(end, unix.SIGTERM, os.Interrupt)
		<-end
		return nil
	}
	if len(args) == 1 && args[0] == "dnsd" {
		return respond()
	}
	want, known := map[string]int{"exec": 2, "connect": 2, "udp": 2, "dns": 2, "open": 3, "all": 3, "flood": 5, "http": 2, "https": 2, "sudo": 2}[first(args)]
	if !known || len(args) != want {
		return fmt.Errorf("usage: storm exec|connect|udp|dns|sudo N, http|https SECONDS, open|all N FILE, flood N FILES DIR K, idle, now, time CMD")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 0 || n > 1_000_000 {
		return fmt.Errorf("%q is not a number from 0 to 1000000", args[1])
	}
	switch args[0] {
	case "exec":
		return execs(n)
	case "sudo":
		return sudos(n)
	case "connect":
		return connects(n)
	case "udp":
		return sends(n)
	case "dns":
		return lookups(n)
	case "open":
		return opens(n, args[2])
	case "http", "https":
		return serve(n, args[0] == "https")
	case "all":
		return atOnce(
			func() error { return execs(n) },
			func() error { return connects(n) },
			func() error { return sends(n) },
			func() error { return lookups(n) },
			func() error { return opens(n, args[2]) },
		)
	case "flood":
		files, err := strconv.Atoi(args[2])
		if err != nil || files < 1 {
			return fmt.Errorf("%q is not a number of files", args[2])
		}
		k, err := strconv.Atoi(args[4])
		if err != nil {
			return err
		}
		return atOnce(
			func() error { return writes(n, files, args[3]) },
			func() error { return execs(k) },
			func() error { return connects(k) },
		)
	}
	return fmt.Errorf("there is no storm %q", args[0])
}

// sudos runs sudo as a job does, and tells how long each took.
func sudos(n int) error {
	for range n {
		began := boottime()
		if err := exec.Command("sudo", "-n", "true").Run(); err != nil {
			return fmt.Errorf("sudo -n true: %w", err)
		}
		fmt.Println(boottime() - began)
	}
	return nil
}

func execs(n int) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	attr := &os.ProcAttr{Files: []*os.File{null, null, null}, Env: []string{}}
	for i := range n {
		p, err := os.StartProcess("/bin/true", []string{"true", strconv.Itoa(i)}, attr)
		if err != nil {
			return err
		}
		if _, err := p.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func connects(n int) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for range n {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return err
		}
		// A reset instead of TIME_WAIT: the ports must last for all of them.
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
		c.Close()
	}
	return nil
}

func boottime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
