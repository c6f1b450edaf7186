package process

import (
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// text makes a text as reading a log does.
func text(tb testing.TB, s string) redact.Text {
	tb.Helper()
	red := redact.New([32]byte{}, redact.Options{})
	return red.Text([]byte(s))
}

func texts(tb testing.TB, ss ...string) []redact.Text {
	var out []redact.Text
	for _, s := range ss {
		out = append(out, text(tb, s))
	}
	return out
}

func TestProgramSaysWhatAPersonWouldSay(t *testing.T) {
	tests := []struct {
		want, exe string
		argv      string // arguments parted by two blanks
		script    string // Filename of a script run by the kernel
	}{
		{"ls", "/usr/bin/ls", "ls  -l", ""},
		{"npm", "/usr/bin/env", "/usr/bin/env  node  /usr/bin/npm  ci", "/usr/bin/npm"},
		{"npm", "/usr/bin/node", "node  /usr/bin/npm  ci", ""},
		{"npm", "/usr/bin/node", "node  /usr/lib/node_modules/npm/bin/npm-cli.js  ci", ""},
		{"npx", "/usr/bin/node", "/usr/bin/node  /usr/lib/node_modules/npm/bin/npx-cli.js  tsc", ""},
		{"node-gyp", "/usr/bin/node", "node  /usr/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js  rebuild", ""},
		{"node", "/usr/bin/node", "node  -e  require('fs')", ""},
		{"node", "/usr/bin/node", "node", ""},
		{"node", "/usr/bin/node", "node  --eval=1", ""},
		{"index.js", "/usr/bin/node", "node  --require  ./hook.js  index.js", ""},
		{"install.js", "/usr/bin/node", "node  --max-old-space-size=4096  install.js", ""},
		{"tsc", "/usr/bin/node", "node  /w/node_modules/.bin/tsc  -p  .", ""},
		{"webpack", "/opt/hostedtoolcache/node/22.1.0/x64/bin/node", "node  /w/node_modules/webpack/bin/webpack.js", ""},
		{"postinstall.js", "/usr/bin/node", "node  /w/node_modules/core-js/postinstall.js", ""},
		{"claude", "/usr/bin/node", "node  /usr/lib/node_modules/@anthropic-ai/claude-code/cli.js  -p  hello", ""},
		{"claude", "/home/u/.local/share/claude/versions/2.1.330", "claude  -p  hello", ""},
		{"gemini", "/usr/bin/node", "node  /usr/lib/node_modules/@google/gemini-cli/bundle/gemini.js", ""},
		{"yarn", "/usr/bin/node", "node  /w/.yarn/releases/yarn-4.1.0.cjs  install", ""},
		{"pnpm", "/usr/bin/node", "node  /usr/lib/node_modules/pnpm/bin/pnpm.cjs  i", ""},
		{"sh", "/usr/bin/dash", "sh  -c  npm run build", ""},
		{"sh", "/usr/bin/bash", "/bin/sh  -ec  make", ""},
		{"bash", "/usr/bin/bash", "-bash", ""},
		{"bash", "/usr/bin/bash", "/usr/bin/bash  -e  /home/runner/work/_temp/9e8c2b1d-6f3a-4d2e-8b7c-1a2b3c4d5e6f.sh", ""},
		{"bash", "/usr/bin/bash", "bash  --noprofile  --norc  -e  -o  pipefail  /home/runner/work/_temp/9e8c2b1d-6f3a-4d2e-8b7c-1a2b3c4d5e6f.sh", ""},
		{"build.sh", "/usr/bin/bash", "bash  -eo  pipefail  ./ci/build.sh  --release", ""},
		{"build.sh", "/usr/bin/bash", "bash  -x  +e  --  build.sh", ""},
		{"configure", "/usr/bin/dash", "/bin/sh  ./configure", "./configure"},
		{"bash", "/usr/bin/bash", "bash  -s  stable", ""},
		{"pip", "/usr/bin/python3.11", "/usr/bin/python3  /usr/bin/pip  install  x", ""},
		{"pip", "/usr/bin/python3.11", "python3  -m  pip  install  x", ""},
		{"pip", "/usr/bin/python3.11", "python3  -Im  pip  install  x", ""},
		{"pip", "/usr/bin/python3.11", "python3  /tmp/e/lib/python3.11/site-packages/pip/__pip-runner__.py  install", ""},
		{"pytest", "/usr/bin/python3.11", "python  -X  dev  -m  pytest", ""},
		{"http.server", "/usr/bin/python3.13", "python3  -mhttp.server", ""},
		{"python3", "/usr/bin/python3.11", "python3  -c  import os", ""},
		{"python3", "/usr/bin/python3.11", "python3  -", ""},
		{"setup.py", "/usr/bin/python3.11", "python  -u  setup.py  bdist_wheel", ""},
		{"wget", "/bin/busybox", "wget  -q  x", ""},
		{"wget", "/bin/busybox", "busybox  wget  -q  x", ""},
		{"sh", "/bin/busybox", "/bin/sh  -c  ls", ""},
		{"gem", "/usr/bin/ruby3.1", "ruby  /usr/bin/gem  install  x", ""},
		{"perl", "/usr/bin/perl", "perl  -pe  s/a/b/", ""},
		{"composer", "/usr/bin/php8.2", "php  -d  memory_limit=-1  /usr/local/bin/composer.phar  install", ""},
		{"app.jar", "/usr/lib/jvm/bin/java", "java  -Xmx1g  -cp  x  -jar  /srv/app.jar", ""},
		{"java", "/usr/lib/jvm/bin/java", "java  -cp  gradle.jar  org.gradle.Main", ""},
		{"compile", "/usr/local/go/pkg/tool/linux_amd64/compile", "compile  -o  x.a", ""},
		{"link", "/usr/local/go/pkg/tool/linux_amd64/link", "link", ""},
		{"memfd:evil", "/memfd:evil (deleted)", "kworker/0:0", ""},
		{"dropper", "/tmp/dropper (deleted)", "npm", ""},
		{"gcc-12", "/usr/bin/gcc-12", "gcc", ""},
		{"sudo", "/usr/bin/sudo", "sudo  -n  true", ""},
		{"make", "", "/usr/bin/make  all", ""},
		{"", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.want+" is "+tt.argv, func(t *testing.T) {
			n := &Node{Execed: true, Exe: text(t, tt.exe)}
			if tt.argv != "" {
				n.Argv = texts(t, strings.Split(tt.argv, "  ")...)
			}
			if tt.script != "" {
				n.Image, n.Filename = event.Script, text(t, tt.script)
			}
			if got := n.Name(); got != tt.want {
				t.Errorf("%s %q: the name is %q, want %q", tt.exe, tt.argv, got, tt.want)
			}
		})
	}
}
