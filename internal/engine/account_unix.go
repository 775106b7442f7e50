//go:build unix

package engine

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// account is a user to run a server as. Nil is the one that runs this program.
type account struct {
	name     string
	uid, gid int
}

// chooseAccount returns the first of the users that exists, if this program runs
// as root and the server must not.
func chooseAccount(users []string) (*account, error) {
	if len(users) == 0 || os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range users {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(u.Uid)
		gid, errGID := strconv.Atoi(u.Gid)
		if errUID == nil && errGID == nil {
			return &account{name: name, uid: uid, gid: gid}, nil
		}
	}
	return nil, fmt.Errorf("engine: root needs another user to run the server as; none of these exists: %s", strings.Join(users, ", "))
}

// take gives the directory to the account, and refuses one that it could not
// get at: the server's own message about that is hard to understand.
func (a *account) take(dir string) error {
	if a == nil {
		return nil
	}
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		info, err := os.Stat(above)
		if err != nil {
			return fmt.Errorf("engine: directory of the server: %w", err)
		}
		if !a.enters(info) {
			return fmt.Errorf("engine: the server runs as user %s, who cannot enter %s (mode %v); choose a directory that lies below ones of mode 0711 or more",
				a.name, above, info.Mode().Perm())
		}
		if above == filepath.Dir(above) {
			break
		}
	}
	if err := os.Chown(dir, a.uid, a.gid); err != nil {
		return fmt.Errorf("engine: give the directory to user %s: %w", a.name, err)
	}
	return nil
}

// enters reports whether the account may pass through a directory. Groups other
// than the account's own are not looked at.
func (a *account) enters(dir os.FileInfo) bool {
	mode := dir.Mode().Perm()
	if owner, ok := dir.Sys().(*syscall.Stat_t); ok {
		switch {
		case int(owner.Uid) == a.uid:
			return mode&0o100 != 0
		case int(owner.Gid) == a.gid:
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}

// credential is nil for our own account.
func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
}
