package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/org/edamame-posture/pkg/live"
	"github.com/org/edamame-posture/pkg/monitor"
)

func watchCommand() *cobra.Command {
	var plain bool
	cmd := &cobra.Command{
		Use:   "watch [SOCKET]",
		Short: "Look at a recording while it goes on",
		Long: `Shows what a running monitor sees: findings on top, the process tree with the
steps of a workflow, and destinations as they come. Root and who began the
recording may watch; watching changes nothing. Where several recordings go on,
their sockets are told. Without a terminal it prints a line for each thing.

Keys: q quits, p pauses, / filters, f follows the newest, arrows move.`,
		Example: "  edamame-posture watch\n  edamame-posture watch | grep finding",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			socket, err := watched(args)
			if err != nil {
				return err
			}
			if plain || !isTerminal(0) || !isTerminal(1) {
				err = watchPlain(cmd.OutOrStdout(), socket)
			} else {
				err = watchScreen(socket)
			}
			if errors.Is(err, errLeave) {
				return nil
			}
			if err != nil {
				return exit(exitNoAnswer, err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&plain, "plain", false, "print lines, also on a terminal")
	return cmd
}

// errLeave ends watching because the person said so.
var errLeave = errors.New("leave")

func watched(args []string) (socket string, err error) {
	if len(args) == 1 {
		return args[0], nil
	}
	sockets, err := monitor.Watchable()
	switch {
	case err != nil:
		return "", err
	case len(sockets) == 0:
		return "", exit(exitNothing, errors.New("nothing is being recorded on this machine: begin with edamame-posture run -- CMD"))
	case len(sockets) > 1:
		return "", fmt.Errorf("%d recordings go on; say which:\n  %s", len(sockets), strings.Join(sockets, "\n  "))
	}
	return sockets[0], nil
}

func watchPlain(w io.Writer, socket string) error {
	began := int64(0)
	return monitor.Watch(socket, func(s *monitor.Sight) error {
		if began == 0 {
			began = s.Time
		}
		if l := live.Plain(s, began); l != "" {
			if _, err := fmt.Fprintln(w, l); err != nil {
				return errLeave // as where head(1) has enough
			}
		}
		return nil
	})
}

// redraw is how often the screen is drawn at most.
const redraw = 100 * time.Millisecond

// watchScreen draws on the terminal's other screen, and leaves the first as it
// was.
func watchScreen(socket string) error {
	old, err := term.MakeRaw(0)
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(0, old) }()
	fmt.Print("\x1b[?1049h\x1b[?25l")
	defer fmt.Print("\x1b[?25h\x1b[?1049l")
	var mu sync.Mutex
	model := live.New()
	over := make(chan error, 1)
	go func() {
		over <- monitor.Watch(socket, func(s *monitor.Sight) error {
			mu.Lock()
			defer mu.Unlock()
			model.Apply(s)
			return nil
		})
	}()
	keys := make(chan string)
	go readKeys(os.Stdin, keys)
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(told)
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	draw := func() {
		width, height, err := term.GetSize(1)
		if err != nil || width < 1 || height < 1 {
			width, height = 80, 24
		}
		mu.Lock()
		lines := model.Screen(width, height)
		mu.Unlock()
		// A line is cleared before it is written: behind one as wide as the
		// terminal its last character would be cleared with the rest.
		fmt.Print("\x1b[H\x1b[2K" + strings.Join(lines, "\r\n\x1b[2K"))
	}
	draw()
	for {
		select {
		case k, ok := <-keys:
			mu.Lock()
			leave := !ok || model.Key(k)
			mu.Unlock()
			if leave {
				return errLeave
			}
			draw()
		case <-told:
			return errLeave
		case <-tick.C:
			draw()
		case err := <-over:
			if err != nil {
				return err
			}
			over = nil // it has ended: the last screen stays until a key leaves it
		}
	}
}

// readKeys tells each key: a character, or an escape sequence that came in one
// piece.
func readKeys(r io.Reader, keys chan<- string) {
	defer close(keys)
	in := bufio.NewReader(r)
	for {
		c, _, err := in.ReadRune()
		if err != nil {
			return
		}
		k := string(c)
		if c == '\x1b' && in.Buffered() > 1 {
			if next, _ := in.Peek(1); next[0] == '[' {
				for in.Buffered() > 0 && len(k) < 8 {
					b, _ := in.ReadByte()
					k += string(rune(b))
					if len(k) > 2 && b >= '@' {
						break
					}
				}
			}
		}
		keys <- k
	}
}
