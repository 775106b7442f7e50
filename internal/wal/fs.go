package wal

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FS is what a log asks of a file system, ten operations with those of [File]:
// the seam at which tests inject faults. Names are full paths.
type FS interface {
	// Lock makes the file's directory, durably, and locks the file until Close.
	// It does not wait: ErrLocked if somebody else has it.
	Lock(name string) (io.Closer, error)

	// Open opens a file for reading and writing. With create it must not exist
	// before.
	Open(name string, create bool) (File, error)

	// List returns the lengths of the files in a directory, by name.
	List(dir string) (map[string]int64, error)

	// Remove removes a file.
	Remove(name string) error

	// SyncDir makes what was created and removed in a directory durable.
	SyncDir(dir string) error
}

// File is a file of an [FS].
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// osFS is the file system of the operating system. Files are for their owner
// alone: records may hold anything.
type osFS struct{}

func (osFS) Lock(name string) (io.Closer, error) {
	if err := makeDir(filepath.Dir(name)); err != nil {
		return nil, err
	}
	return lockFile(name)
}

// makeDir is os.MkdirAll that syncs every parent which gets a new entry.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	return syncDir(parent)
}

func (osFS) Open(name string, create bool) (File, error) {
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err // not a File that holds a nil pointer
	}
	return f, nil
}

func (osFS) List(dir string) (map[string]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		if info.Mode().IsRegular() {
			sizes[e.Name()] = info.Size()
		}
	}
	return sizes, nil
}

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) SyncDir(dir string) error { return syncDir(dir) }
