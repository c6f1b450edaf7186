package posture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/redact"
)

// Dropped is what [Drop] took from a user.
type Dropped struct {
	Sudo    bool     // whether the user had sudo to lose, and has lost it
	Sockets []string // of container daemons, closed to the user

	rule string            // file of our rule
	acls map[string][]byte // of the sockets as they were; nil for none
}

// The names of events that tell what [Drop] did: the one of each way that was
// taken, the other of what stayed.
var (
	PowerTaken = redact.Const("power-taken")
	PowerKept  = redact.Const("power-kept")
)

// sudoersDir is where a rule of ours goes.
const sudoersDir = "/etc/sudoers.d"

// Drop takes from a user, until [Dropped.Restore], the short ways to root: sudo
// by a rule behind all others that refuses every command (sudoers(5): the last
// that matches decides), and the sockets of container daemons by an entry of
// their access lists (acl(5)). Other users keep what they have. It needs root.
//
// The error names what the user kept; the rest is taken all the same.
func Drop(ctx context.Context, uid uint32) (*Dropped, error) {
	if uid == 0 {
		return &Dropped{}, errors.New("the steps run as root, who needs no sudo: let the runner have a user of its own")
	}
	d := &Dropped{acls: map[string][]byte{}}
	var errs []error
	if err := d.sudo(ctx, uid); err != nil {
		errs = append(errs, fmt.Errorf("sudo: %w", err))
	}
	for _, p := range sockets {
		was, err := closeTo(p, uid)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		case err != nil:
			errs = append(errs, fmt.Errorf("the socket of a container daemon, %s: %w", p, err))
		default:
			d.Sockets, d.acls[p] = append(d.Sockets, p), was
		}
	}
	return d, errors.Join(errs...)
}

func (d *Dropped) sudo(ctx context.Context, uid uint32) error {
	if _, err := os.Stat("/etc/sudoers"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// A name with a dot is not read by sudo, and ~ comes behind all other letters.
	id := strconv.FormatUint(uint64(uid), 10)
	who, err := user.LookupId(id)
	if err != nil {
		return err
	}
	rule := filepath.Join(sudoersDir, "~edamame-posture-"+id)
	made := filepath.Join(sudoersDir, ".edamame-posture."+id)
	// A refusal would be mailed to the administrator, by programs that then stand
	// among what the job did.
	text := "# Of edamame-posture, for a job with `sudo: drop`. Delete this file to give sudo back.\n" +
		"Defaults:#" + id + " !mail_badpass, !mail_no_perms, !mail_no_user\n#" + id + " ALL=(ALL:ALL) !ALL\n"
	_ = os.Remove(made)
	if err := os.WriteFile(made, []byte(text), 0o440); err != nil {
		return err
	}
	if err := os.Rename(made, rule); err != nil {
		_ = os.Remove(made)
		return err
	}
	// What counts is what sudo itself makes of it, and in which order.
	cmd := exec.CommandContext(ctx, "/usr/bin/sudo", "-n", "-l", "-U", who.Username)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if said := strings.TrimSpace(string(out)); err != nil || !strings.HasSuffix(said, " !ALL") {
		_ = os.Remove(rule)
		if err != nil {
			err = fmt.Errorf("%s does not say what it makes of our rule: %w %.200q", cmd.Path, err, complaint.String())
		} else {
			err = errors.New("a rule of /etc/sudoers stands behind ours: let @includedir /etc/sudoers.d be its last line")
		}
		return err
	}
	d.Sudo, d.rule = true, rule
	return nil
}

// Restore gives back what was taken.
func (d *Dropped) Restore() error {
	var errs []error
	for p, acl := range d.acls {
		var err error
		if acl == nil {
			err = unix.Removexattr(p, accessList)
		} else {
			err = unix.Setxattr(p, accessList, acl, 0)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
		}
	}
	if d.rule != "" {
		if err := os.Remove(d.rule); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// accessList is the attribute that holds a file's access list, as
// include/uapi/linux/posix_acl_xattr.h has it: a version, and entries of tag,
// permissions and id.
const accessList = "system.posix_acl_access"

const (
	aclVersion  = 2
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclMask     = 0x10
	aclOther    = 0x20
	aclNoID     = ^uint32(0)
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// closeTo lets a user, who does not own it, no more connect to a socket, and
// returns the access list that it had.
func closeTo(p string, uid uint32) (was []byte, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errors.New("it is no socket")
	}
	if st.Uid == uid {
		return nil, errors.New("the user owns it")
	}
	was, err = accessListOf(p)
	if err != nil {
		return nil, err
	}
	list, err := parseACL(was)
	if err != nil {
		return nil, err
	}
	if list == nil {
		bits := uint16(st.Mode)
		list = []aclEntry{{aclUserObj, bits >> 6 & 7, aclNoID}, {aclGroupObj, bits >> 3 & 7, aclNoID}, {aclOther, bits & 7, aclNoID}}
	}
	return was, unix.Setxattr(p, accessList, encodeACL(without(list, uid)), 0)
}

// accessListOf returns a file's access list, nil where it has none.
func accessListOf(p string) ([]byte, error) {
	b := make([]byte, 4<<10)
	n, err := unix.Getxattr(p, accessList, b)
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

var errACL = errors.New("its access list cannot be read")

func parseACL(b []byte) ([]aclEntry, error) {
	if b == nil {
		return nil, nil
	}
	if len(b) < 4 || (len(b)-4)%8 != 0 || binary.LittleEndian.Uint32(b) != aclVersion {
		return nil, errACL
	}
	var list []aclEntry
	for b = b[4:]; len(b) > 0; b = b[8:] {
		list = append(list, aclEntry{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])})
	}
	return list, nil
}

func encodeACL(list []aclEntry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// without returns the list with an entry that lets a user do nothing. Where
// there was no mask one is made that takes nothing from anybody: a list that
// names a user needs one.
func without(list []aclEntry, uid uint32) []aclEntry {
	out := slices.DeleteFunc(slices.Clone(list), func(e aclEntry) bool { return e.tag == aclUser && e.id == uid })
	out = append(out, aclEntry{aclUser, 0, uid})
	if !slices.ContainsFunc(out, func(e aclEntry) bool { return e.tag == aclMask }) {
		mask := uint16(0)
		for _, e := range out {
			if e.tag != aclUserObj && e.tag != aclOther {
				mask |= e.perm
			}
		}
		out = append(out, aclEntry{aclMask, mask, aclNoID})
	}
	// The kernel wants them by tag, and users by id.
	slices.SortFunc(out, func(a, b aclEntry) int {
		if a.tag != b.tag {
			return int(a.tag) - int(b.tag)
		}
		return int(int64(a.id) - int64(b.id))
	})
	return out
}

// bars reports whether a list says itself that a user may do nothing.
func bars(list []aclEntry, uid uint32) bool {
	return slices.Contains(list, aclEntry{aclUser, 0, uid})
}
