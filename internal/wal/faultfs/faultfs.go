// Package faultfs is a file system in memory for tests of logs: it fails where
// it is told to, and it can lose what was not synced, as a disk does when the
// power goes.
package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/keelson-go/keelson/internal/wal"
)

// Op is an operation that changes something.
type Op struct {
	N    int    // counts from 1
	Kind string // create, write, truncate, sync, remove, syncdir
	Name string
}

// FS implements wal.FS. Safe for concurrent use.
type FS struct {
	// Hook sees every operation before it happens and may fail it. A failed
	// write has written half of its bytes; a failed sync has left an arbitrary
	// part of the data unsynced and calls it clean all the same.
	Hook func(Op) error

	mu     sync.Mutex
	rnd    *rand.Rand
	ops    int
	locked map[string]bool
	files  map[string]*inode // what programs see
	disk   map[string]*inode // the entries that are durable
}

// inode is a file: what programs see, what is on the disk, and what was done
// since the last sync.
type inode struct {
	data, disk []byte
	dirty      []change
}

// change is a write, or a truncation to off if data is nil.
type change struct {
	off  int64
	data []byte
}

// New returns an empty file system; seed decides what faults leave behind.
func New(seed uint64) *FS {
	return &FS{
		rnd: rand.New(rand.NewPCG(seed, 1)), locked: map[string]bool{},
		files: map[string]*inode{}, disk: map[string]*inode{},
	}
}

// Kill frees all locks: the process has died, the machine goes on. Files that
// are open stay usable, which a test must not do.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locked, f.Hook = map[string]bool{}, nil
}

// PowerCut returns what the disk may hold now: all that was synced, and of the
// rest an arbitrary part, in blocks of 16 bytes, in any order, with zeros or
// garbage in between. Entries of directories are kept or lost one by one.
func (f *FS) PowerCut(seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	after := New(seed)
	names := maps.Clone(f.disk)
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		if after.rnd.IntN(2) == 0 {
			names[name] = f.files[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.disk)) {
		if f.files[name] == nil && after.rnd.IntN(2) == 0 {
			delete(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old := names[name]
		data := settle(after.rnd, slices.Clone(old.disk), old.dirty)
		after.files[name] = &inode{data: data, disk: slices.Clone(data)}
	}
	after.disk = maps.Clone(after.files)
	return after
}

// Clone returns a copy of what programs see, all of it synced, without locks.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	after := New(1)
	for name, i := range f.files {
		after.files[name] = &inode{data: slices.Clone(i.data), disk: slices.Clone(i.data)}
	}
	after.disk = maps.Clone(after.files)
	return after
}

// settle applies an arbitrary part of changes to what is on the disk.
func settle(rnd *rand.Rand, disk []byte, changes []change) []byte {
	const block = 16
	for _, c := range changes {
		if c.data == nil {
			if rnd.IntN(2) == 0 {
				disk = resize(disk, c.off)
			}
			continue
		}
		fate := rnd.IntN(4) // all, none, or block by block
		for from := 0; from < len(c.data); from += block {
			piece := c.data[from:min(from+block, len(c.data))]
			at := int(c.off) + from
			switch {
			case fate == 0 || (fate > 1 && rnd.IntN(2) == 0):
				disk = resize(disk, max(int64(len(disk)), int64(at+len(piece))))
				copy(disk[at:], piece)
			case fate == 3 && at >= len(disk): // the length got there, the data not
				disk = resize(disk, int64(at+len(piece)))
				if rnd.IntN(2) == 0 {
					for i := range disk[at:] {
						disk[at+i] = byte(rnd.Uint32())
					}
				}
			}
		}
	}
	return disk
}

func resize(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return b[:n]
	}
	return append(b, make([]byte, n-int64(len(b)))...)
}

// Ops returns how many operations there have been.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Names returns the files of all directories, sorted.
func (f *FS) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.files))
}

// Bytes returns a copy of a file.
func (f *FS) Bytes(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.files[name].data)
}

// Set replaces a file, synced.
func (f *FS) Set(name string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[name] = &inode{data: slices.Clone(data), disk: slices.Clone(data)}
	f.disk[name] = f.files[name]
}

// step counts an operation and asks the hook, with no lock held: the hook may
// wait while others read.
func (f *FS) step(kind, name string) error {
	f.mu.Lock()
	f.ops++
	op, hook := Op{f.ops, kind, name}, f.Hook
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	if err := hook(op); err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return nil
}

// Lock implements wal.FS.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locked[name] {
		return nil, wal.ErrLocked
	}
	f.locked[name] = true
	return unlocker{f, name}, nil
}

type unlocker struct {
	f    *FS
	name string
}

func (u unlocker) Close() error {
	u.f.mu.Lock()
	defer u.f.mu.Unlock()
	delete(u.f.locked, u.name)
	return nil
}

// Open implements wal.FS.
func (f *FS) Open(name string, create bool) (wal.File, error) {
	if create {
		if err := f.step("create", name); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.files[name]
	if create {
		if i != nil {
			return nil, fs.ErrExist
		}
		i = &inode{}
		f.files[name] = i
	}
	if i == nil {
		return nil, fs.ErrNotExist
	}
	return &file{fs: f, name: name, inode: i}, nil
}

// List implements wal.FS.
func (f *FS) List(dir string) (map[string]int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sizes := map[string]int64{}
	for name, i := range f.files {
		if filepath.Dir(name) == filepath.Clean(dir) {
			sizes[filepath.Base(name)] = int64(len(i.data))
		}
	}
	return sizes, nil
}

// Remove implements wal.FS.
func (f *FS) Remove(name string) error {
	if err := f.step("remove", name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[name] == nil {
		return fs.ErrNotExist
	}
	delete(f.files, name)
	return nil
}

// SyncDir implements wal.FS.
func (f *FS) SyncDir(dir string) error {
	if err := f.step("syncdir", dir); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.disk, func(name string, _ *inode) bool { return strings.HasPrefix(name, dir) && f.files[name] == nil })
	for name, i := range f.files {
		if strings.HasPrefix(name, dir) {
			f.disk[name] = i
		}
	}
	return nil
}

type file struct {
	fs     *FS
	name   string
	inode  *inode
	closed bool
}

var errShort = errors.New("half of it was written")

func (h *file) WriteAt(p []byte, off int64) (int, error) {
	err := h.fs.step("write", h.name)
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return 0, fs.ErrClosed
	}
	if err != nil {
		p = p[:len(p)/2]
		err = fmt.Errorf("%w: %w", errShort, err)
	}
	h.inode.data = resize(h.inode.data, max(int64(len(h.inode.data)), off+int64(len(p))))
	copy(h.inode.data[off:], p)
	h.inode.dirty = append(h.inode.dirty, change{off, append([]byte{}, p...)})
	return len(p), err
}

func (h *file) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return 0, fs.ErrClosed
	}
	n := 0
	if off < int64(len(h.inode.data)) {
		n = copy(p, h.inode.data[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) Truncate(size int64) error {
	if err := h.fs.step("truncate", h.name); err != nil {
		return err
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.inode.data = resize(h.inode.data, size)
	h.inode.dirty = append(h.inode.dirty, change{off: size})
	return nil
}

func (h *file) Sync() error {
	err := h.fs.step("sync", h.name)
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return fs.ErrClosed
	}
	if err != nil {
		h.inode.disk = settle(h.fs.rnd, h.inode.disk, h.inode.dirty)
	} else {
		h.inode.disk = slices.Clone(h.inode.data)
	}
	h.inode.dirty = nil
	return err
}

func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.closed = true
	return nil
}
