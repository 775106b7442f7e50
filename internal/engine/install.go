package engine

import (
	"cmp"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// NotInstalledError says that a binary is absent, and which package of Debian
// and its relatives brings it.
type NotInstalledError struct {
	Binary  string
	Package string
}

func (e *NotInstalledError) Error() string {
	return fmt.Sprintf("engine: %s is not installed; install the package %s (apt-get install %[2]s) or add it to PATH",
		e.Binary, e.Package)
}

// program is a binary to look for.
type program struct {
	name string
	pkg  string

	// alsoIn are patterns of directories outside PATH where distributions put
	// it: Debian keeps the servers of Postgres off everybody's PATH, and sbin
	// off that of users other than root.
	alsoIn []string
}

// find returns the path of the binary, from PATH if it is there.
func (p program) find() (string, error) {
	if path, err := exec.LookPath(p.name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range p.directories() {
		if path, err := exec.LookPath(filepath.Join(dir, p.name)); err == nil {
			return path, nil
		}
	}
	return "", &NotInstalledError{Binary: p.name, Package: p.pkg}
}

// directories expands alsoIn; where a pattern matches several versions the
// newest comes first.
func (p program) directories() []string {
	var all []string
	for _, pattern := range p.alsoIn {
		found, _ := filepath.Glob(pattern) // the patterns are constants, tested to be well formed
		slices.SortFunc(found, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
		all = append(all, found...)
	}
	return all
}

// version is the last element of the path that is a number: 15 in
// /usr/lib/postgresql/15/bin, where 9.6 has to sort below it. Zero without one.
func version(path string) float64 {
	for _, element := range slices.Backward(strings.Split(filepath.ToSlash(path), "/")) {
		if v, err := strconv.ParseFloat(element, 64); err == nil {
			return v
		}
	}
	return 0
}
