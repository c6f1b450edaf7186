// Package credential knows where a machine keeps its secrets: which files
// belong to which class of credential, which programs read them as their
// business, and which hosts a credential of the class is made for.
//
//	c, ok := credential.Classify("/home/me/.aws/credentials", "/home/me")
//	c.Name.String()                    // aws
//	c.OwnedBy("terraform")             // true
//	c.Coherent("sts.amazonaws.com")    // true
//
// A class says what a file may hold and no more: whether a read of it is wrong
// is decided by intent and judge. The lists are drawn from published incidents
// and from the documentation of the programs.
package credential

import (
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/redact"
)

// Class is one kind of credential.
type Class struct {
	// Name is the word of policies and logs, such as ssh.
	Name redact.Text
	// About says in one line what a file of the class gives to its reader.
	About string
	// Owners are base names of programs whose business it is to read it.
	Owners []string
	// Hosts are the domains that a credential of this class is made for, in
	// lower case and as the policy language writes them: *.example.com stands for
	// every name below example.com, **.example.com for itself too. No entry: no
	// host is known to be right.
	Hosts []string

	// Readers are programs that read the class's settings as their business, and
	// nothing else of it: npm looks into .gitconfig for core.sshCommand.
	Readers []string

	// settings are those of the patterns that stand for settings first: a secret
	// is in such a file only where someone put one there.
	settings []string

	// patterns are paths. One that begins with a slash is a whole path, any
	// other is the end of one. A star stands for any characters but a slash,
	// two stars for any number of folders, once in a pattern. Sensors watch base
	// names, so a last part that begins with a star can be classified and not watched.
	patterns []string
}

// IsZero reports whether c is no class.
func (c Class) IsZero() bool { return c.Name.IsZero() }

// OwnedBy reports whether reading this class is the business of the program
// of that base name. A version behind the name is left out of account:
// python3.12 is python3, pip3 is not pip.
func (c Class) OwnedBy(program string) bool {
	if slices.Contains(c.Owners, program) {
		return true
	}
	for {
		i := strings.LastIndexByte(program, '.')
		if i <= 0 || strings.Trim(program[i+1:], "0123456789") != "" {
			return false
		}
		program = program[:i]
		if slices.Contains(c.Owners, program) {
			return true
		}
	}
}

// Settings reports whether the file at path, which is of the class, holds
// settings first of all, and the program of that base name reads it for these:
// as an owner of the class, or as one of its Readers.
func (c Class) Settings(path, program string) bool {
	if len(c.settings) == 0 || path == "" || path[0] != '/' || !c.OwnedBy(program) && !slices.Contains(c.Readers, program) {
		return false
	}
	for _, p := range c.settings {
		if match(p, path) {
			return true
		}
	}
	return false
}

// Coherent reports whether the class's credentials are made for that host, so
// that a read followed by a connection to it is use and not theft. The host is
// a name in lower case; an address is never coherent.
func (c Class) Coherent(host string) bool {
	host = strings.TrimSuffix(host, ".")
	for _, h := range c.Hosts {
		pattern, tree := strings.CutPrefix(h, "**.")
		if !tree {
			var below bool
			if pattern, below = strings.CutPrefix(h, "*."); !below {
				if host == h {
					return true
				}
				continue
			}
		}
		if rest, ok := strings.CutSuffix(host, pattern); ok && (tree && rest == "" || len(rest) > 1 && rest[len(rest)-1] == '.') {
			return true
		}
	}
	return false
}

// Classes returns all classes, in the order in which they are tried.
func Classes() []Class { return slices.Clone(classes) }

// Names returns the names of all classes, sorted.
func Names() []string {
	names := make([]string, len(classes))
	for i, c := range classes {
		names[i] = c.Name.String()
	}
	slices.Sort(names)
	return names
}

// Lookup returns the class of that name.
func Lookup(name string) (Class, bool) {
	for _, c := range classes {
		if c.Name.Is(name) {
			return c, true
		}
	}
	return Class{}, false
}
