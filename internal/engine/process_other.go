//go:build unix && !linux

package engine

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// processes lists every process by ps, which POSIX has everywhere; its lstart,
// the time of birth, is common to macOS and the BSDs.
func processes() ([]process, error) {
	output, err := exec.Command("ps", "-axo", "pid=,ppid=,state=,lstart=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var all []process
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return nil, fmt.Errorf("ps: unknown format %q", line)
		}
		pid, errPid := strconv.Atoi(fields[0])
		parent, errParent := strconv.Atoi(fields[1])
		if errPid != nil || errParent != nil {
			return nil, fmt.Errorf("ps: unknown format %q", line)
		}
		all = append(all, process{pid: pid, parent: parent, state: fields[2][0], born: strings.Join(fields[3:], " ")})
	}
	return all, nil
}
