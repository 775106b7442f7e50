package eventfile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keelson-go/keelson/eventsource"
)

// The file "incarnation" holds a random name. While the log is open it is called
// "incarnation.open", so that the next Open finds out whether the last one came to its
// Close, which renames it back: a rename needs no room on a disk that is full. Neither is
// synced. What a crash of the machine makes of them does not matter, as it leaves no
// process whose lease was not waited for.
const (
	eraFile = "incarnation"
	eraOpen = eraFile + ".open"
	eraSize = 8
)

// enterEra returns the name of the incarnation that this opening belongs to: that of the
// one before if it was closed, since Runs on it may still be at work in a process that
// lives; a new one after a crash. The caller has the directory locked.
func enterEra(dir string) (string, error) {
	open := filepath.Join(dir, eraOpen)
	err := os.Rename(filepath.Join(dir, eraFile), open)
	if err == nil {
		var name []byte
		if name, err = os.ReadFile(open); err == nil && len(name) == eraSize {
			return string(name), nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := rand.Text()[:eraSize]
	return name, os.WriteFile(open, []byte(name), 0o600)
}

// leaveEra says that the log was closed.
func leaveEra(dir string) error {
	err := os.Rename(filepath.Join(dir, eraOpen), filepath.Join(dir, eraFile))
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed the directory
		return nil
	}
	return err
}

// Incarnation is a random name, a new one when the log was not closed before it was
// opened, and the Checkpoints that it is true of: l. No other process can have the
// directory open, so an [eventsource.Projection] that finds members of another
// incarnation in its group knows that their process is dead, and does not wait for their
// Lease after a crash. See [eventsource.Checkpoints].
func (l *Log) Incarnation() (string, eventsource.Checkpoints) { return l.era, l }
