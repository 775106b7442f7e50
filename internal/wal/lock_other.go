//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package wal

import (
	"errors"
	"fmt"
	"io"
)

// lockFile refuses: without a lock that dies with the process, two of them would
// write into each other's segments.
func lockFile(name string) (io.Closer, error) {
	return nil, fmt.Errorf("wal: %s: no file locks on this system: %w", name, errors.ErrUnsupported)
}

func syncDir(string) error { return errors.ErrUnsupported }
