package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// processes lists every process that /proc shows.
func processes() ([]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has gone since
		}
		if errors.Is(err, fs.ErrPermission) {
			continue // another user's, where /proc is mounted with hidepid
		}
		if err != nil {
			return nil, err
		}
		p, err := parseStat(string(stat))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// parseStat reads "pid (name) state parent ... start", see proc(5). The name may
// hold spaces and parentheses, so the fields are counted from its end.
func parseStat(stat string) (p process, err error) {
	id, rest, found := strings.Cut(stat, " (")
	fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
	if !found || len(fields) < 20 {
		return process{}, fmt.Errorf("unknown format %q", stat)
	}
	p.state, p.born = fields[0][0], fields[19]
	var errParent error
	p.pid, err = strconv.Atoi(id)
	p.parent, errParent = strconv.Atoi(fields[1])
	return p, errors.Join(err, errParent)
}
