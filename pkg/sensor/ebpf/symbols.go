package ebpf

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
)

// places are where probes go in one file, as offsets in it.
type places struct {
	write   []uint64 // int or ssize_t f(session, buf, length)
	writeEx []uint64 // int f(session, buf, length, *written)
	free    []uint64 // void f(session)
	goWrite []uint64 // crypto/tls.(*Conn).Write
}

func (p *places) none() bool { return len(p.write)+len(p.writeEx)+len(p.goWrite) == 0 }

// goWriteName is the method that all of a Go program's TLS goes through.
const goWriteName = "crypto/tls.(*Conn).Write"

// list returns where an offset of a function belongs.
func (p *places) list(name string) *[]uint64 {
	switch name {
	case "SSL_write", "gnutls_record_send":
		return &p.write
	case "SSL_write_ex":
		return &p.writeEx
	case "SSL_free", "gnutls_deinit":
		return &p.free
	case goWriteName:
		return &p.goWrite
	}
	return nil
}

// probed are the functions that are looked for, each with the NUL that ends it.
var probed = [...]string{
	"SSL_write\x00", "SSL_write_ex\x00", "SSL_free\x00", "gnutls_record_send\x00", "gnutls_deinit\x00", goWriteName + "\x00",
}

// Bounds of reading a program: it is the job's, and may be anything.
const (
	maxSections    = 1 << 12
	maxSymbols     = 1 << 22
	maxSymbolBytes = 512 << 20 // of names
	maxFound       = 64        // places at which a name stands
	maxFunctions   = 1 << 21   // of a Go program
)

var errProgram = errors.New("not a program or library of this machine")

// findPlaces looks for the functions that TLS is written by in an ELF file. What
// it has no name for has no place. It reads the file in pieces: its tables may
// be larger than what the monitor may hold.
func findPlaces(r io.ReaderAt) (places, error) {
	var p places
	f, err := elf.NewFile(r)
	if err != nil {
		return p, err
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Machine != machine || len(f.Sections) > maxSections {
		return p, errProgram
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_DYNSYM || s.Type == elf.SHT_SYMTAB {
			p.symbols(f, r, s)
		}
	}
	if len(p.goWrite) == 0 {
		for _, s := range f.Sections {
			if s.Name == ".gopclntab" || s.Name == ".data.rel.ro.gopclntab" {
				p.goTable(f, r, s)
				break
			}
		}
	}
	for i, off := range p.goWrite {
		var b [32]byte
		n, _ := r.ReadAt(b[:], int64(off))
		p.goWrite[i] += pastStackCheck(f.Machine, b[:n])
	}
	return p, nil
}

// pastStackCheck returns how far from its entry the code of a Go function is
// first sure to run once for each call: where its stack is too small, it calls
// runtime.morestack and begins anew. Arguments are still in their registers
// there. It is 0 where the code is none that is known (cmd/internal/obj/x86 and
// arm64, stacksplit). On amd64 the instruction is a push, which the kernel does
// itself where it would have to run others with a second trap.
func pastStackCheck(m elf.Machine, code []byte) uint64 {
	for _, form := range stackChecks[m] {
		if len(code) < len(form) {
			continue
		}
		is := true
		for i, want := range form {
			is = is && (want < 0 || int(code[i]) == want)
		}
		if is {
			return uint64(len(form) - stackCheckEnds[m])
		}
	}
	return 0
}

// immediate is any byte.
const immediate = -1

// stackChecks are the forms of the check, with the instruction that follows.
var stackChecks = map[elf.Machine][][]int{
	elf.EM_X86_64: {
		// CMPQ SP, 16(R14); JLS; PUSHQ BP
		{0x49, 0x3b, 0x66, 0x10, 0x76, immediate, 0x55},
		{0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, immediate, immediate, immediate, immediate, 0x55},
		// LEAQ -n(SP), R12; CMPQ R12, 16(R14); JLS; PUSHQ BP
		{0x4c, 0x8d, 0x64, 0x24, immediate, 0x4d, 0x3b, 0x66, 0x10, 0x76, immediate, 0x55},
		{0x4c, 0x8d, 0x64, 0x24, immediate, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, immediate, immediate, immediate, immediate, 0x55},
		{0x4c, 0x8d, 0xa4, 0x24, immediate, immediate, immediate, immediate, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, immediate, immediate, immediate, immediate, 0x55},
	},
	elf.EM_AARCH64: {
		// MOVD 16(R28), R16; CMP R16, RSP; BLS; MOVD.W R30, -n(RSP)
		{0x90, 0x0b, 0x40, 0xf9, 0xff, 0x63, 0x30, 0xeb, immediate, immediate, immediate, 0x54, 0xfe, 0x0f, immediate, 0xf8},
		// MOVD 16(R28), R16; SUB $n, RSP, R17; CMP R16, R17; BLS; MOVD.W R30, -n(RSP)
		{0x90, 0x0b, 0x40, 0xf9, 0xf1, immediate, immediate, 0xd1, 0x3f, 0x02, 0x10, 0xeb, immediate, immediate, immediate, 0x54, 0xfe, 0x0f, immediate, 0xf8},
	},
}

// stackCheckEnds is the length of the instruction that follows the check.
var stackCheckEnds = map[elf.Machine]int{elf.EM_X86_64: 1, elf.EM_AARCH64: 4}

// window reads a part of a file in pieces.
type window struct {
	r    io.ReaderAt
	base uint64 // where the part begins in the file
	size uint64
	from uint64 // where buf begins in the part
	buf  []byte
	room [64 << 10]byte
}

// at returns n bytes at an offset of the part, or nil; n is small.
func (w *window) at(off, n uint64) []byte {
	if off > w.size || n > w.size-off {
		return nil
	}
	if off < w.from || off+n > w.from+uint64(len(w.buf)) {
		w.from, w.buf = off, w.room[:min(uint64(len(w.room)), w.size-off)]
		got, err := w.r.ReadAt(w.buf, int64(w.base+off))
		if err != nil && got < len(w.buf) {
			w.buf = w.buf[:max(got, 0)]
		}
		if uint64(len(w.buf)) < n {
			return nil
		}
	}
	return w.buf[off-w.from : off-w.from+n]
}

func section(r io.ReaderAt, s *elf.Section) *window {
	const most = 1 << 40
	if s.Type == elf.SHT_NOBITS || s.Offset > most || s.FileSize > most {
		return &window{r: r}
	}
	return &window{r: r, base: s.Offset, size: s.FileSize}
}

// find calls yield for each place at which one of the names stands, until it
// returns false.
func (w *window) find(names []string, yield func(off uint64, name string) bool) {
	const overlap = 64 // longer than any of the names
	for from := uint64(0); from < min(w.size, maxSymbolBytes); {
		n := min(uint64(len(w.room)), w.size-from)
		b := w.at(from, n)
		if b == nil {
			return
		}
		for _, name := range names {
			for at := 0; ; {
				i := bytes.Index(b[at:], []byte(name))
				if i < 0 {
					break
				}
				// What stands in two pieces is told by the first of them.
				if at += i; from == 0 || at+len(name) > overlap {
					if !yield(from+uint64(at), name) {
						return
					}
				}
				at += len(name)
			}
		}
		if n < uint64(len(w.room)) {
			return
		}
		from += n - overlap
	}
}

// symbols looks in a table of symbols. A name may be the end of a longer one.
func (p *places) symbols(f *elf.File, r io.ReaderAt, table *elf.Section) {
	if int(table.Link) >= len(f.Sections) || table.Link == 0 {
		return
	}
	names := map[uint64]string{}
	section(r, f.Sections[table.Link]).find(probed[:], func(off uint64, name string) bool {
		names[off] = name[:len(name)-1]
		return len(names) < maxFound
	})
	if len(names) == 0 {
		return
	}
	const size = elf.Sym64Size
	w := section(r, table)
	for i := uint64(0); i < min(w.size/size, maxSymbols); i++ {
		b := w.at(i*size, size)
		if b == nil {
			return
		}
		name, ok := names[uint64(native.Uint32(b))]
		if !ok || elf.ST_TYPE(b[4]) != elf.STT_FUNC || elf.SectionIndex(native.Uint16(b[6:])) == elf.SHN_UNDEF {
			continue
		}
		p.add(f, name, native.Uint64(b[8:]))
	}
}

// add notes the function at an address, which must be code.
func (p *places) add(f *elf.File, name string, addr uint64) {
	list := p.list(name)
	for _, seg := range f.Progs {
		if seg.Type != elf.PT_LOAD || seg.Flags&elf.PF_X == 0 || addr < seg.Vaddr || addr-seg.Vaddr >= seg.Filesz {
			continue
		}
		off := addr - seg.Vaddr + seg.Off
		for _, have := range *list {
			if have == off {
				return
			}
		}
		if len(*list) < maxFound {
			*list = append(*list, off)
		}
		return
	}
}

// goTable looks in the table of functions that each Go program has, also one
// without symbols: runtime.pcHeader and runtime.functab, as Go 1.18 and 1.20
// have them in runtime/symtab.go. Arguments are in registers since 1.17.
func (p *places) goTable(f *elf.File, r io.ReaderAt, s *elf.Section) {
	const headSize = 8 + 8*8
	w := section(r, s)
	head := w.at(0, headSize)
	if head == nil || native.Uint32(head) != 0xfffffff0 && native.Uint32(head) != 0xfffffff1 || head[7] != 8 {
		return
	}
	word := func(i int) uint64 { return native.Uint64(head[8+8*i:]) }
	count, text, names, after, funcs := word(0), word(2), word(3), word(4), word(7)
	if names > after || after > w.size || funcs > w.size || count > maxFunctions {
		return
	}
	code := f.Section(".text")
	if code == nil {
		return
	}
	if text == 0 {
		text = code.Addr
	}
	name := int64(-1)
	(&window{r: r, base: w.base + names, size: after - names}).find([]string{"\x00" + goWriteName + "\x00"}, func(off uint64, _ string) bool {
		name = int64(off) + 1
		return false
	})
	if name < 0 {
		return
	}
	table := &window{r: r, base: w.base + funcs, size: w.size - funcs}
	bodies := &window{r: r, base: table.base, size: table.size}
	for i := uint64(0); i < count; i++ {
		entry := table.at(i*8, 8)
		if entry == nil {
			return
		}
		body := bodies.at(uint64(native.Uint32(entry[4:])), 8)
		if body == nil {
			return
		}
		if int64(native.Uint32(body[4:])) == name {
			addr := text + uint64(native.Uint32(body))
			if addr >= code.Addr && addr-code.Addr < code.Size {
				p.add(f, goWriteName, addr)
			}
			return
		}
	}
}
