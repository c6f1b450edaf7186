package signature

import (
	"encoding/binary"
	"regexp"
	"regexp/syntax"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"
)

// automaton decides whether an expression matches a text, as
// [regexp.Regexp.MatchString] does, at about a twentieth of its time: arguments
// of an exec may be 128 KiB long, and whoever starts programs chooses how long.
// It is the deterministic automaton of the expression, made as far as texts need
// it (R. Cox, "Regular Expression Matching in the Wild", 2010).
type automaton struct {
	re     *regexp.Regexp // decides where this cannot
	prog   *syntax.Prog
	atOnce bool // it matches nowhere but at the beginning

	// ascii and wide tell the class of a rune: all of a class are alike to every
	// instruction. wide[i] is the first rune of class wideClass[i].
	ascii     [utf8.RuneSelf]uint8
	wide      []rune
	wideClass []uint8
	sample    []rune // one rune of each class; the class after them is the text's end

	// mu guards what follows. Who finds it taken asks re instead: they agree.
	mu     sync.Mutex
	next   []int32 // state*(len(sample)+1) + class
	states []automatonState
	known  map[string]int32
	key    []byte
	queue  []uint32
	seen   []uint32 // seen[pc] == round: pc was followed
	round  uint32
}

// automatonState is what is known between two runes.
type automatonState struct {
	pcs    []uint32 // instructions to go on with, sorted; not yet followed
	before rune     // one rune of the kind that was before: see kindOf
}

// Outcomes in place of a state.
const (
	automatonUnknown = iota
	automatonMatch
	automatonDead
	automatonFirst // the first state
)

// Bounds of one automaton: beyond maxAutomaton entries of its table it begins
// anew, and a text that has it begin anew more than maxAnew times is left to re.
const (
	maxAutomaton = 1 << 14
	maxAnew      = 3
	maxClasses   = 250
)

// newAutomaton returns nil where the expression is too wide for one.
func newAutomaton(expr string, re *regexp.Regexp) *automaton {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil
	}
	a := &automaton{re: re, prog: prog, atOnce: prog.StartCond()&syntax.EmptyBeginText != 0, seen: make([]uint32, len(prog.Inst))}
	if !a.classify() {
		return nil
	}
	a.anew()
	return a
}

// classify parts the runes by what the instructions tell apart.
func (a *automaton) classify() bool {
	// Where a class begins: kinds that \b, ^ and $ tell apart are classes too.
	cuts := []rune{0, '\n', '\n' + 1, '0', '9' + 1, 'A', 'Z' + 1, '_', '_' + 1, 'a', 'z' + 1, utf8.RuneSelf}
	for i := range a.prog.Inst {
		in := &a.prog.Inst[i]
		switch in.Op {
		case syntax.InstRune, syntax.InstRune1:
			if len(in.Rune) == 1 {
				r := in.Rune[0]
				cuts = append(cuts, r, r+1)
				if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
					for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
						cuts = append(cuts, f, f+1)
					}
				}
				continue
			}
			for j := 0; j+1 < len(in.Rune); j += 2 {
				cuts = append(cuts, in.Rune[j], in.Rune[j+1]+1)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	// Runes between two cuts are alike; so are pieces that the same instructions
	// and the same assertions take.
	alike := map[string]uint8{}
	for i, from := range cuts {
		if from > unicode.MaxRune {
			break
		}
		key := a.takes(from)
		class, ok := alike[key]
		if !ok {
			if len(a.sample) == maxClasses {
				return false
			}
			class = uint8(len(a.sample))
			alike[key] = class
			a.sample = append(a.sample, from)
		}
		to := rune(unicode.MaxRune) + 1
		if i+1 < len(cuts) {
			to = cuts[i+1]
		}
		for r := from; r < min(to, utf8.RuneSelf); r++ {
			a.ascii[r] = class
		}
		if from >= utf8.RuneSelf {
			a.wide = append(a.wide, from)
			a.wideClass = append(a.wideClass, class)
		}
	}
	return true
}

// takes says which instructions take a rune, and what assertions see in it.
func (a *automaton) takes(r rune) string {
	b := make([]byte, 0, 1+len(a.prog.Inst)/8)
	b = append(b, byte(kindOf(r)))
	for i := range a.prog.Inst {
		if i%8 == 0 {
			b = append(b, 0)
		}
		if takesRune(&a.prog.Inst[i], r) {
			b[len(b)-1] |= 1 << (i % 8)
		}
	}
	return string(b)
}

func takesRune(in *syntax.Inst, r rune) bool {
	switch in.Op {
	case syntax.InstRune, syntax.InstRune1:
		return in.MatchRune(r)
	case syntax.InstRuneAny:
		return true
	case syntax.InstRuneAnyNotNL:
		return r != '\n'
	}
	return false
}

// kindOf is one rune of each kind that assertions tell apart; -1 is none.
func kindOf(r rune) rune {
	switch {
	case r < 0 || r == '\n':
		return r
	case syntax.IsWordChar(r):
		return 'a'
	}
	return ' '
}

func (a *automaton) anew() {
	width := len(a.sample) + 1
	a.next = append(a.next[:0], make([]int32, automatonFirst*width)...)
	a.states = append(a.states[:0], make([]automatonState, automatonFirst)...)
	a.known = map[string]int32{}
	a.state([]uint32{uint32(a.prog.Start)}, -1)
}

// state returns the number of a state, and makes it where it is new.
func (a *automaton) state(pcs []uint32, before rune) int32 {
	slices.Sort(pcs)
	a.key = binary.LittleEndian.AppendUint32(a.key[:0], uint32(before))
	for _, pc := range pcs {
		a.key = binary.LittleEndian.AppendUint32(a.key, pc)
	}
	if n, ok := a.known[string(a.key)]; ok {
		return n
	}
	n := int32(len(a.states))
	a.known[string(a.key)] = n
	a.states = append(a.states, automatonState{slices.Clone(pcs), before})
	a.next = append(a.next, make([]int32, len(a.sample)+1)...)
	return n
}

// step returns what follows a state on a class.
func (a *automaton) step(from int32, class int) int32 {
	st := a.states[from]
	after := rune(-1)
	if class < len(a.sample) {
		after = a.sample[class]
	}
	holds := syntax.EmptyOpContext(st.before, kindOf(after))
	a.round++
	if a.round == 0 {
		clear(a.seen)
		a.round = 1
	}
	// What is followed stays in the queue; what took the rune is put together
	// behind it.
	a.queue = append(a.queue[:0], st.pcs...)
	var out []uint32
	for i := 0; i < len(a.queue); i++ {
		pc := a.queue[i]
		if a.seen[pc] == a.round {
			continue
		}
		a.seen[pc] = a.round
		in := &a.prog.Inst[pc]
		switch in.Op {
		case syntax.InstMatch:
			return automatonMatch
		case syntax.InstAlt, syntax.InstAltMatch:
			a.queue = append(a.queue, in.Out, in.Arg)
		case syntax.InstCapture, syntax.InstNop:
			a.queue = append(a.queue, in.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(in.Arg)&^holds == 0 {
				a.queue = append(a.queue, in.Out)
			}
		case syntax.InstFail:
		default:
			if after >= 0 && takesRune(in, after) {
				out = append(out, in.Out)
			}
		}
	}
	if after < 0 {
		return automatonDead
	}
	if !a.atOnce {
		out = append(out, uint32(a.prog.Start))
	} else if len(out) == 0 {
		return automatonDead
	}
	slices.Sort(out)
	return a.state(slices.Compact(out), kindOf(after))
}

func (a *automaton) classOf(r rune) int {
	i, found := slices.BinarySearch(a.wide, r)
	if !found {
		i--
	}
	return int(a.wideClass[i])
}

// match reports whether the expression matches anywhere in s.
func (a *automaton) match(s string) bool {
	if !a.mu.TryLock() {
		return a.re.MatchString(s)
	}
	defer a.mu.Unlock()
	width := len(a.sample) + 1
	st, renewed := int32(automatonFirst), 0
	for i := 0; i <= len(s); {
		class := len(a.sample)
		switch {
		case i == len(s):
			i++
		case s[i] < utf8.RuneSelf:
			class = int(a.ascii[s[i]])
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			class = a.classOf(r)
			i += n
		}
		next := a.next[int(st)*width+class]
		if next == automatonUnknown {
			if len(a.next) > maxAutomaton {
				if renewed++; renewed > maxAnew {
					return a.re.MatchString(s)
				}
				kept := a.states[st]
				a.anew()
				st = a.state(slices.Clone(kept.pcs), kept.before)
			}
			next = a.step(st, class)
			a.next[int(st)*width+class] = next
		}
		switch next {
		case automatonMatch:
			return true
		case automatonDead:
			return false
		}
		st = next
	}
	return false
}
