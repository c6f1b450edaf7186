package settings

import (
	"embed"
	"encoding/json"
	"strings"
)

//go:embed openclaw
var openclaw embed.FS

// openclawPlugin returns the files of OpenClaw's plugin, whose hooks are
// functions of the agent's own process. program is where our hook is.
func openclawPlugin(program string) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{"index.js", "openclaw.plugin.json", "package.json"} {
		data, err := openclaw.ReadFile("openclaw/" + name)
		if err != nil {
			panic(err) // it is part of the program
		}
		files[name] = data
	}
	path, _ := json.Marshal(program)
	files["index.js"] = []byte(strings.Replace(string(files["index.js"]), `"`+hookName+`"`, string(path), 1))
	return files
}
