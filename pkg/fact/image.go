package fact

import (
	"slices"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// image is the content of a file that was executed, as far as the log tells it:
// which digest it had is told after the exec.
type image struct {
	digests []event.SHA256 // of a script one for each content that its path led to
	unknown redact.Text    // why there is none; whatever is told later, it stays
}

// imageKey says which content was meant: of a program the inode and its last
// change, of a script its path, since nobody knows what of it was read.
type imageKey struct {
	file   event.FileID
	ctime  int64
	size   uint64
	script redact.Text
}

// Bounds of what is remembered of contents.
const (
	maxImages      = 1 << 14
	maxFactImages  = 64 // of one fact
	maxImageDigest = 64 // of one script
)

var (
	tooManyImages = redact.Const("more files were executed than are remembered")
	// notTold is why a content has no digest that the log says nothing of.
	notTold = redact.Const("the log does not tell it")
	// unseenFile is said of an exec whose file nobody looked at.
	unseenFile = redact.Const("executed files were not digested, or the process was gone before its file could be looked at")
)

// imageOf returns the content that an exec or a digest is about. script is the
// absolute path of a script, empty for a program.
func (f *Folder) imageOf(ev *event.Event, script redact.Text) *image {
	k := imageKey{script: script}
	if script.IsZero() {
		k = imageKey{file: ev.File, ctime: ev.CTime, size: ev.Size}
	}
	i := f.images[k]
	switch {
	case i != nil:
	case len(f.images) >= maxImages:
		return &image{unknown: tooManyImages}
	default:
		if f.images == nil {
			f.images = make(map[imageKey]*image)
		}
		i = &image{}
		f.images[k] = i
	}
	return i
}

// scriptOf returns the absolute path of the script that ran, empty for a
// program.
func (f *Folder) scriptOf(ev *event.Event) redact.Text {
	if ev.Image&event.Script == 0 || ev.Filename.IsZero() {
		return redact.Text{}
	}
	return f.absolute(ev.Filename, ev.Cwd)
}

// digest takes what a file that was executed holds.
func (f *Folder) digest(ev *event.Event) {
	i := f.imageOf(ev, f.scriptOf(ev))
	switch {
	case !ev.SHA256.IsZero() && slices.Contains(i.digests, ev.SHA256):
	case !ev.SHA256.IsZero() && len(i.digests) < maxImageDigest:
		i.digests = append(i.digests, ev.SHA256)
	case !i.unknown.IsZero():
	case !ev.SHA256.IsZero():
		i.unknown = tooManyImages
	case ev.Detail.IsZero():
		i.unknown = notTold
	default:
		i.unknown = ev.Detail
	}
}

// ran notes that an exec of the fact ran a content; nil where the log does not
// say which.
func (fact *Fact) ran(i *image) {
	switch {
	case i == nil || fact.unseen || slices.Contains(fact.images, i):
		fact.unseen = fact.unseen || i == nil
	case len(fact.images) == maxFactImages:
		fact.unseen = true
	default:
		fact.images = append(fact.images, i)
	}
}

// Digests returns what is known by now of the files that an Exec fact ran: the
// digest of each, and why of one it is not known, or the empty text where it is
// of all of them.
func (fact *Fact) Digests() (known []event.SHA256, unknown redact.Text) {
	if fact.unseen || len(fact.images) == 0 {
		unknown = unseenFile
	}
	for _, i := range fact.images {
		for _, d := range i.digests {
			if !slices.Contains(known, d) {
				known = append(known, d)
			}
		}
		switch {
		case !unknown.IsZero():
		case !i.unknown.IsZero():
			unknown = i.unknown
		case len(i.digests) == 0:
			unknown = notTold
		}
	}
	return known, unknown
}

// Ran reports whether all that an Exec fact ran is known by its digest, and is
// one of the list.
func (fact *Fact) Ran(list []event.SHA256) bool {
	if fact.unseen || len(fact.images) == 0 {
		return false
	}
	for _, i := range fact.images {
		if !i.unknown.IsZero() || len(i.digests) == 0 {
			return false
		}
		for _, d := range i.digests {
			if !slices.Contains(list, d) {
				return false
			}
		}
	}
	return true
}
