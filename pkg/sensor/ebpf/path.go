package ebpf

// appendClean appends the absolute path p to dst with empty elements, "." and
// ".." taken out, as path.Clean does, without following links. What is not
// absolute is appended as it is.
func appendClean(dst, p []byte) []byte {
	if len(p) == 0 || p[0] != '/' {
		return append(dst, p...)
	}
	root := len(dst)
	for i := 0; i < len(p); {
		for i < len(p) && p[i] == '/' {
			i++
		}
		from := i
		for i < len(p) && p[i] != '/' {
			i++
		}
		switch name := p[from:i]; {
		case len(name) == 0 || len(name) == 1 && name[0] == '.':
		case len(name) == 2 && name[0] == '.' && name[1] == '.':
			end := len(dst)
			for end > root && dst[end-1] != '/' {
				end--
			}
			dst = dst[:max(root, end-1)]
		default:
			dst = append(dst, '/')
			dst = append(dst, name...)
		}
	}
	if len(dst) == root {
		dst = append(dst, '/')
	}
	return dst
}
