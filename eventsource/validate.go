package eventsource

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// The limits that every store keeps.
const (
	maxEvents     = 10_000
	maxAppend     = 64 << 20 // bytes of all texts, Meta and Data of one append
	maxData       = 16 << 20
	maxMeta       = 64 << 10
	maxTags       = 64
	maxText       = 255
	maxItems      = 128
	maxItemTexts  = 128
	maxCheckpoint = 1024 // bytes of a checkpoint's name, which may hold a stream's
)

// Validate checks the arguments of [Store.Append], before anything else is
// done with them, and returns nil or an error that matches [ErrInvalid] and
// names the field, its value and what is allowed. It is for authors of stores,
// so that all refuse the same. The rules:
//
//   - at least one event or condition, at most 10,000 events, and at most 64 MiB
//     of all texts, Meta and Data together;
//   - every text is UTF-8 without NUL, of at most 255 bytes, a value of Meta of
//     any length; Meta has at most 64 KiB, Data at most 16 MiB of any bytes;
//   - an event has a Type, a Schema of 0 to 2^31-1, and at most 64 tags;
//   - no ID occurs twice, no stream in two of AtVersion, NoStream and Exists, no
//     source in two of Track;
//   - a stream or source of a condition is not ""; a query of a condition names
//     no ids, and obeys [Query.Validate].
//
// It costs about 20 ns an event and does not allocate, except for a set of the
// ids of an append with many.
func Validate(events []Event, conds ...Condition) error {
	if len(events) == 0 && len(conds) == 0 {
		return invalid("append", "neither events nor conditions", "want at least one")
	}
	if len(events) > maxEvents {
		return invalid("append", fmt.Sprintf("%d events", len(events)), "at most %d", maxEvents)
	}
	size := 0
	for i := range events {
		n, err := events[i].validate()
		if err != nil {
			return fmt.Errorf("%w (events[%d])", err, i)
		}
		size += n
	}
	if size > maxAppend {
		return invalid("append", fmt.Sprintf("%d bytes", size), "at most %d", maxAppend)
	}
	if id, twice := repeated(len(events), func(i int) string { return events[i].ID }); twice {
		return invalid("Event.ID", fmt.Sprintf("%q twice", id), "each once")
	}
	return validateConditions(conds)
}

// validate returns the bytes that count for the limit of an append.
func (e *Event) validate() (size int, err error) {
	if e.Type == "" {
		return 0, invalid("Event.Type", `""`, "required")
	}
	if e.Schema < 0 || e.Schema > math.MaxInt32 {
		return 0, invalid("Event.Schema", e.Schema, "0 to %d", math.MaxInt32)
	}
	if len(e.Tags) > maxTags {
		return 0, invalid("Event.Tags", fmt.Sprintf("%d tags", len(e.Tags)), "at most %d", maxTags)
	}
	if len(e.Data) > maxData {
		return 0, invalid("Event.Data", fmt.Sprintf("%d bytes", len(e.Data)), "at most %d", maxData)
	}
	if !isText(e.ID) || !isText(e.Stream) || !isText(e.Type) {
		return 0, firstOf(badText("Event.ID", e.ID), badText("Event.Stream", e.Stream), badText("Event.Type", e.Type))
	}
	size = len(e.ID) + len(e.Stream) + len(e.Type) + len(e.Data)
	for _, tag := range e.Tags {
		if err := badText("Event.Tags", tag); err != nil {
			return 0, err
		}
		size += len(tag)
	}
	if len(e.Meta) == 0 {
		return size, nil
	}
	meta, err := validateMeta(e.Meta)
	return size + meta, err
}

func validateMeta(meta map[string]string) (size int, err error) {
	for k, v := range meta {
		if err := badText("Event.Meta, a key of", k); err != nil {
			return 0, err
		}
		if !isUTF8(v) {
			return 0, invalid("Event.Meta", shown(v), "UTF-8 without NUL")
		}
		size += len(k) + len(v)
	}
	if size > maxMeta {
		return 0, invalid("Event.Meta", fmt.Sprintf("%d bytes", size), "at most %d", maxMeta)
	}
	return size, nil
}

func validateConditions(conds []Condition) error {
	for i := range conds {
		if err := conds[i].validate(); err != nil {
			return fmt.Errorf("%w (conditions[%d])", err, i)
		}
	}
	if len(conds) < 2 {
		return nil
	}
	of := func(isIt func(kind) bool) func(int) string {
		return func(i int) string {
			if isIt(conds[i].kind) {
				return conds[i].name
			}
			return ""
		}
	}
	if name, twice := repeated(len(conds), of(func(k kind) bool { return k == kindVersion || k == kindExists })); twice {
		return invalid("Condition", fmt.Sprintf("stream %q twice", name), "at most one of NoStream, AtVersion, Exists")
	}
	if name, twice := repeated(len(conds), of(func(k kind) bool { return k == kindTrack })); twice {
		return invalid("Condition", fmt.Sprintf("source %q twice", name), "at most one Track")
	}
	return nil
}

func (c *Condition) validate() error {
	switch c.kind {
	case kindNoneSince:
		for _, it := range c.query {
			if len(it.IDs) > 0 {
				return invalid("Item.IDs", shown(it.IDs[0]), "none in a condition")
			}
		}
		return c.query.Validate()
	case kindVersion, kindExists, kindTrack:
		if c.name == "" {
			return invalid("Condition", c.String(), "a stream or source that is not empty")
		}
		return badText("Condition", c.name)
	default:
		return invalid("Condition", "the zero value", "one of NoStream, AtVersion, Exists, NoneSince, Track")
	}
}

// Validate returns nil or an error that matches [ErrInvalid]: more than 128
// items, an item of more than 128 strings, or a string that no event may hold.
// It is for authors of stores; Read and Append call it.
func (q Query) Validate() error {
	if len(q) > maxItems {
		return invalid("Query", fmt.Sprintf("%d items", len(q)), "at most %d", maxItems)
	}
	for i := range q {
		it := &q[i]
		if n := len(it.Streams) + len(it.Types) + len(it.IDs) + len(it.Tags); n > maxItemTexts {
			return invalid("Item", fmt.Sprintf("%d strings", n), "at most %d", maxItemTexts)
		}
		if areTexts(it.Streams) && areTexts(it.Types) && areTexts(it.IDs) && areTexts(it.Tags) {
			continue
		}
		for field, texts := range map[string][]string{"Streams": it.Streams, "Types": it.Types, "IDs": it.IDs, "Tags": it.Tags} {
			if i := slices.IndexFunc(texts, func(s string) bool { return !isText(s) }); i >= 0 {
				return badText("Item."+field, texts[i])
			}
		}
	}
	return nil
}

// Validate returns nil or an error that matches [ErrInvalid]: a negative
// Limit. It is for authors of stores; Read calls it.
func (o ReadOptions) Validate() error {
	if o.Limit < 0 {
		return invalid("ReadOptions.Limit", o.Limit, "zero or more")
	}
	return nil
}

// Validate returns nil or an error that matches [ErrInvalid]: the name is
// empty, no UTF-8, has a NUL or more than 1024 bytes, or begins with "track/",
// which only Track writes; or Data has more than 16 MiB. It is for authors of
// stores; SaveCheckpoint calls it on the new checkpoint.
func (c Checkpoint) Validate(name string) error {
	switch {
	case name == "" || len(name) > maxCheckpoint || !isUTF8(name):
		return invalid("checkpoint name", shown(name), "1 to %d bytes of UTF-8 without NUL", maxCheckpoint)
	case strings.HasPrefix(name, trackPrefix):
		return invalid("checkpoint name", shown(name), `"track/" is written by Track alone`)
	case len(c.Data) > maxData:
		return invalid("Checkpoint.Data", fmt.Sprintf("%d bytes", len(c.Data)), "at most %d", maxData)
	}
	return nil
}

// repeated finds a text other than "" that occurs twice among n.
func repeated(n int, at func(i int) string) (text string, twice bool) {
	if n <= 8 { // no allocation for what most appends are
		for i := 1; i < n; i++ {
			for j := range i {
				if text = at(i); text != "" && text == at(j) {
					return text, true
				}
			}
		}
		return "", false
	}
	seen := make(map[string]struct{}, n)
	for i := range n {
		if text = at(i); text == "" {
			continue
		}
		if _, twice = seen[text]; twice {
			return text, true
		}
		seen[text] = struct{}{}
	}
	return "", false
}

func areTexts(texts []string) bool {
	for _, s := range texts {
		if !isText(s) {
			return false
		}
	}
	return true
}

func isText(s string) bool { return len(s) <= maxText && isUTF8(s) }

// isUTF8 tells whether s is UTF-8 without NUL. Eight bytes at a time it looks
// for one that is 0 or no ASCII, which is where most of Validate's time goes.
func isUTF8(s string) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	n := len(s)
	if n < 8 {
		for i := range n {
			if s[i]-1 >= 0x7f {
				return isUTF8Slowly(s)
			}
		}
		return true
	}
	for i := 0; i < n; i += 8 {
		i = min(i, n-8) // the last eight may begin among those before
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		if (w|(w-low))&high != 0 {
			return isUTF8Slowly(s)
		}
	}
	return true
}

func isUTF8Slowly(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func badText(field, s string) error {
	if isText(s) {
		return nil
	}
	return invalid(field, shown(s), "at most %d bytes of UTF-8 without NUL", maxText)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// shown quotes a text, and cuts a long one short.
func shown(s string) string {
	if len(s) > 64 {
		return fmt.Sprintf("%q... (%d bytes)", s[:64], len(s))
	}
	return fmt.Sprintf("%q", s)
}

func invalid(field string, value any, allowed string, args ...any) error {
	return fmt.Errorf("%w: %s: %v, %s", ErrInvalid, field, value, fmt.Sprintf(allowed, args...))
}
