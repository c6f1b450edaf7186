//go:build !linux

package evidence

func renameNew(from, to string) error { return renameFree(from, to) }
