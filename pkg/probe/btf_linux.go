package probe

import (
	"fmt"
	"io/fs"
	"os"
)

// btfPath is where a kernel with CONFIG_DEBUG_INFO_BTF shows its types.
const btfPath = "sys/kernel/btf/vmlinux"

const btfGet = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Ubuntu 20.10, Debian 11, Fedora 31 and later have it)"

var btfQuestion = question{"btf", "type information of the kernel (BTF)", func() Result {
	size, err := btfSize(os.DirFS("/"))
	if err != nil {
		return Result{Detail: err.Error(), Lost: "eBPF: its programs cannot be fitted to this kernel", Get: btfGet}
	}
	return Result{OK: true, Detail: fmt.Sprintf("/%s, %d KiB", btfPath, size>>10)}
}}

// btfSize returns the size of the kernel's BTF in bytes.
func btfSize(root fs.FS) (int64, error) {
	f, err := root.Open(btfPath)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var magic [2]byte
	if n, err := f.Read(magic[:]); err != nil || n != 2 {
		return 0, fmt.Errorf("/%s cannot be read: %w", btfPath, err)
	}
	// BTF_MAGIC of include/uapi/linux/btf.h, in the machine's byte order.
	if magic != [2]byte{0x9f, 0xeb} && magic != [2]byte{0xeb, 0x9f} {
		return 0, fmt.Errorf("/%s does not start like BTF", btfPath)
	}
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
