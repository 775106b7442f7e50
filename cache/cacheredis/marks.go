package cacheredis

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// marks are the second halves of the ids at positions where subscriptions ended.
// In the id 1234-5678 the position is 1234, and 5678 the time at which it was
// published. After a failover that lost messages, the number is given out again
// with another time.
type marks struct {
	mu   sync.Mutex
	ends []end // the oldest first
}

type end struct {
	pos  uint64
	mark string
}

// most is how many ends are kept. A store serves a cache or two, each of which
// comes back where it left.
const most = 64

func (m *marks) remember(pos uint64, mark string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends = append(m.ends, end{pos, mark})
	if len(m.ends) > most {
		m.ends = m.ends[1:]
	}
}

// recall returns "" for a position that is not known here.
func (m *marks) recall(pos uint64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.ends) - 1; i >= 0; i-- {
		if m.ends[i].pos == pos {
			return m.ends[i].mark
		}
	}
	return ""
}

// behind is the id that everything behind a position is greater than.
func behind(pos uint64) string {
	return strconv.FormatUint(pos, 10) + "-" + strconv.FormatUint(math.MaxUint64, 10)
}

func splitID(id string) (pos uint64, mark string, err error) {
	number, mark, ok := strings.Cut(id, "-")
	if pos, err = strconv.ParseUint(number, 10, 64); err != nil || !ok {
		return 0, "", fmt.Errorf("%w: %q is no id", errReply, id)
	}
	return pos, mark, nil
}

// entry takes one message of a log apart, as a script returns it.
func entry(v any) (id string, fields map[string]string, err error) {
	pair, _ := v.([]any)
	if len(pair) != 2 {
		return "", nil, fmt.Errorf("%w: %v is no message", errReply, v)
	}
	id, _ = pair[0].(string)
	flat, _ := pair[1].([]any)
	fields = make(map[string]string, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		name, _ := flat[i].(string)
		fields[name], _ = flat[i+1].(string)
	}
	return id, fields, nil
}
