// Command edamame-hook is what a coding agent's hooks call: it hands what the
// agent says to the monitors of this machine, and to nobody else. It says
// nothing, ends with 0 whatever happens, and is as small as it is because agents
// call it twice for each tool call. edamame-posture hook install writes it and
// the agents' settings.
package main

import (
	"os"

	"github.com/org/edamame-posture/pkg/agent/client"
)

func main() { client.Main(os.Args[1:], os.Stdin, os.Stdout) }
